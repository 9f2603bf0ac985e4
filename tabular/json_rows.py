"""Rows of JSON lines, and of JSON: an array of objects, one object, or objects after each other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from prompts.errors import InvalidDataset
from tabular.detection import FileFormat
from tabular.dialect import LARGEST_CELL
from tabular.reading import INVALID_UTF8, ReadPosition, Row, open_text

_CHUNK = 1 << 16
_SPACES = re.compile("[ \t\r\n\ufeff]*")


class _DuplicateKey(Exception):
    """An object has a key twice; ``json`` keeps only the last value."""

    def __init__(self, key: str) -> None:
        super().__init__(f"two values for {key!r}: a column has one name and one value")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _DuplicateKey(next(key for key in keys if keys.count(key) > 1))
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def json_lines(path: Path, format: FileFormat, position: ReadPosition | None = None) -> Iterator[Row]:
    """Rows of a file with an object per line; a line that is none is a row with a problem.

    Raises:
        InvalidDataset: the file cannot be read to its end.
    """
    number = 0
    with open_text(path, format, "\n", position, lambda: number) as lines:
        for line in lines:
            number += 1
            if not line.isspace():
                yield _row_of_line(line, f"{path.name}, line {number}")


def _row_of_line(line: str, where: str) -> Row:
    if not line.isascii() and INVALID_UTF8.search(line):
        return Row(where, {}, "the line is not UTF-8")
    try:
        return _row_of_value(_DECODER.decode(line), where, "line")
    except _DuplicateKey as error:
        return Row(where, {}, str(error))
    except (ValueError, RecursionError):
        return Row(where, {}, "the line is not JSON")


def _row_of_value(value: Any, where: str, what: str) -> Row:
    if isinstance(value, dict):
        return Row(where, value)
    return Row(where, {}, f"the {what} is JSON, but no object of named columns")


def json_document(path: Path, format: FileFormat, position: ReadPosition | None = None) -> Iterator[Row]:
    """Rows of a JSON document, read as a stream.

    Raises:
        InvalidDataset: the file cannot be read to its end, is not JSON, or is one object around the rows.
    """
    line = 1
    with open_text(path, format, "\n", position, lambda: line - 1) as text:
        values = _Values(text, path.name)
        items = values.items()
        first = list(islice(items, 2))
        if len(first) == 1 and not values.in_array and isinstance(first[0][1], dict):
            _check_is_row(first[0][1], path.name)
        for line, value, problem in chain(first, items):
            where = f"{path.name}, line {line}"
            yield Row(where, {}, problem) if problem else _row_of_value(value, where, "item")


def _check_is_row(value: dict[str, Any], name: str) -> None:
    """A single object may be a row, or hold the rows (an API response, pandas' default ``to_json``)."""
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
    """The values of a JSON stream.

    Attributes:
        line: the current line.
        in_array: whether the values are the items of one array.
    """

    def __init__(self, text: TextIO, name: str) -> None:
        self._text, self._name = text, name
        self._buffer, self._place = "", 0
        self.line, self.in_array = 1, False

    def items(self) -> Iterator[tuple[int, Any, str]]:
        """The line, the value and the problem of each value."""
        self.in_array = self._peek() == "["
        mark = self._skip() if self.in_array else self._peek()
        while mark and not (self.in_array and mark == "]"):
            line = self.line
            yield line, *self._value()
            mark = self._peek()
            if self.in_array and mark not in ("", ",", "]"):
                raise InvalidDataset(f"{self._name}, line {self.line}: not JSON: no comma between two items")
            mark = self._skip() if self.in_array and mark == "," else mark
        if self.in_array and not mark:
            raise self._cut_off()
        if self.in_array and (rest := self._skip()):
            raise InvalidDataset(f"{self._name}, line {self.line}: {rest!r} after the end of the array")

    def _value(self) -> tuple[Any, str]:
        problem = ""
        try:
            value, end = self._decoded(_DECODER)
        except _DuplicateKey as error:
            problem = str(error)
            value, end = self._decoded(json.JSONDecoder())
        text = self._advance(end)
        if not text.isascii() and INVALID_UTF8.search(text):
            problem = "not UTF-8"
        return value, problem

    def _decoded(self, decoder: json.JSONDecoder) -> tuple[Any, int]:
        """The value that begins at the current place, and its end; reads on as far as the value needs."""
        size = _CHUNK
        while True:
            try:
                return decoder.raw_decode(self._buffer, self._place)
            except (ValueError, RecursionError):
                if not self._read_more(size) or len(self._buffer) > LARGEST_CELL:
                    raise self._broken() from None
                size *= 2

    def _advance(self, end: int) -> str:
        text = self._buffer[self._place : end]
        self.line += text.count("\n")
        self._place = end
        return text

    def _skip(self) -> str:
        """Skip a character; the next one that is no space."""
        self._place += 1
        return self._peek()

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            found = _SPACES.match(self._buffer, self._place)
            self._advance(found.end() if found else self._place)
            if self._place < len(self._buffer):
                return self._buffer[self._place]
            if not self._read_more(_CHUNK):
                return ""

    def _read_more(self, size: int) -> bool:
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
        return self._cut_off()

    def _cut_off(self) -> InvalidDataset:
        return InvalidDataset(
            f"{self._name}, line {self.line}: not JSON: the file ends in the middle of what begins here; fetch it again"
        )
