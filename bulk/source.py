"""What is labelled: the files that a path, a folder or a pattern means, and their rows one after the other."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompts.errors import InvalidDataset
from tabular import ReadPosition, Row, Table, TableDialect, open_table
from tabular.detection import FOLDER_SUFFIXES, suffix

_READ = 1 << 20


@dataclass(frozen=True)
class InputFiles:
    """Files to read, in the order in which they are read.

    Attributes:
        given: the path or pattern that names them.
        files: their paths.
        dialect: encoding and separator of the text files, where the user names them.
    """

    given: str
    files: tuple[Path, ...]
    dialect: TableDialect = TableDialect()

    @property
    def position(self) -> ReadPosition:
        """A position before the first row."""
        return ReadPosition(sum(path.stat().st_size for path in self.files))

    def tables(self) -> Iterator[Table]:
        """The files as tables.

        Raises:
            InvalidDataset: a file is no table.
        """
        for path in self.files:
            yield open_table(path, self.dialect)

    def rows(self, position: ReadPosition | None = None) -> Iterator[Row]:
        """All rows; the position is kept up to date.

        Raises:
            InvalidDataset: a file cannot be read.
        """
        position = position or self.position
        for table in self.tables():
            yield from table.rows(position)
            position.before, position.tell = position.before + table.path.stat().st_size, lambda: 0

    def named_columns(self) -> list[str]:
        """The columns of the first rows of the first file that has any, in their order."""
        for table in self.tables():
            if table.columns:
                return list(table.columns)
        raise InvalidDataset(f"{self.given} is empty: it holds no row")

    def stamps(self) -> list[dict[str, Any]]:
        """Name, size and time of change of every file: what must be the same at the end of a run."""
        above = os.path.commonpath([path.absolute().parent for path in self.files])
        names = [path.absolute().relative_to(above).as_posix() for path in self.files]
        stats = [path.stat() for path in self.files]
        return [
            {"name": name, "bytes": one.st_size, "changed": one.st_mtime_ns}
            for name, one in zip(names, stats, strict=True)
        ]


def source_of(given: str, beside: Sequence[Path] = (), dialect: TableDialect = TableDialect()) -> InputFiles:
    """The files that a path names: one file of any name, all tables of a folder, or those that a pattern matches.

    Args:
        given: the path or pattern.
        beside: files that are never read, such as the output in the same folder.
        dialect: encoding and separator of the text files, where the user names them.

    Raises:
        InvalidDataset: nothing is there, or a file that is no table.
    """
    path, known = Path(given), ", ".join(FOLDER_SUFFIXES)
    if not path.is_dir() and not glob.has_magic(given):
        open_table(path, dialect)  # says what it is where it is no table
        return InputFiles(given, (path,), dialect)
    if path.is_file():
        return InputFiles(given, (path,), dialect)
    found = path.iterdir() if path.is_dir() else map(Path, glob.glob(given, recursive=True))  # noqa: PTH207  (it may be absolute)
    left_out = {one.resolve() for one in beside}
    tables = sorted(
        one for one in found if one.is_file() and suffix(one) in FOLDER_SUFFIXES and one.resolve() not in left_out
    )
    if not tables:
        where = "holds no file" if path.is_dir() else "names no file"
        raise InvalidDataset(f"{given} {where} that ends in one of {known} (each but Parquet also with .gz)")
    return InputFiles(given, tuple(tables), dialect)


def digest_of(path: Path) -> str:
    """Hex digest of a file's bytes.

    Raises:
        InvalidDataset: it cannot be read.
    """
    found = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while piece := file.read(_READ):
                found.update(piece)
    except OSError as error:
        raise InvalidDataset(f"cannot read {path}: {error.strerror or error}") from None
    return found.hexdigest()
