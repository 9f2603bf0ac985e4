"""Rows of a data set as their file has them, and examples: texts with their true labels."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from prompts.errors import InvalidDataset
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from tabular import TableDialect


@dataclass(frozen=True)
class Fields:
    """Names of a row's columns; None takes the default of the format.

    Attributes:
        labels: column of the labels: a list, one name, or several separated by ``|``, ``;`` or ``,``; empty reads no
            labels.
        title: column of a title that becomes part of the text. With None the text has no title, but a column ``title``
            still identifies the film.
    """

    text: str | None = None
    labels: str | None = None
    id: str | None = None
    title: str | None = None
    dialect: TableDialect = TableDialect()


@dataclass(frozen=True)
class Record:
    """One row, before a taxonomy is applied to its labels.

    Attributes:
        where: file and line, for messages.
        id: unique within the data set.
        labels: spellings of its labels; a string is one label, or several with a separator.
        title: of the film, even if ``text`` has none.
        year: of the film, as written.
        complete: False if a missing label is unknown rather than false.
        truncated: whether the text is cut off.
        extra: further labels.
    """

    where: str
    id: str
    text: Text
    labels: str | tuple[str, ...]
    title: str = ""
    year: str = ""
    split: str = ""
    complete: bool = True
    truncated: bool = False
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Records:
    """The rows of a data set, and counts of rows skipped and of changes made, by reason."""

    rows: tuple[Record, ...]
    skipped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Example:
    """A text with its true labels; other attributes are those of ``Record``.

    Attributes:
        labels: predictable names of the taxonomy, in its order; none where none of them applies.
        group: shared by the examples of one film (same title and year, or same description). A group is never divided
            between splits, and a bootstrap resamples it as a unit. Empty: the example is its own group.
        extra: further labels from outside the taxonomy, such as IMDb's interests.
        film: normalised title and year; empty if the data has no title.
    """

    id: str
    text: Text
    labels: tuple[str, ...]
    group: str = ""
    complete: bool = True
    truncated: bool = False
    extra: tuple[str, ...] = ()
    split: str = ""
    film: str = ""


@dataclass(frozen=True)
class LoadedDataset:
    """The examples of a data set, and what was skipped or changed.

    Attributes:
        examples: of the requested split, or of all.
        taxonomy: in which rare labels are not predictable.
        skipped: rows that became no example, by reason.
        kept_labels: training examples of each label that is left after the filter of rare labels; empty without it.
        dropped_labels: the same of the labels that the filter removed.
        digest: 12 hex digits of all rows of the data, independent of the requested split.
    """

    examples: tuple[Example, ...]
    taxonomy: Taxonomy
    skipped: Mapping[str, int] = field(default_factory=dict)
    changed: Mapping[str, int] = field(default_factory=dict)
    kept_labels: Mapping[str, int] = field(default_factory=dict)
    dropped_labels: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""


_Row = TypeVar("_Row", Record, Example)


def sample(rows: Sequence[_Row], limit: int | None) -> list[_Row]:
    """At most ``limit`` rows: always the same ones, independent of their order."""
    return sorted(rows, key=lambda row: hashlib.sha256(row.id.encode()).digest())[:limit]


def without_rare_labels(dataset: LoadedDataset, minimum: int) -> LoadedDataset:
    """Make labels unpredictable that fewer than ``minimum`` training examples have.

    Labels are counted over the split ``train``, so that no other split influences the choice; over all examples if the
    data has no splits.

    Raises:
        InvalidDataset: no label is frequent enough, or the data has splits but no ``train``.
    """
    if minimum <= 1:
        return dataset
    taxonomy, counts = dataset.taxonomy, _label_counts(dataset.examples)
    kept = {name: counts[name] for name in taxonomy.names if counts[name] >= minimum}
    dropped = {name: counts[name] for name in taxonomy.names if name not in kept}
    if not kept:
        raise InvalidDataset(
            f"no label has {minimum} training examples; the most frequent label has {max(counts.values())}"
        )
    labels = tuple(replace(label, predict=False) if label.name in dropped else label for label in taxonomy.labels)
    smaller = replace(taxonomy, labels=labels)
    examples = tuple(replace(example, labels=smaller.in_order(example.labels)) for example in dataset.examples)
    return replace(dataset, examples=examples, taxonomy=smaller, kept_labels=kept, dropped_labels=dropped)


def _label_counts(examples: Sequence[Example]) -> Counter[str]:
    splits = {example.split for example in examples} - {""}
    if splits and "train" not in splits:
        raise InvalidDataset(f"no example has split 'train' to count labels over; splits: {', '.join(sorted(splits))}")
    training = (example for example in examples if example.split == "train" or not splits)
    return Counter(label for example in training if not example.text.empty for label in example.labels)
