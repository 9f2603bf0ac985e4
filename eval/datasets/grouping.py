"""Identity of films: rows of the same film, and further texts of the same films from another table."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from eval.datasets.example import Example
from eval.datasets.record import Record

_GAPS = re.compile(r"[\W_]+")


def normal(text: str) -> str:
    """Normalise a text for comparison: case, punctuation, white space and Unicode form are removed."""
    return _GAPS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def film(title: str, year: str) -> str:
    """Normalised title and year; empty without a title."""
    name = normal(title)
    return f"{name} ({year})" if name else ""


def groups(rows: Sequence[Record]) -> list[str]:
    """The group of each row, 12 hex digits, independent of the order of the rows.

    Rows with the same title and year, or with the same description, are in one group; the relation is transitive
    (union-find).
    """
    keys = [_keys(row) for row in rows]
    parents: dict[str, str] = {}
    for row_keys in keys:
        for key in row_keys:
            parents[_root(parents, row_keys[0])] = _root(parents, key)
    least: dict[str, str] = {}
    for key in parents:
        root = _root(parents, key)
        least[root] = min(least.get(root, key), key)
    return [hashlib.sha256(least[_root(parents, row_keys[0])].encode()).hexdigest()[:12] for row_keys in keys]


def _keys(row: Record) -> list[str]:
    """What identifies a row's film: title and description, else its id."""
    name, description = film(row.title, row.year), normal(row.text.body)
    keys = [f"film {name}"] * bool(name) + [f"text {description}"] * bool(description)
    return keys or [f"id {row.id}"]


def _root(parents: dict[str, str], key: str) -> str:
    while (parent := parents.setdefault(key, key)) != key:
        parents[key] = parents[parent]
        key = parents[key]
    return key


@dataclass(frozen=True)
class MoreTexts:
    """Further texts from another table.

    Attributes:
        examples: its texts with the labels of the examples of the same films.
        skipped: rows of such films that became no example, by reason.
    """

    examples: tuple[Example, ...]
    skipped: Mapping[str, int]


def more_texts(training: Sequence[Example], everything: Sequence[Example], others: Sequence[Example]) -> MoreTexts:
    """Join further texts to training films by title and year.

    Args:
        training: the training examples.
        everything: the examples of all splits of the same data. Rows with an ambiguous title or with a text of this
            data are skipped, because they could belong to a film of another split.
        others: rows of the other table; their labels are ignored.
    """
    unique_films = _unique_films(everything) & _unique_films(others)
    known_texts = {normal(example.text.body) for example in everything}
    by_film = {example.film: example for example in training if _has_year(example)}
    skipped: Counter[str] = Counter()
    found = []
    for other in others:
        if (example := by_film.get(other.film)) is None:
            continue
        if reason := _skip_reason(example, other, unique_films, known_texts):
            skipped[reason] += 1
        else:
            text = replace(example.text, body=other.text.body)
            found.append(replace(example, id=f"{example.id}+{other.id}", text=text, truncated=other.truncated))
    return MoreTexts(tuple(found), skipped)


def _skip_reason(example: Example, other: Example, unique_films: set[str], known_texts: set[str]) -> str | None:
    if other.film not in unique_films:
        return "with a title and year of more than one film"
    if other.split and other.split != example.split:
        return "of a film in another split of that table"
    return "with a text of the data" if normal(other.text.body) in known_texts else None


def _unique_films(examples: Iterable[Example]) -> set[str]:
    return {film for film, count in Counter(example.film for example in examples).items() if count == 1}


def _has_year(example: Example) -> bool:
    return bool(example.film) and not example.film.endswith("()")
