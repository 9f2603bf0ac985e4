"""Rows of JSON lines, and of a JSON document: an array of objects, one object, or objects after each other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from prompts.errors import InvalidDataset
from tabular.content import Content
from tabular.dialect import LARGEST_CELL
from tabular.opening import after_line, opened_text
from tabular.position import Position
from tabular.row import Row

_CHUNK = 1 << 16
_FIRST_ROWS = 100
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_SPACES = re.compile("[ \t\r\n\ufeff]*")
_NOT_OBJECT = "JSON, but no object of named columns"


class _Twice(Exception):
    """An object names a column twice; only the last value would be kept."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def json_lines(path: Path, content: Content, position: Position | None = None) -> Iterator[Row]:
    """Rows of a file of one object a line; a line that is none is a row with a problem.

    Raises:
        InvalidDataset: the file cannot be read to its end.
    """
    number = 0
    with opened_text(path, content, "\n", position, lambda: after_line(number)) as lines:
        for line in lines:
            number += 1
            if not line.isspace():
                yield _row(line, f"{path.name}, line {number}")


def _row(line: str, where: str) -> Row:
    if not line.isascii() and _NOT_UTF8.search(line):
        return Row(where, {}, "the line is not UTF-8")
    try:
        cells = _DECODER.decode(line)
    except _Twice as error:
        return Row(where, {}, _twice(error))
    except (ValueError, RecursionError):
        return Row(where, {}, "the line is not JSON")
    return Row(where, cells) if isinstance(cells, dict) else Row(where, {}, f"the line is {_NOT_OBJECT}")


def _twice(error: _Twice) -> str:
    return f"two values for {str(error)!r}: a column has one name and one value"


def json_document(path: Path, content: Content, position: Position | None = None) -> Iterator[Row]:
    """Rows of a JSON document, read as a stream.

    Raises:
        InvalidDataset: the file cannot be read to its end, is not JSON, or is one object around the rows.
    """
    line = 1
    with opened_text(path, content, "\n", position, lambda: after_line(line - 1)) as text:
        values = _Values(text, path.name)
        items = values.items()
        first = list(islice(items, 2))
        if len(first) == 1 and not values.in_array and isinstance(first[0][1], dict):
            _check_is_row(first[0][1], path.name)
        for line, value, problem in chain(first, items):
            yield _value_row(path, line, value, problem)


def _value_row(path: Path, line: int, value: Any, problem: str) -> Row:
    where = f"{path.name}, line {line}"
    if problem:
        return Row(where, {}, problem)
    return Row(where, value) if isinstance(value, dict) else Row(where, {}, f"the item is {_NOT_OBJECT}")


def _check_is_row(value: dict[str, Any], name: str) -> None:
    """One object may be a row, or a box around rows (an answer of an API, pandas' default ``to_json``)."""
    parts = list(value.values())
    numbered = [isinstance(part, dict) and all(map(str.isdigit, part)) for part in parts]
    if all(isinstance(part, dict) and part and part.keys() == parts[0].keys() for part in parts) and (
        len(parts) > 1 or all(numbered)
    ):
        raise InvalidDataset(
            f"{name} is one object of columns; write one of rows: df.to_json(orient='records', lines=True)"
        )
    if all(isinstance(part, list) and len(part) == len(parts[0]) and not _is_rows(part) for part in parts):
        raise InvalidDataset(f"{name} is one object of columns; write one object a row")
    inner = next((key for key, part in value.items() if part and _is_rows(part)), None)
    if inner is not None and not any(isinstance(part, str) for part in parts):
        raise InvalidDataset(
            f"{name} is one object around the rows in {inner!r}; save that list alone: jq .{inner} {name}"
        )


def _is_rows(part: Any) -> bool:
    return isinstance(part, list) and all(isinstance(item, dict) for item in part)


class _Values:
    """The values of a stream of JSON, each with its line and what is wrong with it.

    Attributes:
        line: on which the reading is.
        in_array: whether they are the items of one array.
    """

    def __init__(self, text: TextIO, name: str) -> None:
        self._text, self._name = text, name
        self._buffer, self._place = "", 0
        self.line, self.in_array = 1, False

    def items(self) -> Iterator[tuple[int, Any, str]]:
        """All values, one after the other."""
        self.in_array = self._next() == "["
        mark = self._after() if self.in_array else self._next()
        while mark and not (self.in_array and mark == "]"):
            line = self.line
            yield line, *self._value()
            mark = self._next()
            if self.in_array and mark not in ("", ",", "]"):
                raise InvalidDataset(f"{self._name}, line {self.line}: not JSON: no comma between two items")
            mark = self._after() if self.in_array and mark == "," else mark
        if self.in_array and not mark:
            raise self._cut_off(self.line)
        if self.in_array and (rest := self._after()):
            raise InvalidDataset(f"{self._name}, line {self.line}: {rest!r} after the end of the array")

    def _value(self) -> tuple[Any, str]:
        problem = ""
        try:
            value, end = self._decoded(_DECODER)
        except _Twice as error:
            problem = _twice(error)
            value, end = self._decoded(json.JSONDecoder())
        words = self._taken(end)
        if not words.isascii() and _NOT_UTF8.search(words):
            problem = "not UTF-8"
        return value, problem

    def _decoded(self, decoder: json.JSONDecoder) -> tuple[Any, int]:
        """The value that begins here, and its end; as much is read as it takes."""
        size = _CHUNK
        while True:
            try:
                return decoder.raw_decode(self._buffer, self._place)
            except (ValueError, RecursionError):
                if not self._more(size) or len(self._buffer) > LARGEST_CELL:
                    raise self._broken() from None
                size *= 2

    def _taken(self, end: int) -> str:
        words = self._buffer[self._place : end]
        self.line += words.count("\n")
        self._place = end
        return words

    def _after(self) -> str:
        """Skip a character; the next one that is no space."""
        self._place += 1
        return self._next()

    def _next(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            found = _SPACES.match(self._buffer, self._place)
            self._taken(found.end() if found else self._place)
            if self._place < len(self._buffer):
                return self._buffer[self._place]
            if not self._more(_CHUNK):
                return ""

    def _more(self, size: int) -> bool:
        read = self._text.read(size)
        self._buffer, self._place = self._buffer[self._place :] + read, 0
        return bool(read)

    def _broken(self) -> InvalidDataset:
        try:
            json.JSONDecoder().raw_decode(self._buffer, self._place)
        except json.JSONDecodeError as error:
            unterminated = error.msg.startswith("Unterminated")
            if not unterminated and error.pos < len(self._buffer.rstrip()):
                line = self.line + self._buffer.count("\n", self._place, error.pos)
                near = self._buffer[error.pos : error.pos + 20].split("\n")[0]
                return InvalidDataset(f"{self._name}, line {line}: not JSON at {near!r}")
        except RecursionError:
            return InvalidDataset(f"{self._name}, line {self.line}: JSON that is nested too deeply")
        except ValueError:
            return InvalidDataset(f"{self._name}, line {self.line}: JSON with a number of too many digits")
        return self._cut_off(self.line)

    def _cut_off(self, line: int) -> InvalidDataset:
        return InvalidDataset(
            f"{self._name}, line {line}: not JSON: the file ends in the middle of what begins here; fetch it again"
        )


def json_columns(rows: Iterator[Row]) -> Sequence[str]:
    """Names of the columns of the first rows, in their order."""
    return list(dict.fromkeys(name for row in islice(rows, _FIRST_ROWS) for name in row.cells))
