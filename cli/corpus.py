"""`main.py corpus` and `main.py enrich`: build a film corpus, and look up missing plots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.arguments import OutputPath, ProgressLine, dialect_options, refuse_input, say
from cli.group import examples

if TYPE_CHECKING:
    from corpus.pipeline import Ran
    from lookup.lookup import Ambiguous


@click.command("corpus", short_help="Build a corpus from raw film files.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--only", metavar="STEP", help="Run one step: merge, clean, enrich, explore or annotate.")
@click.option("--status", is_flag=True, help="Print which steps are stale and why; run nothing.")
def corpus_command(config: Path, only: str | None, status: bool) -> None:
    """Build the corpus of CONFIG: merge, clean, enrich, explore, annotate. Only stale steps run."""
    from corpus.config import StepContext, read_config
    from corpus.pipeline import run, stale
    from marquee.settings import read_settings
    from prompts.files import check_output
    from service.title_lookup import lookup_of

    context = StepContext(read_config(config), lookup_of(read_settings()), ProgressLine("", unit="rows"))
    if status:
        for name, why in stale(context).items():
            click.echo(f"{name:10} {f'stale: {why}' if why else 'fresh'}")
        return
    check_output(context.config.out, folder=True)
    for step in run(context, only, lambda name, why: say(f"{name}: {why} ...")):
        _print_step(step)
    say(f"corpus: {context.config.out}")


def _print_step(step: Ran) -> None:
    click.echo(f"{step.name}: {f'{step.made.seconds:,.1f} s' if step.why else 'fresh'}")
    for what, count in step.made.counts.items():
        click.echo(f"{count:10,}  {what}")
    if step.made.unfinished:
        say(f"{step.name}: {step.made.unfinished:,} rows had no answer; run the same command again")


@click.command(
    short_help="Look up the missing plots of a table of films.",
    epilog=examples("enrich films.csv --out with_plots.csv"),
)
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=OutputPath(), help="Table to write: csv, tsv, jsonl, parquet.")
@click.option("--title-field", default="title", show_default=True, help="Column of titles.")
@click.option("--year-field", default="year", show_default=True, help="Column of years; optional.")
@click.option("--text-field", default="description", show_default=True, help="Column of plots.")
@click.option(
    "--ambiguous",
    type=click.Choice(["none", "best-known"]),
    default="none",
    show_default=True,
    help="The film to use if several have the title and the row has no year.",
)
@click.option("--patience", default=120.0, show_default=True, help="Maximum seconds per title.")
@click.option("--limit", type=click.IntRange(1), help="Read and write only the first rows.")
@dialect_options
def enrich(
    table: Path, out: Path, title_field: str, year_field: str, text_field: str,
    ambiguous: Ambiguous, patience: float, limit: int | None, encoding: str | None, separator: str | None,
) -> None:  # fmt: skip
    """Look up the missing and placeholder plots of TABLE; each row of the output has the source of its text.

    The run is resumable: answers of providers are cached, so the same command continues after a crash.
    """
    from itertools import islice

    from lookup.enrich import ADDED, EnrichColumns, enriched
    from marquee.settings import read_settings
    from service.title_lookup import NO_PROVIDER, lookup_of
    from tabular import TableDialect, open_table, strict_rows
    from tabular.writing import write_table, writer_of

    writer_of(out)
    refuse_input(out, table)
    lookup = lookup_of(read_settings())
    if not lookup.providers:
        raise click.ClickException(NO_PROVIDER)
    say(f"providers: {', '.join(lookup.providers)}")
    dialect = TableDialect(encoding, separator)
    open_table(table, dialect).require(title_field, text_field)
    rows = [row.cells for row in islice(strict_rows(table, dialect), limit)]
    columns = EnrichColumns(title_field, year_field, text_field)
    progress = ProgressLine("", unit="titles")
    result = enriched(rows, columns, lookup, patience=patience, ambiguous=ambiguous, on_progress=progress)
    write_table(out, rows, [{name: row[name] for name in (text_field, *ADDED)} for row in result.rows])
    for what, count in result.counts.most_common():
        click.echo(f"{count:8,}  {what}")
    if result.unanswered:
        raise click.ClickException(
            f"{result.unanswered:,} rows have no answer because a provider failed; run the same command again"
        )
