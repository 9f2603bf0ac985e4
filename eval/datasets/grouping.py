"""Which rows are about the same film: same title and year, or same description."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from eval.datasets.record import Record

_GAPS = re.compile(r"[\W_]+")


def normal(text: str) -> str:
    """A text without what two copies of it may differ in: case, punctuation, spaces, Unicode forms."""
    return _GAPS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def film(title: str, year: str) -> str:
    """Title and year in one spelling; empty without a title."""
    name = normal(title)
    return f"{name} ({year})" if name else ""


def groups(rows: Sequence[Record]) -> list[str]:
    """A name for each row's group, 12 hex digits, independent of the rows' order.

    Rows with the same title and year are one film, whatever their descriptions; so are rows with the same
    description, whatever their titles; and so on along the chain (union-find).
    """
    keys = [_keys(row) for row in rows]
    parents: dict[str, str] = {}
    for row_keys in keys:
        for key in row_keys:
            _join(parents, row_keys[0], key)
    least: dict[str, str] = {}
    for key in parents:
        root = _root(parents, key)
        least[root] = min(least.get(root, key), key)
    return [hashlib.sha256(least[_root(parents, row_keys[0])].encode()).hexdigest()[:12] for row_keys in keys]


def _keys(row: Record) -> list[str]:
    """What identifies a row's film; its own id where it has neither title nor description."""
    name, described = film(row.title, row.year), normal(row.text.body)
    found = [f"film {name}"] * bool(name) + [f"text {described}"] * bool(described)
    return found or [f"id {row.id}"]


def _root(parents: dict[str, str], key: str) -> str:
    while (parent := parents.setdefault(key, key)) != key:
        parents[key] = parents[parent]
        key = parents[key]
    return key


def _join(parents: dict[str, str], one: str, other: str) -> None:
    parents[_root(parents, one)] = _root(parents, other)
