"""Rows of files of named columns: CSV, TSV, JSON lines (each also gzipped) and Parquet."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from prompts.errors import InvalidDataset

Row = tuple[str, dict[str, Any]]
MISFIT = ""
_LARGEST_CELL = 1 << 30


def suffix(path: Path) -> str:
    """The last suffix but ``.gz``, in lower case: ``.csv`` for ``A.CSV.gz``."""
    bare = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return bare.suffix.lower()


def separated_values(path: Path) -> Iterator[Row]:
    """Rows of a CSV file, or of a TSV file by its name; each with its file and line.

    A row of too many or too few cells holds their number under ``MISFIT``, a name that no column has.

    Raises:
        InvalidDataset: the file cannot be read, is empty, or is not UTF-8.
    """
    csv.field_size_limit(_LARGEST_CELL)
    with _opened(path) as lines:
        reader = csv.reader(lines, delimiter=_delimiter(path))
        names = next(reader, None)
        if not names:
            raise InvalidDataset(f"{path.name} is empty")
        start = reader.line_num + 1
        for cells in reader:
            if cells:
                yield f"{path.name}, line {start}", _row(names, cells)
            start = reader.line_num + 1


def json_lines(path: Path) -> Iterator[Row]:
    """Rows of a file of JSON objects, one a line; each with its file and line.

    Raises:
        InvalidDataset: the file cannot be read, is not UTF-8, or has a line that is no JSON object.
    """
    with _opened(path) as lines:
        for number, line in enumerate(lines, 1):
            where = f"{path.name}, line {number}"
            if line.strip():
                yield where, _object(line, where)


def parquet(path: Path) -> Iterator[Row]:
    """Rows of a Parquet file; each with its file and row.

    Raises:
        InvalidDataset: the file cannot be read or is not Parquet.
    """
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path.name}, row {number}", row
    except (OSError, pyarrow.ArrowException) as error:
        raise InvalidDataset(f"cannot read {path.name} as Parquet: {error}") from None


def columns(path: Path) -> tuple[str, ...]:
    """The columns of a CSV or TSV file; none where it has none or cannot be read."""
    try:
        with _opened(path) as lines:
            return tuple(next(csv.reader(lines, delimiter=_delimiter(path)), ()))
    except (InvalidDataset, csv.Error):
        return ()


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """The file as text; whatever is wrong with it is told by its name and line."""
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as lines:
            yield lines
    except UnicodeDecodeError:
        raise InvalidDataset(
            f"{path.name}, line {_first_other_line(path)}: not UTF-8; "
            f"convert the file, e.g. iconv -f latin1 -t utf-8 {path.name} > new"
        ) from None
    except (OSError, EOFError) as error:
        raise InvalidDataset(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    except csv.Error as error:
        raise InvalidDataset(f"{path.name} is not a table of separated values: {error}") from None


def _first_other_line(path: Path) -> int:
    """The first line that is not UTF-8, from 1."""
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return number


def _delimiter(path: Path) -> str:
    return "\t" if suffix(path) == ".tsv" else ","


def _row(names: list[str], cells: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(names, cells, strict=False))
    return row if len(cells) == len(names) else row | {MISFIT: len(cells)}


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InvalidDataset(f"{where}: not JSON lines: {error}") from None
    if not isinstance(row, dict):
        raise InvalidDataset(f"{where}: not a JSON object; give one object of named columns a line")
    return row


def rows_of(path: Path) -> Iterator[Row]:
    """Rows of a table of any of these forms, told by its name; each with its file and line.

    Raises:
        InvalidDataset: no such file, another form, or the reader's own reasons.
    """
    if suffix(path) not in READERS:
        raise InvalidDataset(f"{path.name} is no table of a known form; it should end in {', '.join(READERS)}")
    for where, row in READERS[suffix(path)](path):
        if MISFIT in row:
            raise InvalidDataset(f"{where}: {row[MISFIT]} cells where the first line names {len(row) - 1}")
        yield where, row


READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": separated_values,
    ".tsv": separated_values,
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".parquet": parquet,
    ".pq": parquet,
}
