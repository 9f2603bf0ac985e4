"""The one writer of tables: CSV, TSV, JSON lines, JSON (the text formats also gzipped) and Parquet.

Equal rows give equal bytes.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from prompts.errors import InvalidSetting
from prompts.files import replacing
from prompts.text import without_lone_surrogates
from tabular.cells import cell_as_string, to_json
from tabular.detection import suffix
from tabular.table import Schema
from tabular.typed_rows import ColumnBatch, ParquetCells

if TYPE_CHECKING:
    import pyarrow

Row = Mapping[str, Any]

_LEVEL = 6  # gzip's own default; Python's, 9, takes three times as long for a few per cent


class TableWriter(Protocol):
    """Writes rows in their order, each with the cells that are added to it or replace its own."""

    def write(self, rows: Sequence[Row], added: Sequence[Row]) -> None: ...
    def close(self) -> None: ...


class _TextWriter:
    """Writes text to a file, gzipped where the name of the output ends in ``.gz``."""

    def __init__(self, path: Path, out: Path, schema: Schema, added: Mapping[str, Any]) -> None:
        self._raw = path.open("wb")
        # Without a name and a time in its header, equal rows give equal bytes.
        self._gzip = gzip.GzipFile("", "wb", _LEVEL, self._raw, mtime=0) if out.suffix.lower() == ".gz" else None

    def close(self) -> None:
        if self._gzip:
            self._gzip.close()
        self._raw.close()

    def _put(self, text: str) -> None:
        (self._gzip or self._raw).write(text.encode())


class _JSONLinesWriter(_TextWriter):
    """Writes one object per line, with the columns that its row has."""

    def write(self, rows: Sequence[Row], added: Sequence[Row]) -> None:
        for row, more in zip(rows, added, strict=True):
            self._put(to_json({**row, **more}) + "\n")


class _JSONWriter(_TextWriter):
    """Writes an array with one object per line."""

    _separator = "[\n"

    def write(self, rows: Sequence[Row], added: Sequence[Row]) -> None:
        for row, more in zip(rows, added, strict=True):
            self._put(self._separator + to_json({**row, **more}))
            self._separator = ",\n"

    def close(self) -> None:
        self._put("[]\n" if self._separator == "[\n" else "\n]\n")
        super().close()


class _CSVWriter(_TextWriter):
    """Writes a header and one line per row; lists and objects are JSON in a cell, missing values are empty."""

    def __init__(self, path: Path, out: Path, schema: Schema, added: Mapping[str, Any]) -> None:
        super().__init__(path, out, schema, added)
        self._columns = _columns(schema, added)
        self._line = io.StringIO()
        # csv quotes a cell that holds a character of the line end; an unquoted \r would end a row when it is read.
        self._csv = csv.writer(self._line, delimiter="\t" if suffix(out) == ".tsv" else ",", lineterminator="\r\n")
        self._put_cells(self._columns)

    def write(self, rows: Sequence[Row], added: Sequence[Row]) -> None:
        for row, more in zip(rows, added, strict=True):
            self._put_cells([more[name] if name in more else row.get(name) for name in self._columns])

    def _put_cells(self, cells: Sequence[Any]) -> None:
        self._csv.writerow([cell_as_string(cell) for cell in cells])
        self._put(self._line.getvalue()[:-2] + "\n")
        self._line.seek(0)
        self._line.truncate()


class _ParquetWriter:
    """Writes typed columns, a row group per call. A column read from Parquet and not replaced is copied unconverted."""

    def __init__(self, path: Path, out: Path, schema: Schema, added: Mapping[str, Any]) -> None:
        import pyarrow.parquet

        self._schema = _arrow_schema(schema, added)
        self._raw = path.open("wb")
        self._writer = pyarrow.parquet.ParquetWriter(self._raw, self._schema, compression="zstd")
        self._columns, self._replaced = _columns(schema, added), set(added)

    def write(self, rows: Sequence[Row], added: Sequence[Row]) -> None:
        import pyarrow

        if not rows:
            return
        runs = [[row for _, row in run] for _, run in groupby(enumerate(rows), _run_key)]
        columns = [
            _replaced(name, rows, added, kind) if name in self._replaced else _copied(name, runs, kind)
            for name, kind in zip(self._columns, self._schema.types, strict=True)
        ]
        self._writer.write_table(pyarrow.Table.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()
        self._raw.close()


def _replaced(name: str, rows: Sequence[Row], added: Sequence[Row], kind: pyarrow.DataType) -> pyarrow.Array:
    return _array([more[name] if name in more else row.get(name) for row, more in zip(rows, added, strict=True)], kind)


def _run_key(numbered: tuple[int, Row]) -> tuple[ColumnBatch, int] | None:
    """Equal for neighbours in one batch of Parquet, and for rows of other formats."""
    number, row = numbered
    return (row.batch, row.place - number) if isinstance(row, ParquetCells) else None


def _copied(name: str, runs: Sequence[Sequence[Row]], kind: pyarrow.DataType) -> pyarrow.Array | pyarrow.ChunkedArray:
    """A column of rows: slices of Arrow's arrays where the rows have it in this type, else from Python values."""
    import pyarrow

    chunks: list[pyarrow.Array] = []
    for run in runs:
        first = run[0]
        if isinstance(first, ParquetCells) and name in first and first.batch.arrays[name].type == kind:
            chunks.append(first.batch.arrays[name].slice(first.place, len(run)))
        else:
            chunks.append(_array([row.get(name) for row in run], kind))
    return chunks[0] if len(chunks) == 1 else pyarrow.chunked_array(chunks, kind)


def _array(cells: list[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    import pyarrow

    if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
        cells = [None if cell is None else without_lone_surrogates(cell_as_string(cell)) for cell in cells]
    try:
        return pyarrow.array(cells, kind)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):  # nanoseconds were read as text
        return pyarrow.array(cells, pyarrow.string()).cast(kind)


def _columns(schema: Schema, added: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([*schema.names, *added]))


def _arrow_schema(schema: Schema, added: Mapping[str, Any]) -> pyarrow.Schema:
    """Arrow's schema of the rows; characters of names that UTF-8 cannot encode become U+FFFD."""
    import pyarrow

    types = {**schema.types(), **added}
    return pyarrow.schema([(without_lone_surrogates(name), types[name]) for name in _columns(schema, added)])


def check_schema(out: Path, schema: Schema, added: Mapping[str, Any]) -> None:
    """Check that a file of this name can hold the columns, before the work that fills it.

    Raises:
        InvalidSetting: Parquet cannot hold them.
    """
    if WRITERS[suffix(out)] is not _ParquetWriter:
        return
    import pyarrow
    import pyarrow.parquet

    try:
        columns = _arrow_schema(schema, added)
        pyarrow.parquet.ParquetWriter(io.BytesIO(), columns).close()
    except (pyarrow.ArrowException, ValueError, UnicodeError):
        raise InvalidSetting(f"{out}: Parquet cannot hold these columns; write .jsonl or .csv") from None
    if double := next((name for name in columns.names if columns.names.count(name) > 1), None):
        raise InvalidSetting(f"{out}: Parquet cannot hold two columns {double!r}; rename one")


OpenWriter = Callable[[Path, Path, Schema, Mapping[str, Any]], TableWriter]
"""Opens a writer: takes the path to write to, the path whose suffix says the format, the schema of the rows, and the
added columns with Arrow's types, which only Parquet uses."""


def writer_of(out: Path) -> OpenWriter:
    """The writer for a file of this name, before the work that fills it.

    Raises:
        InvalidSetting: the suffix is of no format, or the path is a folder.
    """
    writer = WRITERS.get(suffix(out))
    if writer is None or (writer is _ParquetWriter and out.suffix.lower() == ".gz"):
        raise InvalidSetting(f"{out} ends in none of {', '.join(WRITERS)} (each but Parquet also with .gz)")
    if out.is_dir():
        raise InvalidSetting(f"{out} is a folder; name a file")
    return writer


def write_table(path: Path, rows: Sequence[Row], added: Sequence[Row] | None = None) -> None:
    """Write rows atomically, with the columns that they have.

    Args:
        path: the file; its suffix says the format.
        rows: cells of each row; a column of Parquet that is not replaced is copied unconverted.
        added: cells that are added to each row, or replace its own.

    Raises:
        InvalidSetting: the suffix is of no format.
        OSError: the file cannot be written; the error names it.
    """
    open_writer, more = writer_of(path), added or [{}] * len(rows)
    schema, new = Schema.of_rows(rows), Schema.of_rows(more)
    types = new.types() if open_writer is _ParquetWriter else dict.fromkeys(new.names)
    with replacing(path) as target:
        writer = open_writer(target, path, schema, types)
        writer.write(rows, more)
        writer.close()


WRITERS: Mapping[str, OpenWriter] = {
    ".csv": _CSVWriter,
    ".tsv": _CSVWriter,
    ".jsonl": _JSONLinesWriter,
    ".ndjson": _JSONLinesWriter,
    ".json": _JSONWriter,
    ".parquet": _ParquetWriter,
    ".pq": _ParquetWriter,
}
