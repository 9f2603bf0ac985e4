"""Tables as they are written: whole, in one step, in the form that the file's name tells."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from eval.datasets.tables import suffix
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.files import replacing

Cells = Mapping[str, Any]


def check_writable(path: Path) -> None:
    """See that a table can be written under this name, before the work that fills it.

    Raises:
        InvalidSetting: its suffix tells no form.
    """
    if suffix(path) not in WRITERS or (path.suffix.lower() == ".gz" and suffix(path) in _BINARY):
        raise InvalidSetting(
            f"{path.name} tells no form to write; end it in {', '.join(WRITERS)}, the texts also in .gz"
        )


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Cells]) -> None:
    """Write rows under these columns; whoever reads finds the old file or the new one. A missing cell is empty.

    Cells that are lists or objects are JSON in CSV and TSV.

    Raises:
        InvalidSetting: the suffix tells no form.
        InvalidDataset: a cell that the form cannot hold.
    """
    check_writable(path)
    with replacing(path) as new:
        WRITERS[suffix(path)](new, path.suffix.lower() == ".gz", columns, rows)


def _csv(delimiter: str) -> Callable[[Path, bool, Sequence[str], Iterable[Cells]], None]:
    def write(path: Path, zipped: bool, columns: Sequence[str], rows: Iterable[Cells]) -> None:
        with _opened(path, zipped) as out:
            writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)

    return write


def _json_lines(path: Path, zipped: bool, columns: Sequence[str], rows: Iterable[Cells]) -> None:
    with _opened(path, zipped) as out:
        for row in rows:
            kept = {column: row[column] for column in columns if column in row}
            out.write(json.dumps(kept, ensure_ascii=False, default=str) + "\n")


def _parquet(path: Path, zipped: bool, columns: Sequence[str], rows: Iterable[Cells]) -> None:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.Table.from_pylist([{column: row.get(column) for column in columns} for row in rows])
    except pyarrow.ArrowException as error:
        raise InvalidDataset(f"these rows fit no Parquet file ({error}); write .jsonl") from None
    pyarrow.parquet.write_table(table, path)


def _opened(path: Path, zipped: bool) -> TextIO:
    if not zipped:
        return path.open("w", encoding="utf-8", newline="")
    # Neither name nor time go into the file: the same rows give the same bytes.
    return io.TextIOWrapper(gzip.GzipFile(filename="", mode="wb", fileobj=path.open("wb"), mtime=0), "utf-8")


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | tuple | dict) else value


_BINARY = (".parquet", ".pq")

WRITERS: Mapping[str, Callable[[Path, bool, Sequence[str], Iterable[Cells]], None]] = {
    ".csv": _csv(","),
    ".tsv": _csv("\t"),
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
    ".pq": _parquet,
}
