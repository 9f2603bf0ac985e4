"""`main.py split`: a frozen split into train, validation and test for data that has none."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.data import columns, decorated, fields_of
from cli.output import OutputPath, refuse_input

if TYPE_CHECKING:
    from eval.datasets import Example

_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command(short_help="Split a data set into train, validation and test.")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=OutputPath(), help="File to write, for --split-file.")
@click.option("--validation", type=_SHARE, default=0.1, show_default=True, help="Share of the rows.")
@click.option("--test", type=_SHARE, default=0.1, show_default=True, help="Share of the rows.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed gives another split.")
@click.option("--ignore-splits", is_flag=True, help="Do not heed the splits that the data has.")
@decorated(*columns)
def split(
    data: Path, out: Path, validation: float, test: float, seed: int, ignore_splits: bool,
    taxonomy: str | None, data_format: str | None, unknown_labels: str, **names: Any,
) -> None:  # fmt: skip
    """Split DATA by film, every label in its share on every side, and freeze the split in a file.

    A test half that DATA comes with stays as it is, and train and validation share the rest.
    """
    from eval.datasets import divide
    from marquee.settings import read_settings
    from prompts import registry

    refuse_input(out, data)
    vocabulary = registry.taxonomy_at(taxonomy or read_settings().taxonomy)
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    split_file, examples = divide(
        data, vocabulary, fields_of(**names), shares, seed,
        format=data_format, ignore_splits=ignore_splits, drop_unknown=unknown_labels == "drop",
    )  # fmt: skip
    split_file.write(out)
    _print(examples, vocabulary.names)
    click.echo(f"split {split_file.digest} of data {split_file.data}: {out}", err=True)


def _print(examples: list[Example], labels: tuple[str, ...]) -> None:
    """Rows and labels of each side."""
    sides = sorted({example.split for example in examples}, key=lambda name: (name != "train", name != "validation"))
    rows = Counter(example.split for example in examples)
    having = Counter((example.split, label) for example in examples for label in example.labels)
    width = max(16, *map(len, labels))
    click.echo(f"{'':{width}}" + "".join(f"{name:>12}" for name in sides))
    click.echo(f"{'rows':{width}}" + "".join(f"{rows[name]:12}" for name in sides))
    for label in labels:
        click.echo(f"{label:{width}}" + "".join(f"{having[name, label]:12}" for name in sides))
