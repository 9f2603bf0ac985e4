"""What a cell means: a text, labels, a flag, a plain word. Every reader of texts and labels decides it here."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

SEPARATORS = "|;,"

# pandas' default ``na_values``, SQL's NULL and MySQL's \N, compared without case.
MISSING = frozenset(
    {
        "",
        "nan",
        "-nan",
        "none",
        "null",
        "<null>",
        "\\n",
        "#n/a",
        "#n/a n/a",
        "n/a",
        "#na",
        "na",
        "<na>",
        "nat",
        "(null)",
    }
)
_INVISIBLE = "\u200b\u2060\ufeff"
_YES = frozenset({"true", "yes", "1", "1.0"})
_NO = frozenset({"false", "no", "0", "0.0"})
_STRING = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_ADJACENT = re.compile(rf"(?:{_STRING})\s*(?:{_STRING})", re.DOTALL)
_NUMPY = re.compile(rf"\[\s*(?:(?:{_STRING}|-?\d+)\s+)*(?:{_STRING}|-?\d+)\s*\]", re.DOTALL)
_NUMPY_ITEM = re.compile(rf"{_STRING}|-?\d+", re.DOTALL)
_ARRAY = re.compile(r"\s*(?:np\.|numpy\.)?array\((\[.*\])(?:,\s*dtype=[^)]*)?\)\s*", re.DOTALL)


class NotText(ValueError):
    """A cell holds something that is no text; the message says what."""


def text_in(cell: Any) -> str:
    """The text of a cell, stripped; empty where the cell is missing or holds a word for a missing value (``MISSING``).

    Numbers are texts (a film is called 1917); bytes are where they are UTF-8.

    Raises:
        NotText: a list, an object, true or false, a date, or bytes that are not UTF-8.
    """
    if isinstance(cell, bytes):
        cell = _decoded(cell)
    if isinstance(cell, str):
        text = cell.strip()
        return text if len(text) > 16 else _unless_missing(text)
    if cell is None or cell != cell:  # NaN is not equal to itself
        return ""
    if isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
        return str(cell)
    raise NotText(f"{_kind(cell)}, not text")


def _unless_missing(text: str) -> str:
    return "" if text.strip(_INVISIBLE).strip().casefold() in MISSING else text


def word_in(cell: Any) -> str:
    """A cell as one stripped word, such as an id or a year; a missing one is empty."""
    if isinstance(cell, bytes):
        return cell.decode(errors="backslashreplace").strip()
    return "" if cell is None or cell != cell else str(cell).strip()


def flag_in(cell: Any, default: bool) -> bool:
    """True or false, as JSON or a CSV file writes them; a missing cell is the default.

    Raises:
        ValueError: the value is neither.
    """
    word = word_in(cell).casefold()
    if not word:
        return default
    if word in _YES or word in _NO:
        return word in _YES
    raise ValueError(f"{cell!r} is neither true nor false")


def labels_in(cell: Any) -> str | tuple[str, ...]:
    """The labels of a cell: a list of names or of ``{"name": …}``, also written as JSON, as Python or by numpy.

    A plain string is returned as it is: it may be one label or several, and only a taxonomy can tell (``separated``).
    Numbers are names: 0 and 1 are the labels ``"0"`` and ``"1"``.

    Raises:
        ValueError: a list that cannot be read, or something that is neither list nor string.
    """
    if isinstance(cell, bytes):
        cell = _decoded(cell)
    if cell is None or cell != cell:
        return ()
    if isinstance(cell, str):
        return _labels_in_words(cell.strip())
    return (_name(cell),) if isinstance(cell, int | float) else _names(cell)


def separated(cell: str | tuple[str, ...], known: Callable[[str], str | None]) -> tuple[str, ...]:
    """The names in a cell; a string that is a label as a whole is not split, a word for a missing value is none."""
    if not isinstance(cell, str):
        return cell
    if known(cell) is not None:
        return (cell,)
    if cell.casefold() in MISSING:
        return ()
    separator = next((mark for mark in SEPARATORS if mark in cell), None)
    parts = cell.split(separator) if separator else [cell]
    return tuple(part.strip() for part in parts if part.strip())


def _labels_in_words(words: str) -> str | tuple[str, ...]:
    array = _ARRAY.fullmatch(words)
    words = array[1] if array else words
    if words.startswith("["):
        return _names(_list_in(words))
    if words.startswith(("(", "{")) and words.endswith((")", "}")):  # "(no genres listed)" is a label
        found = _literal(words)
        return _names(sorted(found, key=words.find) if isinstance(found, set) else found) if found else words
    return words


def _list_in(words: str) -> Any:
    """The items of a written list. Python joins adjacent strings, which numpy writes between two labels."""
    try:
        return json.loads(words)
    except (ValueError, RecursionError):
        pass
    if _NUMPY.fullmatch(words):
        return [ast.literal_eval(item) for item in _NUMPY_ITEM.findall(words)]
    found = None if _ADJACENT.search(words) else _literal(words)
    if found is None:
        raise ValueError(f"{words[:60]!r} is not a list of labels, neither as JSON nor as a Python literal")
    return found


def _literal(words: str) -> Any:
    try:
        found = ast.literal_eval(words)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return found if isinstance(found, list | tuple | set) else None


def _names(items: Any) -> tuple[str, ...]:
    if not isinstance(items, Sequence):
        raise ValueError(f"{items!r} is not a list of labels")
    return tuple(_name(item) for item in items)


def _name(item: Any) -> str:
    name = item.get("name") if isinstance(item, dict) else item
    if isinstance(name, bytes):
        name = _decoded(name)
    if isinstance(name, int | float) and not isinstance(name, bool):
        return str(int(name)) if name == name and float(name).is_integer() else str(name)
    if not isinstance(name, str):
        raise ValueError(f"{item!r} is not a label: give names, or objects with a name")
    return name


def _decoded(cell: bytes) -> str:
    try:
        return cell.decode()
    except UnicodeDecodeError:
        raise NotText("bytes that are not UTF-8, not text") from None


def _kind(cell: Any) -> str:
    kinds = {bool: "true or false", list: "a list", tuple: "a list", dict: "an object"}
    return kinds.get(type(cell), f"a value of type {type(cell).__name__}")
