"""`main.py enrich`: a table of films whose missing plots are looked up."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.data import dialect_options
from cli.group import examples
from cli.output import OutputPath, refuse_input

if TYPE_CHECKING:
    from lookup.enrich import Enriched
    from lookup.lookup import Ambiguous

_TOLD_SECONDS = 5.0


@click.command(
    short_help="Look up the missing plots of a table of films.",
    epilog=examples("enrich films.csv --out with_plots.csv"),
)
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=OutputPath(), help="Table to write: csv, tsv, jsonl, parquet.")
@click.option("--title-field", default="title", show_default=True, help="Column of titles.")
@click.option("--year-field", default="year", show_default=True, help="Column of years; need not be there.")
@click.option("--text-field", default="description", show_default=True, help="Column of plots.")
@click.option(
    "--ambiguous",
    type=click.Choice(["none", "best-known"]),
    default="none",
    show_default=True,
    help="What to take where several films have a title and the row gives no year.",
)
@click.option("--patience", default=120.0, show_default=True, help="Seconds that one title may take.")
@click.option("--limit", type=click.IntRange(1), help="Look up in the first rows only; write those.")
@dialect_options
def enrich(
    table: Path, out: Path, title_field: str, year_field: str, text_field: str,
    ambiguous: Ambiguous, patience: float, limit: int | None, encoding: str | None, separator: str | None,
) -> None:  # fmt: skip
    """Look the missing and placeholder plots of TABLE up; say in every row where its text came from.

    Ended at any time, even by kill -9, the same command goes on: what providers said is remembered.
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
    click.echo(f"asking {', then '.join(lookup.providers)}", err=True)
    dialect = TableDialect(encoding, separator)
    open_table(table, dialect).require(title_field, text_field)
    rows = [row.cells for row in islice(strict_rows(table, dialect), limit)]
    names = EnrichColumns(title_field, year_field, text_field)
    found = enriched(rows, names, lookup, patience=patience, ambiguous=ambiguous, on_progress=progress())
    write_table(out, rows, [{name: row[name] for name in (text_field, *ADDED)} for row in found.rows])
    tell(found)
    if found.unanswered:
        raise click.ClickException(
            f"{found.unanswered:,} rows have no answer for reasons that pass; the same command again asks about those"
        )


def progress() -> Callable[[int, int], None]:
    """Says every few seconds how far the look-up is."""
    last = [time.monotonic()]

    def on_progress(done: int, total: int) -> None:
        if time.monotonic() - last[0] >= _TOLD_SECONDS or done == total:
            last[0] = time.monotonic()
            click.echo(f"{done:,} of {total:,}", err=True)

    return on_progress


def tell(found: Enriched) -> None:
    """Say how many rows became what."""
    for what, count in found.counts.most_common():
        click.echo(f"{count:8,}  {what}")
