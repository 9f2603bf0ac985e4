"""The films' data beside their vectors: one SQLite file, a film's row number being that of its vector."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from similarity.errors import InvalidIndex, UnknownGenre
from similarity.film import Film, digest_of, folded
from similarity.index.titles import Titles

Rows = NDArray[np.int64]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS films (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, year INTEGER,
    genres TEXT NOT NULL, digest TEXT NOT NULL, folded TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS films_folded ON films (folded);
CREATE INDEX IF NOT EXISTS films_year ON films (year);
CREATE TABLE IF NOT EXISTS genres (genre TEXT NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (genre, row)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tally (name TEXT PRIMARY KEY, count INTEGER NOT NULL);
"""
_COLUMNS = "row, id, title, year, genres, digest"
_AT_ONCE = 500  # SQLite takes a limited number of parameters


@dataclass(frozen=True)
class Entry:
    """A film as the catalogue holds it.

    Attributes:
        row: of its vector.
        film: without its text, which the catalogue does not keep.
        digest: of the text that was encoded; see ``digest_of``.
    """

    row: int
    film: Film
    digest: str

    @property
    def called(self) -> tuple[str, int] | None:
        """Title and year, where both are known: two entries of the same are one film."""
        film = self.film
        return (folded(film.title), film.year) if film.title and film.year is not None else None


class Catalog:
    """The films of an index. Threads may share it for reading.

    Args:
        path: the SQLite file.
        writable: whether films may be put in; the file is made where it is not there.
    """

    def __init__(self, path: Path, writable: bool = False) -> None:
        mode = "mode=rwc" if writable else "mode=ro&immutable=1"  # a published file never changes
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True, check_same_thread=False)
            if writable:
                self._connection.execute("PRAGMA journal_mode=DELETE")  # one file alone, once it is closed
                self._connection.execute("PRAGMA synchronous=FULL")
                self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise InvalidIndex(f"cannot open {path}: {error}") from None

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    # --- writing ---

    def add(self, start: int, films: Sequence[Film], tally: dict[str, int]) -> None:
        """Put films in as rows from ``start`` on, and note the counts, all or nothing.

        Raises:
            InvalidIndex: an id that is there already.
        """
        with self._connection:
            for row, film in enumerate(films, start):
                self._insert(row, film, digest_of(film.words))
            self._connection.executemany("INSERT OR REPLACE INTO tally VALUES (?, ?)", tally.items())

    def merge(self, entries: Iterator[Entry]) -> Rows:
        """Put other entries in; one whose id is there takes the place of the older. Returns the rows they got."""
        rows, following = [], self.count
        with self._connection:
            for entry in entries:
                older = self.by_id(entry.film.id)
                row = older.row if older else following
                following += older is None
                self._connection.execute("DELETE FROM films WHERE row = ?", (row,))
                self._connection.execute("DELETE FROM genres WHERE row = ?", (row,)) if older else None
                self._insert(row, entry.film, entry.digest)
                rows.append(row)
        return np.asarray(rows, np.int64)

    def _insert(self, row: int, film: Film, digest: str) -> None:
        genres = json.dumps(film.genres, ensure_ascii=False)
        values = (row, film.id, film.title, film.year, genres, digest, folded(film.title))
        try:
            self._connection.execute("INSERT INTO films VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        except sqlite3.IntegrityError:
            raise InvalidIndex(f"the id {film.id!r} stands twice; every film needs one of its own") from None
        pairs = {(genre.casefold(), row) for genre in film.genres}
        self._connection.executemany("INSERT INTO genres VALUES (?, ?)", pairs)

    # --- reading ---

    @property
    def count(self) -> int:
        """How many films."""
        return int(self._ask("SELECT count(*) FROM films")[0][0])

    @property
    def repeated(self) -> int:
        """How many films have a text that an earlier film has."""
        return int(self._ask("SELECT count(*) - count(DISTINCT digest) FROM films")[0][0])

    @property
    def tally(self) -> dict[str, int]:
        """The counts noted at the last ``add``."""
        return dict(self._ask("SELECT name, count FROM tally"))

    def everything(self) -> Iterator[Entry]:
        """All films by row."""
        with closing(self._connection.cursor()) as cursor:
            for values in cursor.execute(f"SELECT {_COLUMNS} FROM films ORDER BY row"):
                yield _entry(values)

    def entries(self, rows: Sequence[int]) -> list[Entry]:
        """The films of these rows, in their order."""
        found: dict[int, Entry] = {}
        for start in range(0, len(rows), _AT_ONCE):
            some = [int(row) for row in rows[start : start + _AT_ONCE]]
            query = f"SELECT {_COLUMNS} FROM films WHERE row IN ({','.join('?' * len(some))})"
            found |= {values[0]: _entry(values) for values in self._ask(query, some)}
        return [found[int(row)] for row in rows]

    def by_id(self, id: str) -> Entry | None:
        """The film of an id."""
        found = self._ask(f"SELECT {_COLUMNS} FROM films WHERE id = ?", (id,))
        return _entry(found[0]) if found else None

    def called(self, title: str) -> list[Entry]:
        """The films of a title, oldest first; case and white space do not count."""
        query = f"SELECT {_COLUMNS} FROM films WHERE folded = ? ORDER BY year, row"
        return [_entry(values) for values in self._ask(query, (folded(title),))]

    def like(self, title: str) -> list[str]:
        """Titles that are spelled like this one, as the catalogue writes them, the nearest first."""
        return [self.called(one)[0].film.title for one in self._titles.like(folded(title))]

    @cached_property
    def _titles(self) -> Titles:
        return Titles([one for (one,) in self._ask("SELECT DISTINCT folded FROM films WHERE folded != ''")])

    def rows_with(self, genres: Sequence[str], year_from: int | None, year_to: int | None) -> Rows:
        """Rows of the films that have one of the genres at least, from these years, both ends in; sorted.

        A film whose year is not known is in no range of years. No genres mean any.

        Raises:
            UnknownGenre: a genre that no film has.
        """
        parts: list[str] = []
        values: list[Any] = []
        if genres:
            names = [self._genre(genre) for genre in genres]
            parts.append(f"row IN (SELECT row FROM genres WHERE genre IN ({','.join('?' * len(names))}))")
            values += names
        for bound, sign in ((year_from, ">="), (year_to, "<=")):
            if bound is not None:
                parts.append(f"year {sign} ?")
                values.append(bound)
        found = self._ask(f"SELECT row FROM films WHERE {' AND '.join(parts) or '1'} ORDER BY row", values)
        return np.fromiter((row for (row,) in found), np.int64, len(found))

    def genres(self) -> list[str]:
        """All genres, in lower case."""
        return [genre for (genre,) in self._ask("SELECT DISTINCT genre FROM genres ORDER BY genre")]

    def _genre(self, name: str) -> str:
        if not self._ask("SELECT 1 FROM genres WHERE genre = ? LIMIT 1", (name.casefold(),)):
            raise UnknownGenre(name, self.genres())
        return name.casefold()

    def _ask(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:  # SQLite's connection may be shared, its statements at one moment may not
            return self._connection.execute(query, values).fetchall()


def _entry(values: tuple[int, str, str, int | None, str, str]) -> Entry:
    row, id, title, year, genres, digest = values
    return Entry(row, Film(id, title, year, tuple(json.loads(genres))), digest)
