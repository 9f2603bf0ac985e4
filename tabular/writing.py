"""The one writer of tables: CSV, TSV, JSON lines, JSON (the text forms also gzipped) and Parquet.

Equal rows make equal bytes.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from prompts.errors import InvalidSetting
from prompts.files import replacing
from prompts.text import without_lone_surrogates
from tabular.content import suffix
from tabular.parquet import Cells
from tabular.row import Row as TableRow
from tabular.schema import Schema

if TYPE_CHECKING:
    import pyarrow

Row = Mapping[str, Any]

_LEVEL = 6  # gzip's own default; Python's, 9, takes three times as long for a few per cent


class TableWriter(Protocol):
    """Takes rows in their order."""

    def write(self, rows: Sequence[Row], added: Sequence[Row]) -> None:
        """Write some rows, each with the cells that are added to it or replace its own."""

    def close(self) -> None:
        """Bring everything to the disk."""


class _File:
    """Text into a file, packed where its name says so, and on the disk when it is closed."""

    def __init__(self, path: Path, gzipped: bool) -> None:
        self._raw = path.open("wb")
        # No name and no time inside: the same rows should make the same bytes.
        self._packed = gzip.GzipFile("", "wb", _LEVEL, self._raw, mtime=0) if gzipped else None

    def write(self, words: str) -> None:
        (self._packed or self._raw).write(words.encode())

    def close(self) -> None:
        if self._packed:
            self._packed.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()


class _JSONLines:
    """One object a line, with the columns that its row has."""

    def __init__(self, path: Path, out: Path, schema: Schema, added: Mapping[str, Any]) -> None:
        self._file = _File(path, _is_gzipped(out))

    def write(self, rows: Sequence[Row], added: Sequence[Row]) -> None:
        """See ``TableWriter.write``."""
        for row, more in zip(rows, added, strict=True):
            self._file.write(_json({**row, **more}) + "\n")

    def close(self) -> None:
        """See ``TableWriter.close``."""
        self._file.close()


class _JSONArray:
    """One array, with an object a line."""

    def __init__(self, path: Path, out: Path, schema: Schema, added: Mapping[str, Any]) -> None:
        self._file, self._before = _File(path, _is_gzipped(out)), "[\n"

    def write(self, rows: Sequence[Row], added: Sequence[Row]) -> None:
        """See ``TableWriter.write``."""
        for row, more in zip(rows, added, strict=True):
            self._file.write(self._before + _json({**row, **more}))
            self._before = ",\n"

    def close(self) -> None:
        """See ``TableWriter.close``."""
        self._file.write("[]\n" if self._before == "[\n" else "\n]\n")
        self._file.close()


class _SeparatedValues:
    """One line a row under a line of names; lists and objects are JSON in a cell, what is missing is an empty cell."""

    def __init__(self, path: Path, out: Path, schema: Schema, added: Mapping[str, Any]) -> None:
        self._file = _File(path, _is_gzipped(out))
        self._own, self._added = [name for name in schema.names if name not in added], list(added)
        self._order = _order(schema, added)
        self._line = io.StringIO()
        # csv quotes a cell that holds a character of the line end; an unquoted \r would end a row when it is read.
        self._csv = csv.writer(self._line, delimiter="\t" if suffix(out) == ".tsv" else ",", lineterminator="\r\n")
        self._put(self._order)

    def write(self, rows: Sequence[Row], added: Sequence[Row]) -> None:
        """See ``TableWriter.write``."""
        for row, more in zip(rows, added, strict=True):
            self._put([more[name] if name in more else row.get(name) for name in self._order])

    def close(self) -> None:
        """See ``TableWriter.close``."""
        self._file.close()

    def _put(self, cells: Sequence[Any]) -> None:
        self._csv.writerow([_cell(cell) for cell in cells])
        self._file.write(self._line.getvalue()[:-2] + "\n")
        self._line.seek(0)
        self._line.truncate()


class _Parquet:
    """Columns with the types of the rows. A column that was read from Parquet and not replaced is copied as it is."""

    def __init__(self, path: Path, out: Path, schema: Schema, added: Mapping[str, Any]) -> None:
        import pyarrow.parquet

        self._schema = arrow_schema(schema, added)
        self._raw = path.open("wb")
        self._writer = pyarrow.parquet.ParquetWriter(self._raw, self._schema, compression="zstd")
        self._names = _order(schema, added)
        self._replaced = set(added)

    def write(self, rows: Sequence[Row], added: Sequence[Row]) -> None:
        """See ``TableWriter.write``; a row group each time."""
        import pyarrow

        if not rows:
            return
        columns = [
            self._added(name, rows, added, kind) if name in self._replaced else _copied(name, rows, kind)
            for name, kind in zip(self._names, self._schema.types, strict=True)
        ]
        self._writer.write_table(pyarrow.Table.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        """See ``TableWriter.close``."""
        self._writer.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()

    def _added(self, name: str, rows: Sequence[Row], added: Sequence[Row], kind: pyarrow.DataType) -> pyarrow.Array:
        cells = [more[name] if name in more else row.get(name) for row, more in zip(rows, added, strict=True)]
        return _column(cells, kind)


def _order(schema: Schema, added: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([*schema.names, *added]))


def arrow_schema(schema: Schema, added: Mapping[str, Any]) -> pyarrow.Schema:
    """Arrow's schema of the rows; names that UTF-8 cannot write get U+FFFD.

    Args:
        schema: the rows' own columns.
        added: types of the added columns.
    """
    import pyarrow

    types = {**schema.types(), **added}
    return pyarrow.schema([(without_lone_surrogates(name), types[name]) for name in _order(schema, added)])


def check_schema(out: Path, schema: Schema, added: Mapping[str, Any]) -> None:
    """See that a file of this name can hold the columns, before the work that fills it.

    Raises:
        InvalidSetting: Parquet cannot hold them.
    """
    if WRITERS[suffix(out)] is not _Parquet:
        return
    import pyarrow
    import pyarrow.parquet

    try:
        columns = arrow_schema(schema, added)
        pyarrow.parquet.ParquetWriter(io.BytesIO(), columns).close()
    except (pyarrow.ArrowException, ValueError, UnicodeError):
        raise InvalidSetting(f"{out}: Parquet cannot hold these columns; write .jsonl or .csv") from None
    if twice := next((name for name in columns.names if columns.names.count(name) > 1), None):
        raise InvalidSetting(f"{out}: Parquet cannot hold two columns {twice!r}; rename one")


def _copied(name: str, rows: Sequence[Row], kind: pyarrow.DataType) -> pyarrow.Array | pyarrow.ChunkedArray:
    """A column of rows: slices of Arrow's own where the rows have it in this type, else made of Python values."""
    import pyarrow

    chunks: list[pyarrow.Array] = []
    start = 0
    for end in _ends(rows):
        first = rows[start]
        own = first.batch.arrays.get(name) if isinstance(first, Cells) else None
        if own is not None and own.type == kind and isinstance(first, Cells):
            chunks.append(own.slice(first.place, end - start))
        else:
            chunks.append(_column([row.get(name) for row in rows[start:end]], kind))
        start = end
    return chunks[0] if len(chunks) == 1 else pyarrow.chunked_array(chunks, kind)


def _ends(rows: Sequence[Row]) -> Iterator[int]:
    """Where runs end: neighbours of one batch of Parquet, or rows of no Parquet."""
    for place in range(1, len(rows)):
        before, row = rows[place - 1], rows[place]
        if isinstance(row, Cells) and isinstance(before, Cells):
            if row.batch is not before.batch or row.place != before.place + 1:
                yield place
        elif isinstance(row, Cells) or isinstance(before, Cells):
            yield place
    if rows:
        yield len(rows)


def _column(cells: list[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    import pyarrow

    if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
        cells = [None if cell is None else without_lone_surrogates(_cell(cell)) for cell in cells]
    try:
        return pyarrow.array(cells, kind)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):  # nanoseconds came as text
        return pyarrow.array(cells, pyarrow.string()).cast(kind)


def _cell(cell: Any) -> str:
    """A cell as text: what is no text becomes JSON, but a number or a date as it is written."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return without_lone_surrogates(cell)
    return _json(cell) if isinstance(cell, list | tuple | dict | bool) else _plain(cell)


def _json(value: Any) -> str:
    words = json.dumps(value, ensure_ascii=False, default=_plain)
    try:
        words.encode()
    except UnicodeEncodeError:  # a lone surrogate, which only its escape can be written of
        return json.dumps(value, default=_plain)
    return words


def _plain(value: Any) -> str:
    """What JSON has no type for: dates as ISO writes them, bytes as they are where they are UTF-8."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def _is_gzipped(out: Path) -> bool:
    return out.suffix.lower() == ".gz"


Opener = Callable[[Path, Path, Schema, Mapping[str, Any]], TableWriter]


def writer_of(out: Path) -> Opener:
    """What opens a writer for a file of this name, before the work that fills it.

    The writer takes the path to write to, the path whose name says the form, the schema of the rows, and the added
    columns: Arrow's types by name, which only Parquet looks at.

    Raises:
        InvalidSetting: the name says no form, or is a folder's.
    """
    if suffix(out) not in WRITERS or (_is_gzipped(out) and WRITERS[suffix(out)] is _Parquet):
        raise InvalidSetting(f"{out} ends in none of {', '.join(WRITERS)} (each but Parquet also with .gz)")
    if out.is_dir():
        raise InvalidSetting(f"{out} is a folder; name a file")
    return WRITERS[suffix(out)]


def write_table(path: Path, rows: Sequence[Row], added: Sequence[Row] | None = None) -> None:
    """Write rows in one step: a reader finds the old file or the new one. The columns are those that the rows have.

    Args:
        path: the file; its name says the form.
        rows: cells of each row; a column of Parquet that nothing replaces is copied as it is.
        added: cells that are added to each row, or replace its own.

    Raises:
        InvalidSetting: the name says no form.
        OSError: the place cannot be written to; the error names it.
    """
    opener, more = writer_of(path), added or [{}] * len(rows)
    own, new = _schema_of(rows), _schema_of(more)
    with replacing(path) as target:
        writer = opener(target, path, own, new.types() if opener is _Parquet else dict.fromkeys(new.names))
        writer.write(rows, more)
        writer.close()


def _schema_of(rows: Iterable[Row]) -> Schema:
    schema = Schema()
    for row in rows:
        schema.add_row(TableRow("", row))
    return schema


WRITERS: Mapping[str, Opener] = {
    ".csv": _SeparatedValues,
    ".tsv": _SeparatedValues,
    ".jsonl": _JSONLines,
    ".ndjson": _JSONLines,
    ".json": _JSONArray,
    ".parquet": _Parquet,
    ".pq": _Parquet,
}
