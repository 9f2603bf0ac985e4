"""Labelled examples from files."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompts.errors import InvalidDataset
from prompts.taxonomy import Taxonomy
from prompts.text import Text


@dataclass(frozen=True)
class Example:
    """A text with its true labels.

    Attributes:
        id: unique within its data set.
        text: what is to be labelled.
        labels: names from the vocabulary that may be answered, in its order; at least one.
        group: examples of one group (a film) stand on one side of a split.
        complete: False where a label that is not named may hold all the same.
    """

    id: str
    text: Text
    labels: tuple[str, ...]
    group: str = ""
    complete: bool = True


@dataclass(frozen=True)
class Fields:
    """Names of a row's columns."""

    text: str = "description"
    labels: str = "genres"
    id: str = "id"
    title: str | None = None


@dataclass(frozen=True)
class Loaded:
    """Examples, and how many rows hold no label that may be answered."""

    examples: tuple[Example, ...]
    without_label: int


def load(path: Path, taxonomy: Taxonomy, fields: Fields = Fields(), split: str | None = None) -> Loaded:
    """Read examples from a ``.jsonl`` or ``.jsonl.gz`` file.

    Args:
        path: the file.
        taxonomy: the vocabulary; every label of the file must be known to it.
        fields: names of the columns.
        split: keep the rows of this ``split`` only.

    Raises:
        InvalidDataset: no such file, a line that is not JSON, a missing column, an unknown label, or nothing left.
    """
    rows = [(line, row) for line, row in _rows(path) if split is None or row.get("split") == split]
    examples = [_example(row, f"{path.name}, line {line}", taxonomy, fields) for line, row in rows]
    kept = tuple(example for example in examples if example.labels)
    if not kept:
        where = f" with split {split!r}" if split else ""
        raise InvalidDataset(f"{path.name} holds no labelled example{where}")
    return Loaded(kept, len(examples) - len(kept))


def texts_of(path: Path, field: str, limit: int | None = None) -> list[Text]:
    """The texts alone of a ``.jsonl`` or ``.jsonl.gz`` file, whether they are labelled or not.

    Raises:
        InvalidDataset: no such file, a line that is not JSON, or a missing column.
    """
    found = []
    for line, row in _rows(path):
        if field not in row:
            raise InvalidDataset(f"{path.name}, line {line}: no column {field!r}; columns: {', '.join(row)}")
        found.append(Text(row[field] or ""))
    return found[:limit]


def sample(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """At most ``limit`` examples, the same ones every time, independent of the file's order."""
    chosen = sorted(examples, key=lambda example: hashlib.sha256(example.id.encode()).digest())
    return chosen[:limit]


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                yield number, json.loads(line)
    except OSError as error:
        raise InvalidDataset(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise InvalidDataset(f"{path.name} is not JSON lines: {error}") from None


def _example(row: dict[str, Any], where: str, taxonomy: Taxonomy, fields: Fields) -> Example:
    for field in filter(None, (fields.id, fields.text, fields.labels, fields.title)):
        if field not in row:
            raise InvalidDataset(f"{where}: no column {field!r}; columns: {', '.join(row)}")
    given = row[fields.labels]
    names = [_known(name, where, taxonomy) for name in ([given] if isinstance(given, str) else given)]
    title = row[fields.title] if fields.title else ""
    return Example(str(row[fields.id]), Text(row[fields.text] or "", title or ""), taxonomy.in_order(names))


def _known(name: str, where: str, taxonomy: Taxonomy) -> str:
    known = taxonomy.known(name)
    if known is None:
        raise InvalidDataset(f"{where}: label {name!r} is not in taxonomy {taxonomy.name!r}")
    return known
