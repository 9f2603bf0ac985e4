"""Reads tables row by row, however large they are: CSV and TSV, JSON lines (each also gzipped), Parquet.

A row that is broken is a row with a problem, so that one bad line of ten million does not stop the others; a file that
is broken as a whole is an error.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from bulk.rows import Place, Row
from prompts.errors import InvalidDataset

_LARGEST_CELL = 1 << 26  # beyond it, a quote was not closed
_ROWS_AT_ONCE = 1_024
_FIRST_ROWS = 100
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class Reader:
    """How a kind of file is read.

    Attributes:
        rows: all of them; keeps the place up to date.
        columns: their names, from the file's head; none where it has no rows.
        fixed: whether every row has these columns.
    """

    rows: Callable[[Path, Place], Iterator[Row]]
    columns: Callable[[Path], Sequence[str]]
    fixed: bool


def suffix(path: Path) -> str:
    """The last suffix but ``.gz``, in lower case: ``.csv`` for ``A.CSV.gz``."""
    gzipped = path.suffix.lower() == ".gz"
    kind = (path.with_suffix("") if gzipped else path).suffix.lower()
    return f"{kind}.gz" if gzipped and kind == ".parquet" else kind  # Parquet compresses by itself


@contextmanager
def _opened(path: Path, place: Place | None = None) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked; whatever is wrong with the file is told by its name."""
    try:
        with path.open("rb") as raw:
            if place is not None:
                place.tell = raw.tell
            if path.suffix.lower() == ".gz":
                with gzip.open(raw) as unpacked:
                    yield unpacked  # type: ignore[misc]
            else:
                yield raw
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidDataset(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


# --- JSON lines ---


def _json_lines(path: Path, place: Place | None = None) -> Iterator[Row]:
    with _opened(path, place) as lines:
        for number, line in enumerate(lines, 1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if line.strip():
                yield _json_row(line, f"{path.name}, line {number}")


def _json_row(line: bytes, where: str) -> Row:
    try:
        cells = json.loads(line.decode())
    except UnicodeDecodeError:
        return Row(where, {}, "the line is not UTF-8")
    except (ValueError, RecursionError):
        return Row(where, {}, "the line is not JSON")
    if not isinstance(cells, dict):
        return Row(where, {}, "the line is JSON, but no object of named columns")
    return Row(where, cells)


def _json_columns(path: Path) -> list[str]:
    first = islice(_json_lines(path), _FIRST_ROWS)
    return list(dict.fromkeys(name for row in first for name in row.cells))


# --- separated values ---


def _separated(path: Path, place: Place | None = None) -> Iterator[Row]:
    with _opened(path, place) as raw:
        reader, names = _reader(raw, path), None
        while (cells := _next(reader, path)) is not None:
            if cells and names is None:
                names = _heads(cells, path)
            elif cells and names is not None:
                yield _separated_row(names, cells, f"{path.name}, line {reader.line_num}")


def _reader(raw: BinaryIO, path: Path) -> Any:
    csv.field_size_limit(_LARGEST_CELL)
    text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
    return csv.reader(text, delimiter="\t" if suffix(path) == ".tsv" else ",")


def _next(reader: Any, path: Path) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        raise InvalidDataset(f"{path.name}, line {reader.line_num}: no table of separated values: {error}") from None


def _heads(cells: list[str], path: Path) -> list[str]:
    if twice := next((name for name in cells if cells.count(name) > 1), None):
        raise InvalidDataset(f"{path.name} has two columns {twice!r}; rename one")
    return cells


def _separated_row(names: list[str], cells: list[str], where: str) -> Row:
    row = {name: _NOT_UTF8.sub("\ufffd", cell) for name, cell in zip(names, cells, strict=False)}
    if len(cells) != len(names):
        rest = f", {cells[len(names) :]} beyond them" if len(cells) > len(names) else ""
        return Row(where, row, f"{len(cells)} cells where the first line names {len(names)}{rest}")
    return Row(where, row, "not UTF-8" if any(map(_NOT_UTF8.search, cells)) else "")


def _separated_columns(path: Path) -> list[str]:
    with _opened(path) as raw:
        return _heads(_next(_reader(raw, path), path) or [], path)


# --- Parquet ---


def _parquet(path: Path, place: Place | None = None) -> Iterator[Row]:
    number = 0
    with _parquet_file(path) as file:
        size, count = path.stat().st_size, max(1, file.metadata.num_rows)
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            if place is not None:
                place.tell = lambda done=number: size * done // count  # type: ignore[misc]
            for cells in _cells(batch):
                number += 1
                yield Row(f"{path.name}, row {number}", cells)


def _cells(batch: Any) -> Iterator[Mapping[str, Any]]:
    columns = {name: _values(batch.column(name)) for name in batch.schema.names}
    for place in range(batch.num_rows):
        yield {name: column[place] for name, column in columns.items()}


def _values(column: Any) -> list[Any]:
    """Python values; a time in nanoseconds, which Python has no type for, comes as text, a duration as a number."""
    if getattr(column.type, "unit", "") == "ns":
        column = column.cast("int64" if str(column.type).startswith("duration") else "string")
    return list(column.to_pylist())


def _parquet_columns(path: Path) -> list[str]:
    with _parquet_file(path) as file:
        return list(file.schema_arrow.names)


@contextmanager
def _parquet_file(path: Path) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (OSError, pyarrow.ArrowException) as error:
        raise InvalidDataset(f"cannot read {path} as Parquet: {error}") from None


READERS: Mapping[str, Reader] = {
    ".csv": Reader(_separated, _separated_columns, True),
    ".tsv": Reader(_separated, _separated_columns, True),
    ".jsonl": Reader(_json_lines, _json_columns, False),
    ".ndjson": Reader(_json_lines, _json_columns, False),
    ".parquet": Reader(_parquet, _parquet_columns, True),
}
