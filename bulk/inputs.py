"""The input of a run: the files of a path, a folder or a pattern, their rows, and the columns that are read."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompts.errors import InvalidDataset
from prompts.text import Text
from tabular import ReadPosition, Row, Table, TableDialect, open_table
from tabular.cells import NotText, text_in
from tabular.detection import FOLDER_SUFFIXES, suffix

# The first name that a table has is taken, in any case of letters.
GUESSES: Mapping[str, Sequence[str]] = {
    "text": ("description", "overview", "plot", "text", "synopsis", "summary", "body", "content", "review"),
    "title": ("title", "original_title"),
    "id": ("id", "imdb_id", "tmdb_id", "movie_id"),
}


@dataclass(frozen=True)
class InputFiles:
    """Files to read, in their order, and the path or pattern that names them."""

    pattern: str
    files: tuple[Path, ...]
    dialect: TableDialect = TableDialect()

    @property
    def position(self) -> ReadPosition:
        """A position before the first row."""
        return ReadPosition(sum(path.stat().st_size for path in self.files))

    def tables(self) -> Iterator[Table]:
        """The files as tables; raises ``InvalidDataset`` for one that is none."""
        for path in self.files:
            yield open_table(path, self.dialect)

    def rows(self, position: ReadPosition | None = None) -> Iterator[Row]:
        """All rows; the position is kept up to date. Raises ``InvalidDataset`` for a file that cannot be read."""
        position = position or self.position
        for table in self.tables():
            yield from table.rows(position)
            position.before, position.tell = position.before + table.path.stat().st_size, lambda: 0

    def columns(self) -> list[str]:
        """The columns of the first file that has any."""
        for table in self.tables():
            if table.columns:
                return list(table.columns)
        raise InvalidDataset(f"{self.pattern} is empty: it holds no row")

    def stamps(self) -> list[dict[str, Any]]:
        """Name, size and modification time of every file: they must not change during a run."""
        above = os.path.commonpath([path.absolute().parent for path in self.files])
        return [
            {"name": path.absolute().relative_to(above).as_posix(), "bytes": stat.st_size, "changed": stat.st_mtime_ns}
            for path, stat in [(path, path.stat()) for path in self.files]
        ]


def input_files(pattern: str, excluded: Sequence[Path] = (), dialect: TableDialect = TableDialect()) -> InputFiles:
    """The files that a path names: one file of any name, all tables of a folder, or those that a pattern matches.

    ``excluded`` files are never read, such as the output in the same folder.

    Raises:
        InvalidDataset: no such file, or a file that is not a table.
    """
    path = Path(pattern)
    if not path.is_dir() and not glob.has_magic(pattern):
        open_table(path, dialect)  # raises the reason where it is not a table
    if path.is_file():
        return InputFiles(pattern, (path,), dialect)
    found = path.iterdir() if path.is_dir() else map(Path, glob.glob(pattern, recursive=True))  # noqa: PTH207  (it may be absolute)
    ignored = {file.resolve() for file in excluded}
    tables = sorted(file for file in found if file.is_file() and suffix(file) in FOLDER_SUFFIXES)
    tables = [file for file in tables if file.resolve() not in ignored]
    if not tables:
        where = "holds no file" if path.is_dir() else "names no file"
        raise InvalidDataset(
            f"{pattern} {where} that ends in one of {', '.join(FOLDER_SUFFIXES)} (each but Parquet also with .gz)"
        )
    return InputFiles(pattern, tuple(tables), dialect)


def file_digest(path: Path) -> str:
    """Hex digest of a file's bytes.

    Raises:
        InvalidDataset: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise InvalidDataset(f"cannot read {path}: {error.strerror or error}") from None


@dataclass(frozen=True)
class TextColumns:
    """Names of the columns that are read; None where a table has no such column."""

    text: str | None
    title: str | None
    id: str | None

    def text_of(self, row: Row) -> Text:
        """The text of a row; raises ``NotText`` where a cell holds something else."""
        return Text(_cell_text(row, self.text), _cell_text(row, self.title))

    def id_of(self, row: Row) -> str:
        """The id of a row for messages; file and line where it has none."""
        found = row.cells.get(self.id) if self.id else None
        return row.where if found in (None, "") else str(found)


def text_columns(
    source: InputFiles, text: str | None = None, title: str | None = None, id: str | None = None
) -> TextColumns:
    """The columns of an input: those given by name, the others by ``GUESSES``; an empty name reads none.

    Raises:
        InvalidDataset: a file lacks the column, or no column looks like a text.
    """
    columns = source.columns()
    names = {"text": text, "title": title, "id": id}
    found = TextColumns(**{role: _column(role, name, columns) for role, name in names.items()})
    if found.text is None and found.title is None:
        raise InvalidDataset(
            f"{source.pattern}: no column is named like a text ({', '.join(GUESSES['text'])}); name it with "
            f"--text-field; columns: {', '.join(columns)}"
        )
    _check_every_file(source, [name for name in (found.text, found.title) if name])
    return found


def _column(role: str, name: str | None, columns: Sequence[str]) -> str | None:
    if name is not None:
        if name and name not in columns:
            raise InvalidDataset(f"no column {name!r} for --{role}-field; columns: {', '.join(columns)}")
        return name or None
    folded = {column.casefold(): column for column in reversed(columns)}
    return next((folded[guess] for guess in GUESSES[role] if guess in folded), None)


def _check_every_file(source: InputFiles, names: Sequence[str]) -> None:
    """A file without the column gives only empty rows; fail before the first text is classified."""
    for table in source.tables():
        missing = [name for name in names if name not in table.columns]
        if table.has_fixed_columns and table.columns and missing:
            raise InvalidDataset(
                f"{table.path} has no column {missing[0]!r} as the first file has; leave it out or rename it"
            )


def _cell_text(row: Row, column: str | None) -> str:
    try:
        return text_in(row.cells.get(column)) if column else ""
    except NotText as error:
        raise NotText(f"column {column!r} holds {error}") from None
