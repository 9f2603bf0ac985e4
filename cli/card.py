"""`main.py data`: a data set on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.data import columns, decorated, fields_of, tell
from cli.output import OutputPath, refuse_input


@click.command(short_help="Describe a data set: rows, lengths, labels, duplicates.")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", type=OutputPath(), help="Page to write; its twin in Markdown stands beside it.  [none]")
@click.option("--split-file", type=click.Path(path_type=Path), help="Frozen split of the data; see `main.py split`.")
@click.option("--min-label-count", type=click.IntRange(0), default=0, help="Drop labels with fewer training examples.")
@decorated(*columns)
def data(
    data: Path, out: Path | None, split_file: Path | None, min_label_count: int,
    taxonomy: str | None, data_format: str | None, unknown_labels: str, **names: Any,
) -> None:  # fmt: skip
    """Say what DATA holds: rows, lengths, labels, duplicates, and what was left out; --out writes a card with plots."""
    from eval.datasets import load
    from eval.report.data_card import describe, write
    from marquee.settings import read_settings
    from prompts import registry

    refuse_input(out, data, split_file)
    vocabulary = registry.taxonomy_at(taxonomy or read_settings().taxonomy)
    loaded = load(
        data, vocabulary, fields_of(**names), format=data_format, split_file=split_file,
        min_label_count=min_label_count, drop_unknown=unknown_labels == "drop",
    )  # fmt: skip
    tell(loaded)
    found = describe(data.name, loaded)
    for split, count in found.splits.items():
        click.echo(f"{split or 'no split':12} {count:8}")
    if out:
        page, twin = write(found, out)
        click.echo(f"card: {page} and {twin.name}", err=True)
