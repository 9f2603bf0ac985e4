"""Rows of JSON lines, JSON (an array of objects, one object, or objects after each other) and Parquet."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from prompts.errors import InvalidDataset
from tabular.reading import INVALID_UTF8, LARGEST_CELL, FileFormat, ReadPosition, Row, check_unique, open_text

if TYPE_CHECKING:
    import pyarrow

_CHUNK = 1 << 16  # characters
_ROWS_AT_ONCE = 1_024  # of Parquet
_SPACES = re.compile("[ \t\r\n\ufeff]*")
_CUT_OFF = "not JSON: the file ends in the middle of what begins here; fetch it again"


class _DuplicateKey(Exception):
    """An object has a key twice; ``json`` keeps only the last value."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        key = next(key for key in keys if keys.count(key) > 1)
        raise _DuplicateKey(f"two values for {key!r}: a column has one name and one value")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def json_lines(path: Path, format: FileFormat, position: ReadPosition | None = None) -> Iterator[Row]:
    """Rows of a file with an object per line; a line that is none is a row with a problem."""
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
    is_row = isinstance(value, dict)
    return Row(where, value if is_row else {}, "" if is_row else f"the {what} is JSON, but no object of named columns")


def json_document(path: Path, format: FileFormat, position: ReadPosition | None = None) -> Iterator[Row]:
    """Rows of a JSON document, read as a stream; one object around the rows is an error."""
    line = 1
    with open_text(path, format, "\n", position, lambda: line - 1) as text:
        stream = _JSONStream(text, path.name)
        values = stream.values()
        first = list(islice(values, 2))
        if len(first) == 1 and not stream.in_array and isinstance(first[0][1], dict):
            _check_is_row(first[0][1], path.name)
        for line, value, problem in chain(first, values):
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


class _JSONStream:
    """The values of a JSON file; ``in_array`` says whether they are the items of one array."""

    def __init__(self, text: TextIO, name: str) -> None:
        self._text, self._name = text, name
        self._buffer, self._place, self._line = "", 0, 1
        self.in_array = False

    def values(self) -> Iterator[tuple[int, Any, str]]:
        """The line, the value and the problem of each value."""
        self.in_array = self._peek() == "["
        mark = self._skip() if self.in_array else self._peek()
        while mark and not (self.in_array and mark == "]"):
            line = self._line
            yield line, *self._value()
            mark = self._peek()
            if self.in_array and mark not in ("", ",", "]"):
                raise self._error("not JSON: no comma between two items")
            mark = self._skip() if self.in_array and mark == "," else mark
        if self.in_array and not mark:
            raise self._error(_CUT_OFF)
        if self.in_array and (rest := self._skip()):
            raise self._error(f"{rest!r} after the end of the array")

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
        self._line += text.count("\n")
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
            if not error.msg.startswith("Unterminated") and error.pos < len(self._buffer.rstrip()):
                self._line += self._buffer.count("\n", self._place, error.pos)
                near = self._buffer[error.pos : error.pos + 20].split("\n")[0]
                return self._error(f"not JSON at {near!r}")
        except RecursionError:
            return self._error("JSON that is nested too deeply")
        except ValueError:
            return self._error("JSON with a number of too many digits")
        return self._error(_CUT_OFF)

    def _error(self, message: str) -> InvalidDataset:
        return InvalidDataset(f"{self._name}, line {self._line}: {message}")


# --- Parquet ---


class ColumnBatch:
    """A record batch: Arrow's arrays by column, and their Python values once they were read."""

    def __init__(self, batch: pyarrow.RecordBatch) -> None:
        self.arrays: dict[str, pyarrow.Array] = dict(zip(batch.schema.names, batch.columns, strict=True))
        self._values: dict[str, list[Any]] = {}

    def values(self, name: str) -> list[Any]:
        """Python values of a column."""
        if name not in self._values:
            self._values[name] = _values(self.arrays[name])
        return self._values[name]


class ParquetCells(Mapping[str, Any]):
    """The cells of a row of Parquet: its batch, and its place there."""

    __slots__ = ("batch", "place")

    def __init__(self, batch: ColumnBatch, place: int) -> None:
        self.batch, self.place = batch, place

    def __getitem__(self, name: str) -> Any:
        return self.batch.values(name)[self.place]

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch.arrays)

    def __len__(self) -> int:
        return len(self.batch.arrays)

    def __contains__(self, name: object) -> bool:
        return name in self.batch.arrays


def _values(column: pyarrow.Array) -> list[Any]:
    """Python values of a column.

    A time in nanoseconds, and a date outside Python's range, are text; a duration in nanoseconds is a number.
    """
    import pyarrow

    if getattr(column.type, "unit", "") == "ns":
        column = column.cast("int64" if pyarrow.types.is_duration(column.type) else "string")
    errors = (ValueError, OverflowError, TypeError, ImportError, pyarrow.ArrowException)
    for convert in (column.to_pylist, lambda: column.cast("string").to_pylist()):
        with suppress(*errors):
            return list(convert())
    return [_value(scalar, errors) for scalar in column]


def _value(scalar: pyarrow.Scalar, errors: tuple[type[Exception], ...]) -> Any:
    with suppress(*errors):
        return scalar.as_py()
    return getattr(scalar, "value", None)  # of a time whose zone is unknown: its number


def parquet_rows(path: Path, position: ReadPosition | None = None) -> Iterator[Row]:
    """The rows; a column is converted to Python values when one of its cells is first read."""
    number = 0
    with _opened(path, lambda: number) as file:
        size, count = path.stat().st_size, max(1, file.metadata.num_rows)
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            if position is not None:
                position.tell = lambda done=number: size * done // count  # type: ignore[misc]
            columns = ColumnBatch(batch)
            for place in range(batch.num_rows):
                number += 1
                yield Row(f"{path.name}, row {number}", ParquetCells(columns, place))


def parquet_types(path: Path) -> dict[str, pyarrow.DataType]:
    """Types of the columns by their names, in the order of the file."""
    with _opened(path, lambda: 0) as file:
        schema = file.schema_arrow
        check_unique(schema.names, path.name)
        return dict(zip(schema.names, schema.types, strict=True))


@contextmanager
def _opened(path: Path, row: Callable[[], int]) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (OSError, pyarrow.ArrowException):
        after = f" after row {row():,}" if row() else ""
        raise InvalidDataset(
            f"cannot read {path} as Parquet{after}: it is damaged or cut off; fetch or write it again"
        ) from None
