"""The meaning of a cell: text, labels, a flag, a word; and a cell as a string."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from prompts.text import without_lone_surrogates

_LABEL_SEPARATORS = "|;,"

# pandas' default ``na_values``, SQL's NULL and MySQL's \N, compared without case.
_MISSING_WORDS = "nan -nan none null <null> (null) \\n #n/a n/a #na na <na> nat"
_MISSING = frozenset([*_MISSING_WORDS.split(), "#n/a n/a", ""])
INVISIBLE = "\u200b\u2060\ufeff"
"""Characters without width, such as the byte order mark of a file that was appended to another one."""
_YES = frozenset({"true", "yes", "1", "1.0"})
_NO = frozenset({"false", "no", "0", "0.0"})
_STRING = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_ADJACENT = re.compile(rf"(?:{_STRING})\s*(?:{_STRING})", re.DOTALL)
_NUMPY = re.compile(rf"\[\s*(?:(?:{_STRING}|-?\d+)\s+)*(?:{_STRING}|-?\d+)\s*\]", re.DOTALL)
_NUMPY_ITEM = re.compile(rf"{_STRING}|-?\d+", re.DOTALL)
_ARRAY = re.compile(r"\s*(?:np\.|numpy\.)?array\((\[.*\])(?:,\s*dtype=[^)]*)?\)\s*", re.DOTALL)


class NotText(ValueError):
    """A cell holds something other than text; the message says what."""


def text_in(cell: Any) -> str:
    """The text of a cell, stripped; empty where the cell is missing or holds a word for a missing value.

    Numbers are texts (a film is called 1917), and so are bytes in UTF-8.

    Raises:
        NotText: a list, an object, true or false, a date, or bytes that are not UTF-8.
    """
    if isinstance(cell, bytes):
        cell = _decoded(cell)
    if isinstance(cell, str):
        text = cell.strip()
        is_missing = len(text) <= 16 and text.strip(INVISIBLE).strip().casefold() in _MISSING
        return "" if is_missing else text
    if cell is None or cell != cell:  # NaN is not equal to itself
        return ""
    if isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
        return str(cell)
    kinds = {bool: "true or false", list: "a list", tuple: "a list", dict: "an object"}
    raise NotText(f"{kinds.get(type(cell), f'a value of type {type(cell).__name__}')}, not text")


def word_in(cell: Any) -> str:
    """A cell as one stripped word, such as an id or a year; a missing one is empty."""
    if isinstance(cell, bytes):
        return cell.decode(errors="backslashreplace").strip()
    return "" if cell is None or cell != cell else str(cell).strip()


def flag_in(cell: Any, default: bool) -> bool:
    """True or false, as JSON or CSV files write them; a missing cell is the default.

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
    """The labels of a cell: a list of names or of ``{"name": …}``, also as a string of JSON, Python or numpy.

    A plain string is returned unchanged: only a taxonomy can tell one label from several (``split_labels``).
    Numbers are names: 0 and 1 are the labels ``"0"`` and ``"1"``.

    Raises:
        ValueError: a list that cannot be parsed, or neither a list nor a string.
    """
    if isinstance(cell, bytes):
        cell = _decoded(cell)
    if cell is None or cell != cell:
        return ()
    if isinstance(cell, str):
        return _labels_in_string(cell.strip())
    return (_name(cell),) if isinstance(cell, int | float) else _names(cell)


def split_labels(cell: str | tuple[str, ...], known: Callable[[str], str | None]) -> tuple[str, ...]:
    """The names in a cell. A string that is a known label is not split; a word for a missing value is no name."""
    if not isinstance(cell, str):
        return cell
    if known(cell) is not None:
        return (cell,)
    if cell.casefold() in _MISSING:
        return ()
    separator = next((mark for mark in _LABEL_SEPARATORS if mark in cell), None)
    parts = cell.split(separator) if separator else [cell]
    return tuple(part.strip() for part in parts if part.strip())


def _labels_in_string(text: str) -> str | tuple[str, ...]:
    array = _ARRAY.fullmatch(text)
    text = array[1] if array else text
    if text.startswith("["):
        return _names(_list_in(text))
    if text.startswith(("(", "{")) and text.endswith((")", "}")):  # "(no genres listed)" is a label
        found = _literal(text)
        return _names(sorted(found, key=text.find) if isinstance(found, set) else found) if found else text
    return text


def _list_in(text: str) -> Any:
    """The items of a list in JSON, Python or numpy. Python joins adjacent strings; numpy writes labels that way."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if _NUMPY.fullmatch(text):
        return [ast.literal_eval(item) for item in _NUMPY_ITEM.findall(text)]
    found = None if _ADJACENT.search(text) else _literal(text)
    if found is None:
        raise ValueError(f"{text[:60]!r} is not a list of labels, neither as JSON nor as a Python literal")
    return found


def _literal(text: str) -> Any:
    try:
        found = ast.literal_eval(text)
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


def cell_as_string(cell: Any) -> str:
    """A cell as CSV has it: lists, objects and booleans as JSON, dates by ISO 8601, an empty string for None."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return without_lone_surrogates(cell)
    return to_json(cell) if isinstance(cell, list | tuple | dict | bool) else _other_as_string(cell)


def to_json(value: Any) -> str:
    """A value as JSON in UTF-8; what JSON has no type for becomes a string."""
    text = json.dumps(value, ensure_ascii=False, default=_other_as_string)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which can only be written as an escape
        return json.dumps(value, default=_other_as_string)
    return text


def _other_as_string(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)
