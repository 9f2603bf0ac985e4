"""Writes rows with their labels: CSV and TSV, JSON lines (each also gzipped), Parquet; equal rows make equal bytes."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bulk.formats import suffix
from bulk.shape import Shape
from bulk.store import Answer
from prompts.errors import InvalidSetting

if TYPE_CHECKING:
    import pyarrow

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_LEVEL = 6  # gzip's own default; Python's, 9, takes three times as long for a few per cent


class Writer(Protocol):
    """Takes rows in their order."""

    def write(self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Answer]) -> None:
        """Write some rows, each with its answer."""

    def close(self) -> None:
        """Bring everything to the disk."""


class _File:
    """Bytes into a file, packed where its name says so, and on the disk when it is closed."""

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


class JSONLines:
    """One object a line; labels are a list, scores an object."""

    def __init__(self, path: Path, out: Path, shape: Shape, labels: Sequence[str]) -> None:
        self._file, self._added = _File(path, _is_gzipped(out)), shape.added

    def write(self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Answer]) -> None:
        """See ``Writer.write``."""
        for row, answer in zip(rows, answers, strict=True):
            found = (answer.labels, answer.scores or None, answer.source, answer.problem)
            self._file.write(_json({**row, **dict(zip(self._added, found, strict=True))}) + "\n")

    def close(self) -> None:
        """See ``Writer.close``."""
        self._file.close()


class SeparatedValues:
    """One line a row under a line of names; labels and scores are JSON in a cell, what is unknown is an empty cell."""

    def __init__(self, path: Path, out: Path, shape: Shape, labels: Sequence[str]) -> None:
        self._file, self._names = _File(path, _is_gzipped(out)), shape.names
        self._line = io.StringIO()
        # A carriage return at a cell's end would be lost, and quotes are what keeps it.
        self._csv = csv.writer(self._line, delimiter="\t" if suffix(out) == ".tsv" else ",", lineterminator="\n")
        self._put([*self._names, *shape.added])

    def write(self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Answer]) -> None:
        """See ``Writer.write``."""
        for row, answer in zip(rows, answers, strict=True):
            labels = None if answer.labels is None else _json(answer.labels)
            scores = _json(answer.scores) if answer.scores else None
            self._put([*(row.get(name) for name in self._names), labels, scores, answer.source, answer.problem])

    def close(self) -> None:
        """See ``Writer.close``."""
        self._file.close()

    def _put(self, cells: Sequence[Any]) -> None:
        self._csv.writerow([_cell(cell) for cell in cells])
        self._file.write(self._line.getvalue())
        self._line.seek(0)
        self._line.truncate()


class Parquet:
    """Columns with the types of the rows; labels are a list of strings, scores a struct with a field a label."""

    def __init__(self, path: Path, out: Path, shape: Shape, labels: Sequence[str]) -> None:
        import pyarrow
        import pyarrow.parquet

        self._own, self._labels = shape.types(), labels
        scores = pyarrow.struct([(name, pyarrow.float64()) for name in labels])
        kinds = (pyarrow.list_(pyarrow.string()), scores, pyarrow.string(), pyarrow.string())
        self._schema = pyarrow.schema([*self._own.items(), *zip(shape.added, kinds, strict=True)])
        self._raw = path.open("wb")
        self._writer = pyarrow.parquet.ParquetWriter(self._raw, self._schema, compression="zstd")

    def write(self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Answer]) -> None:
        """See ``Writer.write``; a row group each time."""
        import pyarrow

        own = [_column([row.get(name) for row in rows], kind) for name, kind in self._own.items()]
        scores = [{name: one.scores.get(name) for name in self._labels} if one.scores else None for one in answers]
        added: tuple[list[Any], ...] = (
            [answer.labels for answer in answers], scores,
            [answer.source for answer in answers], [answer.problem for answer in answers],
        )  # fmt: skip
        kinds = [self._schema.field(place).type for place in range(len(own), len(own) + len(added))]
        arrays = [*own, *(_column(one, kind) for one, kind in zip(added, kinds, strict=True))]
        self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """See ``Writer.close``."""
        self._writer.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()


def _column(cells: list[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    import pyarrow

    if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
        cells = [None if cell is None else _LONE_SURROGATE.sub("\ufffd", _cell(cell)) for cell in cells]
    try:
        return pyarrow.array(cells, kind)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):  # nanoseconds came as text
        return pyarrow.array(cells, pyarrow.string()).cast(kind)


def _cell(cell: Any) -> str:
    """A cell as text: what is no text becomes JSON, but a number or a date as it is written."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return _LONE_SURROGATE.sub("\ufffd", cell)
    return _json(cell) if isinstance(cell, list | dict | bool) else _plain(cell)


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


def writer_of(out: Path) -> Callable[[Path, Path, Shape, Sequence[str]], Writer]:
    """What writes a file of this name.

    Raises:
        InvalidSetting: the name says no format.
    """
    if suffix(out) not in WRITERS:
        raise InvalidSetting(f"--out {out} ends in none of {', '.join(WRITERS)} (each but .parquet also with .gz)")
    return WRITERS[suffix(out)]


WRITERS: Mapping[str, Callable[[Path, Path, Shape, Sequence[str]], Writer]] = {
    ".csv": SeparatedValues,
    ".tsv": SeparatedValues,
    ".jsonl": JSONLines,
    ".ndjson": JSONLines,
    ".parquet": Parquet,
}
