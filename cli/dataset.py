"""`main.py data` and `main.py split`: describe a data set, and freeze a split of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.arguments import OutputPath, refuse_input, say
from cli.data import DataOptions, column_options, whole_data_options

if TYPE_CHECKING:
    from eval.datasets import Example

_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command(short_help="Describe a data set: rows, lengths, labels, duplicates.")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", type=OutputPath(), help="HTML page to write, with a Markdown copy beside it.  [none]")
@whole_data_options
def data(data: Path, out: Path | None, options: DataOptions) -> None:
    """Describe DATA: rows, lengths, labels, duplicates, and rows that were left out; --out writes a page with plots."""
    from eval.report.data_card import describe, write

    refuse_input(out, data, options.split_file)
    loaded = options.load(data)
    card = describe(data.name, loaded)
    for name, count in card.splits.items():
        click.echo(f"{name or 'no split':12} {count:8}")
    if out:
        page, twin = write(card, out)
        say(f"card: {page} and {twin.name}")


@click.command(short_help="Split a data set into train, validation and test.")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=OutputPath(), help="File to write, for --split-file.")
@click.option("--validation", type=_SHARE, default=0.1, show_default=True, help="Share of the rows.")
@click.option("--test", type=_SHARE, default=0.1, show_default=True, help="Share of the rows.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed gives another split.")
@click.option("--ignore-splits", is_flag=True, help="Ignore the splits that the data has.")
@column_options
def split(
    data: Path, out: Path, validation: float, test: float, seed: int, ignore_splits: bool, options: DataOptions
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
    _print_counts(examples, options.taxonomy.names)
    say(f"split {split_file.digest} of data {split_file.data}: {out}")


def _print_counts(examples: list[Example], labels: tuple[str, ...]) -> None:
    """Rows and labels of each split."""
    splits = sorted({example.split for example in examples}, key=lambda name: (name != "train", name != "validation"))
    rows = Counter(example.split for example in examples)
    by_label = Counter((example.split, label) for example in examples for label in example.labels)
    width = max(16, *map(len, labels))
    click.echo(f"{'':{width}}" + "".join(f"{name:>12}" for name in splits))
    click.echo(f"{'rows':{width}}" + "".join(f"{rows[name]:12}" for name in splits))
    for label in labels:
        click.echo(f"{label:{width}}" + "".join(f"{by_label[name, label]:12}" for name in splits))
