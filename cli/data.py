"""Options of the commands that read labelled data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import PATH, collected, dialect_options, say
from cli.names import optional_taxonomy, taxonomy_option

if TYPE_CHECKING:
    from eval.datasets import Fields, LoadedDataset
    from prompts.taxonomy import Taxonomy
    from tabular import TableDialect

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_MAX_REASONS = 12
_FORMATS = "aclimdb, imdb-by-genre, tmdb, csv, tsv, jsonl, json or parquet"


@dataclass(frozen=True)
class DataOptions:
    """The options for a data set, which their help describes; None takes the default of the format."""

    taxonomy: Taxonomy
    data_format: str | None = None
    text_field: str | None = None
    title_field: str | None = None
    labels_field: str | None = None
    id_field: str | None = None
    encoding: str | None = None
    separator: str | None = None
    unknown_labels: str = "refuse"
    split: str | None = None
    split_file: Path | None = None
    limit: int | None = None
    min_label_count: int = 0

    @property
    def fields(self) -> Fields:
        """The columns."""
        from eval.datasets import Fields

        return Fields(self.text_field, self.labels_field, self.id_field, self.title_field, self.dialect)

    @property
    def dialect(self) -> TableDialect:
        """Encoding and separator."""
        from tabular import TableDialect

        return TableDialect(self.encoding, self.separator)

    @property
    def drop_unknown(self) -> bool:
        """Whether labels outside the taxonomy are dropped."""
        return self.unknown_labels == "drop"

    def load(self, data: Path, split: str | None = None) -> LoadedDataset:
        """Load the examples of a split; report on standard error which rows and labels were dropped."""
        from eval.datasets import sample

        loaded = self._load(data, split or self.split, self.min_label_count)
        report_dropped(loaded)
        return replace(loaded, examples=tuple(sample(loaded.examples, self.limit)))

    def with_more_texts(self, training: LoadedDataset, data: Path, table: Path) -> LoadedDataset:
        """Add the texts of another table to training examples of the same films; see ``eval.datasets.more_texts``.

        Args:
            training: the training examples of ``data``.
            data: the labelled data set.
            table: the other table: a file or folder of any known format.

        Raises:
            InvalidDataset: no row of the table has a film of the training examples.
        """
        from eval.datasets import Fields, more_texts, pool
        from prompts.errors import InvalidDataset

        all_splits = self._load(data)
        others = pool(table, self.taxonomy, Fields(labels="")).examples
        added, skipped = more_texts(training.examples, all_splits.examples, others)
        if not added:
            raise InvalidDataset(
                f"{table.name} has no further text of a training film; films are joined by their title and year"
            )
        say(f"{len(added):,} further texts of these films from {table.name}")
        for line in _lines("further texts skipped:", "", skipped):
            say(line)
        return replace(training, examples=(*training.examples, *added))

    def as_arguments(self) -> dict[str, Any]:
        """The arguments that all functions of ``eval.datasets`` take: the format and what to do with unknown labels."""
        return {"format": self.data_format, "drop_unknown": self.drop_unknown}

    def _load(self, data: Path, split: str | None = None, min_label_count: int = 0) -> LoadedDataset:
        from eval.datasets import load

        return load(
            data, self.taxonomy, self.fields, split,
            split_file=self.split_file, min_label_count=min_label_count, **self.as_arguments(),
        )  # fmt: skip


_FORMAT = click.option("--format", "data_format", help=f"Format: {_FORMATS}.  [default: detected from the path]")
_FIELDS = (
    click.option("--text-field", help="Column of the text.  [default: description, or the format's own]"),
    click.option("--title-field", help="Column of the title; used with the text."),
    click.option("--labels-field", help="Column of the labels: a list or names.  [default: genres, or the format's]"),
    click.option("--id-field", help="Column of ids.  [default: id, or else the row's number]"),
    dialect_options,
    click.option(
        "--unknown-labels",
        type=click.Choice(["refuse", "drop"]),
        default="refuse",
        help="A label outside the taxonomy: an error, or dropped and counted.",
    ),
)
_COLUMNS = (_FORMAT, taxonomy_option, *_FIELDS)
_SPLIT_FILE = click.option("--split-file", type=PATH, help="Frozen split of the data; see `main.py split`.")
_MIN_LABEL_COUNT = click.option(
    "--min-label-count", type=click.IntRange(0), default=0, help="Drop labels with fewer training examples."
)

column_options = collected(DataOptions, "options", *_COLUMNS)
# For `fit`, which takes the labels of the table without --taxonomy: the taxonomy is None then.
columns_and_labels = collected(
    DataOptions,
    "options",
    _FORMAT,
    optional_taxonomy,
    *_FIELDS,
    click.option("--split", help="Only rows of this split.  [default: all but test]"),
)
whole_data_options = collected(DataOptions, "options", _SPLIT_FILE, _MIN_LABEL_COUNT, *_COLUMNS)


def data_options(split: str | None = None, limit: int | None = None, required: bool = True) -> Decorator:
    """``--data``, passed as ``data``, and all other options of a data set, passed as ``options``.

    Args:
        split: default of ``--split``.
        limit: default of ``--limit``.
        required: whether the command needs ``--data``.
    """
    return collected(
        DataOptions,
        "options",
        click.option("--data", required=required, type=PATH, help="Labelled texts: file or folder."),
        *_COLUMNS,
        click.option("--split", default=split, help="Only rows of this split."),
        _SPLIT_FILE,
        click.option(
            "--limit", type=click.IntRange(1), default=limit, help="Maximum number of examples; always the same ones."
        ),
        _MIN_LABEL_COUNT,
    )


def report_dropped(loaded: LoadedDataset) -> None:
    """Report on standard error which rows were left out or changed, and which labels were dropped."""
    for line in (*_lines("left out:", "", loaded.skipped), *_lines("repaired:", ":", loaded.changed)):
        say(line)
    if loaded.dropped_labels:
        say(f"rare labels dropped, with their training examples: {_counts(loaded.dropped_labels)}")
        say(f"labels kept: {_counts(loaded.kept_labels)}")


def _lines(start: str, mark: str, counts: Mapping[str, int]) -> list[str]:
    """The most frequent reasons with their number of rows, and the sum of the others."""
    reasons = sorted(((count, reason) for reason, count in counts.items() if count), key=lambda one: (-one[0], one[1]))
    rest = sum(count for count, _ in reasons[_MAX_REASONS:])
    lines = [f"{start} {count} rows{mark} {reason}" for count, reason in reasons[:_MAX_REASONS]]
    return lines + [f"{start} {rest} rows for {len(reasons) - _MAX_REASONS} further reasons"] * bool(rest)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda one: -one[1]))
