"""What stands in one cell of a table: labels, a flag, a word."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence
from typing import Any

SEPARATORS = "|;,"


def labels_in(value: Any) -> str | tuple[str, ...]:
    """The labels of a cell: a list of names or of ``{"name": …}``, also written out as JSON or as a Python literal.

    A plain string comes back as it is: it may be one label or several, and only a vocabulary can tell.

    Raises:
        ValueError: a list that cannot be read, or something that is neither list nor string.
    """
    if value is None or value != value:  # NaN, as pandas writes a missing cell
        return ()
    if isinstance(value, str):
        return _listed(_parsed(value)) if value.lstrip().startswith("[") else value.strip()
    return _listed(value)


def separated(cell: str | tuple[str, ...], known: Callable[[str], str | None]) -> tuple[str, ...]:
    """The names in a cell; a string that is a label as a whole is never taken apart."""
    if not isinstance(cell, str):
        return cell
    if not cell:
        return ()
    if known(cell) is not None:
        return (cell,)
    separator = next((mark for mark in SEPARATORS if mark in cell), None)
    parts = cell.split(separator) if separator else [cell]
    return tuple(part.strip() for part in parts if part.strip())


def flag_in(value: Any, default: bool) -> bool:
    """Yes or no, as JSON or a CSV file writes them; an empty cell is the default.

    Raises:
        ValueError: the value is neither.
    """
    if value is None or value == "":
        return default
    word = str(value).strip().casefold()
    if word in _YES or word in _NO:
        return word in _YES
    raise ValueError(f"{value!r} is neither true nor false")


def word_in(value: Any) -> str:
    """A cell as one line of text; a missing one is empty."""
    return "" if value is None or value != value else str(value).strip()


_YES = frozenset({"true", "yes", "1", "1.0"})
_NO = frozenset({"false", "no", "0", "0.0"})


def _parsed(text: str) -> Any:
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    raise ValueError(f"{text[:60]!r} is not a list of labels, neither as JSON nor as a Python literal")


def _listed(items: Any) -> tuple[str, ...]:
    if not isinstance(items, Sequence):
        raise ValueError(f"{items!r} is not a list of labels")
    return tuple(_name(item) for item in items)


def _name(item: Any) -> str:
    name = item.get("name") if isinstance(item, dict) else item
    if not isinstance(name, str):
        raise ValueError(f"{item!r} is not a label: give names, or objects with a name")
    return name
