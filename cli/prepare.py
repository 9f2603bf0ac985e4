"""`main.py data`, `split`, `corpus` and `enrich`: describe and split data sets, build a corpus, look up plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.arguments import (
    PATH,
    OutputPath,
    ProgressLine,
    dialect_options,
    json_option,
    print_json,
    print_table,
    refuse_input,
    say,
)
from cli.data import DataOptions, column_options, whole_data_options
from cli.group import examples

if TYPE_CHECKING:
    from corpus.pipeline import Ran
    from eval.datasets import Example
    from lookup.lookup import Ambiguous


_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command(
    short_help="Describe a data set: rows, labels, duplicates.",
    epilog=examples("data films.csv --taxonomy imdb", "data films.csv --out var/films.html"),
)
@click.argument("data", type=PATH)
@click.option("--out", type=OutputPath(), help="HTML page to write, with a Markdown copy beside it.  [none]")
@whole_data_options
@json_option
def data(data: Path, out: Path | None, options: DataOptions, as_json: bool) -> None:
    """Describe DATA: rows, lengths, labels, duplicates, and rows that were left out; --out writes a page with plots."""
    from eval.report.data_card import describe, write

    refuse_input(out, data, options.split_file)
    loaded = options.load(data)
    card = describe(data.name, loaded)
    splits = {name or "no split": count for name, count in card.splits.items()}
    if as_json:
        left_out = {"left_out": loaded.skipped, "repaired": loaded.changed, "dropped_labels": loaded.dropped_labels}
        print_json({"name": data.name, "rows": splits, **left_out})
    else:
        print_table(("split", "rows"), list(splits.items()))
    if out:
        page, twin = write(card, out)
        say(f"card: {page} and {twin.name}")


@click.command(
    short_help="Split a data set into train, validation and test.",
    epilog=examples("split films.csv --out split.json", "split films.csv --out split.json --test 0.2 --seed 1"),
)
@click.argument("data", type=PATH)
@click.option("--out", required=True, type=OutputPath(), help="File to write, for --split-file.")
@click.option("--validation", type=_SHARE, default=0.1, help="Share of the rows.")
@click.option("--test", type=_SHARE, default=0.1, help="Share of the rows.")
@click.option("--seed", type=int, default=0, help="Another seed gives another split.")
@click.option("--ignore-splits", is_flag=True, help="Ignore the splits that the data has.")
@column_options
@json_option
def split(
    data: Path, out: Path, validation: float, test: float, seed: int, ignore_splits: bool, options: DataOptions,
    as_json: bool,
) -> None:  # fmt: skip
    """Split DATA by film, stratified by label, and write the split to a file.

    A test split that DATA has stays as it is; train and validation share the rest.
    """
    from eval.datasets import divide

    refuse_input(out, data)
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    split_file, examples = divide(
        data, options.taxonomy, options.fields, shares, seed, ignore_splits=ignore_splits, **options.as_arguments()
    )
    split_file.write(out)
    if as_json:
        print_json({"file": out, "digest": split_file.digest, "rows": Counter(one.split for one in examples)})
    else:
        _print_counts(examples, options.taxonomy.names)
    say(f"split {split_file.digest} of data {split_file.data}: {out}")


def _print_counts(examples: list[Example], labels: tuple[str, ...]) -> None:
    """Rows and labels of each split."""
    counts = Counter((example.split, label) for example in examples for label in ("", *example.labels))
    splits = sorted({example.split for example in examples}, key=lambda name: (name != "train", name != "validation"))
    rows = [(label or "rows", *(counts[name, label] for name in splits)) for label in ("", *labels)]
    print_table(("", *splits), rows)


@click.command(
    "corpus",
    short_help="Build a corpus from raw film files.",
    epilog=examples("corpus corpus/imdb.yaml", "corpus corpus/imdb.yaml --status"),
)
@click.argument("config", type=PATH)
@click.option("--only", metavar="STEP", help="Run one step: merge, clean, enrich, explore or annotate.")
@click.option("--status", is_flag=True, help="Print which steps are stale and why; run nothing.")
@json_option
def corpus_command(config: Path, only: str | None, status: bool, as_json: bool) -> None:
    """Build the corpus of CONFIG: merge, clean, enrich, explore, annotate. Only stale steps run."""
    from corpus.config import StepContext, read_config
    from corpus.pipeline import run, stale
    from marquee.settings import read_settings
    from prompts.files import check_output
    from service.title_lookup import lookup_of

    context = StepContext(read_config(config), lookup_of(read_settings()), ProgressLine("", unit="rows"))
    if status:
        return _print_status(stale(context), as_json)
    check_output(context.config.out, folder=True)
    steps = []
    for step in run(context, only, lambda name, why: say(f"{name}: {why} ...")):
        steps.append({"step": step.name, "stale": step.why or None, "counts": step.made.counts})
        _print_step(step, quiet=as_json)
    if as_json:
        print_json({"out": context.config.out, "steps": steps})
    say(f"corpus: {context.config.out}")
    return None


def _print_status(reasons: Mapping[str, str | None], as_json: bool) -> None:
    """Print why each step is stale."""
    if as_json:
        return print_json([{"step": name, "stale": why or None} for name, why in reasons.items()])
    for name, why in reasons.items():
        click.echo(f"{name:10} {f'stale: {why}' if why else 'fresh'}")
    return None


def _print_step(step: Ran, quiet: bool) -> None:
    if not quiet:
        click.echo(f"{step.name}: {f'{step.made.seconds:,.1f} s' if step.why else 'fresh'}")
        for what, count in step.made.counts.items():
            click.echo(f"{count:10,}  {what}")
    if step.made.unfinished:
        say(f"{step.name}: {step.made.unfinished:,} rows had no answer; run the same command again")


@click.command(
    short_help="Look up the missing plots of a table of films.",
    epilog=examples("enrich films.csv --out with_plots.csv"),
)
@click.argument("table", type=PATH)
@click.option("--out", required=True, type=OutputPath(), help="Table to write: csv, tsv, jsonl, parquet.")
@click.option("--title-field", default="title", help="Column of titles.")
@click.option("--year-field", default="year", help="Column of years; optional.")
@click.option("--text-field", default="description", help="Column of plots.")
@click.option(
    "--ambiguous",
    type=click.Choice(["none", "best-known"]),
    default="none",
    help="The film to use if several have the title and the row has no year.",
)
@click.option("--patience", default=120.0, help="Maximum seconds per title.")
@click.option("--limit", type=click.IntRange(1), help="Read and write only the first rows.")
@dialect_options
@json_option
def enrich(
    table: Path, out: Path, title_field: str, year_field: str, text_field: str,
    ambiguous: Ambiguous, patience: float, limit: int | None, encoding: str | None, separator: str | None,
    as_json: bool,
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
    if as_json:
        print_json({"file": out, "counts": result.counts, "unanswered": result.unanswered})
    else:
        for what, count in result.counts.most_common():
            click.echo(f"{count:8,}  {what}")
    if result.unanswered:
        raise click.ClickException(
            f"{result.unanswered:,} rows have no answer because a provider failed; run the same command again"
        )
