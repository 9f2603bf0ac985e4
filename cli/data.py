"""Labelled examples, as the commands that read them ask for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from eval.datasets import Example, Fields, LoadedDataset
    from prompts.taxonomy import Taxonomy

Function = TypeVar("Function", bound=Callable[..., Any])
_MOST_TOLD = 12

_FORMATS = "aclimdb, imdb-by-genre, tmdb, csv, tsv, jsonl, json or parquet"
FIELDS = ("text_field", "title_field", "labels_field", "id_field", "encoding", "separator")


def decorated(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """One decorator of several options; help lists them in this order."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


dialect_options = decorated(
    click.option("--encoding", help="Of text files, such as cp1252.  [default: UTF-8, or by the byte order mark]"),
    click.option("--separator", help="A character, or comma, semicolon, tab, pipe.  [default: by the first line]"),
)
"""Options of a command that reads tables."""

columns = (
    click.option("--format", "data_format", help=f"What the data is: {_FORMATS}.  [default: told from the path]"),
    click.option("--taxonomy", help="Vocabulary of the labels: a name, or a YAML file.  [default: the settings']"),
    click.option("--text-field", help="Column of the text.  [default: description, or the format's own]"),
    click.option("--title-field", help="Column of a title to give beside the text."),
    click.option("--labels-field", help="Column of the labels: a list or names.  [default: genres, or the format's]"),
    click.option("--id-field", help="Column of ids.  [default: id, or else the row's number]"),
    dialect_options,
    click.option(
        "--unknown-labels",
        type=click.Choice(["refuse", "drop"]),
        default="refuse",
        show_default=True,
        help="Whether a label outside the taxonomy is an error, or left out and counted.",
    ),
)
"""Options of whoever reads a data set."""


def data_options(
    split: str | None = None, limit: int | None = None, required: bool = True
) -> Callable[[Function], Function]:
    """Options of a command that takes examples of a data set: all that ``examples_of`` reads, and ``--taxonomy``.

    The command takes ``data``, ``taxonomy`` and the rest as ``**choice``, which goes to ``examples_of`` as it is.

    Args:
        split: the command's default for ``--split``.
        limit: the command's default for ``--limit``.
        required: whether the command can do nothing without ``--data``.
    """
    return decorated(
        click.option(
            "--data", required=required, type=click.Path(path_type=Path), help="Labelled texts: file or folder."
        ),
        *columns,
        click.option("--split", default=split, show_default=True, help="Rows of this split only."),
        click.option(
            "--split-file", type=click.Path(path_type=Path), help="Frozen split of the data; see `main.py split`."
        ),
        click.option(
            "--limit",
            type=click.IntRange(1),
            default=limit,
            show_default=True,
            help="At most so many examples, always the same ones.",
        ),
        click.option(
            "--min-label-count",
            type=click.IntRange(0),
            default=0,
            help="Drop labels that fewer training examples have.",
        ),
    )


def examples_of(data: Path, taxonomy: Taxonomy, **choice: Any) -> list[Example]:
    """Examples of a data set under the options of a command; what was left out is told on standard error."""
    return list(loaded_of(data, taxonomy, **choice).examples)


def loaded_of(
    data: Path, taxonomy: Taxonomy, *, split: str | None = None, split_file: Path | None = None,
    limit: int | None = None, min_label_count: int = 0, unknown_labels: str = "refuse", data_format: str | None = None,
    **names: str | None,
) -> LoadedDataset:  # fmt: skip
    """Like ``examples_of``, with all counts and the taxonomy that ``--min-label-count`` leaves of ``taxonomy``."""
    from dataclasses import replace

    from eval.datasets import load, sample

    loaded = load(
        data, taxonomy, fields_of(**names), split,
        format=data_format, split_file=split_file, min_label_count=min_label_count,
        drop_unknown=unknown_labels == "drop",
    )  # fmt: skip
    tell(loaded)
    return replace(loaded, examples=tuple(sample(loaded.examples, limit)))


def with_more_texts(
    training: LoadedDataset, data: Path, table: Path, taxonomy: Taxonomy, **choice: Any
) -> LoadedDataset:
    """Training examples, and after them what another table of the same films has to read; see ``more_texts``.

    Args:
        training: what ``loaded_of`` gave for the data.
        data: where that stands.
        table: the other table: a file or folder of any known format.
        taxonomy: the taxonomy.
        choice: the options of the command, as for ``loaded_of``.

    Raises:
        InvalidDataset: nothing of the table is of a film that is learnt from.
    """
    from dataclasses import replace

    from eval.datasets import Fields, load, more_texts, pool
    from prompts.errors import InvalidDataset

    names = {key: choice.get(key) for key in FIELDS}
    everything = load(
        data, taxonomy, fields_of(**names), format=choice["data_format"], split_file=choice["split_file"],
        drop_unknown=choice["unknown_labels"] == "drop",
    )  # fmt: skip
    found = more_texts(training.examples, everything.examples, pool(table, taxonomy, Fields(labels="")).examples)
    if not found.examples:
        raise InvalidDataset(
            f"{table.name} has no further text of a film that is learnt from; films are joined by their title and year"
        )
    click.echo(f"{len(found.examples):,} further texts of these films from {table.name}", err=True)
    for line in _lines("left out there:", "", found.skipped):
        click.echo(line, err=True)
    return replace(training, examples=(*training.examples, *found.examples))


def fields_of(
    text_field: str | None = None, title_field: str | None = None,
    labels_field: str | None = None, id_field: str | None = None,
    encoding: str | None = None, separator: str | None = None,
) -> Fields:  # fmt: skip
    """The names of columns as the options give them."""
    from eval.datasets import Fields
    from tabular import TableDialect

    return Fields(text_field, labels_field, id_field, title_field, TableDialect(encoding, separator))


def tell(loaded: LoadedDataset) -> None:
    """Say on standard error what was left out, what was mended and which labels were dropped."""
    for line in (*_lines("left out:", "", loaded.skipped), *_lines("mended:", ":", loaded.changed)):
        click.echo(line, err=True)
    if loaded.dropped_labels:
        click.echo(f"rare labels dropped, with their training examples: {_list(loaded.dropped_labels)}", err=True)
        click.echo(f"labels kept: {_list(loaded.kept_labels)}", err=True)


def _lines(said: str, mark: str, counts: Mapping[str, int]) -> list[str]:
    """The largest counts in words, and how much the others come to."""
    found = sorted(((count, what) for what, count in counts.items() if count), key=lambda one: (-one[0], one[1]))
    rest = sum(count for count, _ in found[_MOST_TOLD:])
    lines = [f"{said} {count} rows{mark} {what}" for count, what in found[:_MOST_TOLD]]
    return lines + [f"{said} {rest} rows for {len(found) - _MOST_TOLD} further reasons"] * bool(rest)


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda one: -one[1]))
