"""Films of a catalogue, read row by row from the formats that data sets have."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from eval.datasets.fields import Fields
from eval.datasets.named_columns import cell, whole
from eval.datasets.registry import format_of, records
from prompts.errors import InvalidDataset
from similarity.film import Film
from tabular import Row, TableDialect, open_table
from tabular.cells import labels_in, separated, text_in, word_in

_YEAR = re.compile(r"(\d{4})(?:\.0|-\d\d-\d\d.*)?")  # pandas writes 1999.0 beside gaps, TMDB 1999-12-31


@dataclass(frozen=True)
class FilmColumns:
    """Names of the columns of films; None leaves a name to the format: in tables, what stands in ``_USUAL``.

    Titles, years and genres may be missing from a table, unless their column is named here.
    """

    id: str | None = None
    text: str | None = None
    title: str | None = None
    year: str | None = None
    genres: str | None = None
    dialect: TableDialect = TableDialect()


@dataclass
class Films:
    """The films of a file, read anew whenever they are gone through.

    Attributes:
        path: the file or folder.
        columns: their names.
        format: a name in ``formats.FORMATS``; None tells it from the path.
        noted: counts of what could not be read and was left empty, of the last time.
    """

    path: Path
    columns: FilmColumns = FilmColumns()
    format: str | None = None
    noted: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Film]:
        """The films in the order of the file, never more than a few rows of a table in memory.

        Raises:
            InvalidDataset: no such file, a column that must be there is not, or a row that cannot be read.
        """
        self.noted.clear()
        if not self.path.exists():
            raise InvalidDataset(f"cannot read {self.path}: No such file or directory")
        name = self.format or format_of(self.path)
        return self._of_table() if name in _TABLES else self._of_records(name)

    @property
    def origin(self) -> str:
        """Digest of the file's bytes and of how it is read."""
        files = [self.path] if self.path.is_file() else sorted(one for one in self.path.rglob("*") if one.is_file())
        total = hashlib.sha256(repr((asdict(self.columns), self.format)).encode())
        for file in files:
            with file.open("rb") as held:
                total.update(hashlib.file_digest(held, "sha256").digest())
        return total.hexdigest()

    def _of_table(self) -> Iterator[Film]:
        table = open_table(self.path, self.columns.dialect)
        if table.kind == "empty":
            raise InvalidDataset(f"{self.path.name} is empty: it holds no film")
        return (self._film(row) for row in table.rows())

    def _film(self, row: Row) -> Film:
        where, given = row.where, whole(row)
        cells = {part: cell(given, *self._column(part, where)) for part in _USUAL}
        id = word_in(cells["id"])
        if not id:
            raise InvalidDataset(f"{where}: no id; every film needs one of its own")
        try:
            genres = separated(labels_in(cells["genres"]), lambda name: None)
            text = text_in(cells["text"])
        except ValueError as error:
            raise InvalidDataset(f"{where}: {error}") from None
        year = self._year(word_in(cells["year"]))
        return Film(id, word_in(cells["title"]), year, tuple(dict.fromkeys(genres)), text)

    def _column(self, part: str, where: str) -> tuple[str, str, bool]:
        """Name of a part's column, the row, and whether the column must be there."""
        named: str | None = getattr(self.columns, part)
        return named or _USUAL[part], where, named is not None or part in _NEEDED

    def _of_records(self, name: str) -> Iterator[Film]:
        names = self.columns
        for record in records(self.path, Fields(names.text, names.genres, names.id, dialect=names.dialect), name).rows:
            genres = separated(record.labels, lambda name: None)
            yield Film(record.id, record.title, self._year(record.year), tuple(genres), record.text.body)

    def _year(self, word: str) -> int | None:
        found = _YEAR.fullmatch(word)
        if found:
            return int(found[1])
        if word:
            self.noted["with a year that is none, left empty"] += 1
        return None


_USUAL: Mapping[str, str] = {
    "id": "id",
    "text": "description",
    "title": "title",
    "year": "year",
    "genres": "genres",
}
_NEEDED = ("id", "text")

_TABLES = frozenset({"csv", "tsv", "jsonl", "json", "parquet"})
