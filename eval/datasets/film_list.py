"""Films for the similarity index, read row by row from any data format."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from eval.datasets.example import Fields
from eval.datasets.named_columns import cell, valid_cells
from eval.datasets.registry import TABLES, format_of, records
from prompts.errors import InvalidDataset
from similarity.index.catalog import Film
from tabular import Row, TableDialect, open_table
from tabular.cells import labels_in, split_labels, text_in, word_in

_YEAR = re.compile(r"(\d{4})(?:\.0|-\d\d-\d\d.*)?")  # pandas writes 1999.0 beside gaps, TMDB 1999-12-31
_DEFAULTS = {"id": "id", "text": "description", "title": "title", "year": "year", "genres": "genres"}
_REQUIRED = ("id", "text")


@dataclass(frozen=True)
class FilmColumns:
    """Names of the columns of films; None takes the default of the format (in tables: ``_DEFAULTS``).

    A table may lack titles, years and genres, unless their column is named here.
    """

    id: str | None = None
    text: str | None = None
    title: str | None = None
    year: str | None = None
    genres: str | None = None
    dialect: TableDialect = TableDialect()


@dataclass
class Films:
    """The films of a file or folder; every iteration reads it again.

    ``noted`` counts the cells that could not be read and are empty, of the last iteration.
    """

    path: Path
    columns: FilmColumns = FilmColumns()
    format: str | None = None
    noted: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Film]:
        """The films in the order of the file; only a few rows of a table are in memory at a time.

        Raises:
            InvalidDataset: no such file, a missing required column, or a row that cannot be read.
        """
        self.noted.clear()
        if not self.path.exists():
            raise InvalidDataset(f"cannot read {self.path}: No such file or directory")
        name = self.format or format_of(self.path)
        return self._from_table() if name in TABLES else self._from_records(name)

    @property
    def origin(self) -> str:
        """Digest of the file's bytes and of the settings that it is read with."""
        files = [self.path] if self.path.is_file() else sorted(one for one in self.path.rglob("*") if one.is_file())
        total = hashlib.sha256(repr((asdict(self.columns), self.format)).encode())
        for path in files:
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()

    def _from_table(self) -> Iterator[Film]:
        table = open_table(self.path, self.columns.dialect)
        if table.format.kind == "empty":
            raise InvalidDataset(f"{self.path.name} is empty: it has no film")
        return (self._film(row) for row in table.rows())

    def _film(self, row: Row) -> Film:
        where = row.where
        cells = {part: self._cell(valid_cells(row), part, where) for part in _DEFAULTS}
        id = word_in(cells["id"])
        if not id:
            raise InvalidDataset(f"{where}: no id; every film needs a unique one")
        try:
            genres = split_labels(labels_in(cells["genres"]), lambda name: None)
            text = text_in(cells["text"])
        except ValueError as error:
            raise InvalidDataset(f"{where}: {error}") from None
        year = self._year(word_in(cells["year"]))
        return Film(id, word_in(cells["title"]), year, tuple(dict.fromkeys(genres)), text)

    def _cell(self, cells: Mapping[str, object], part: str, where: str) -> object:
        column: str | None = getattr(self.columns, part)
        return cell(cells, column or _DEFAULTS[part], where, required=column is not None or part in _REQUIRED)

    def _from_records(self, name: str) -> Iterator[Film]:
        columns = self.columns
        fields = Fields(columns.text, columns.genres, columns.id, dialect=columns.dialect)
        for record in records(self.path, fields, name).rows:
            genres = split_labels(record.labels, lambda name: None)
            yield Film(record.id, record.title, self._year(record.year), tuple(genres), record.text.body)

    def _year(self, word: str) -> int | None:
        found = _YEAR.fullmatch(word)
        if found:
            return int(found[1])
        if word:
            self.noted["with an unreadable year, which is left empty"] += 1
        return None
