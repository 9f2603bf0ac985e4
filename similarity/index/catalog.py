"""Films of an index in one SQLite file, where the row of a film is that of its vector; and similar titles."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from similarity.errors import InvalidIndex, UnknownGenre

Rows = NDArray[np.int64]

_BUCKETS = 32  # of the character counts of a title
_COMPARED = 400  # titles compared by difflib
_BLOCK = 65_536  # titles per block, to limit memory
_LIKE = 0.6  # ratio from which a title is like another, as in ``difflib.get_close_matches``


@dataclass(frozen=True)
class Film:
    """One film; its id is unique within the catalogue."""

    id: str
    title: str = ""
    year: int | None = None
    genres: tuple[str, ...] = ()
    text: str = ""

    @property
    def words(self) -> str:
        """What is encoded: the text, or else the title; empty where there is neither."""
        return self.text.strip() or self.title.strip()


@dataclass(frozen=True)
class SearchFilter:
    """Filter of a search: films with at least one of the genres, in a range of years (inclusive).

    No genres means any genre; a film without a year is in no range.
    """

    genres: tuple[str, ...] = ()
    year_from: int | None = None
    year_to: int | None = None


def text_digest(text: str) -> str:
    """32 hexadecimal digits, the same for texts that differ only in case and white space."""
    return hashlib.blake2b(folded(text).encode("utf-8", "replace"), digest_size=16).hexdigest()


def folded(text: str) -> str:
    """Without differences of case and white space."""
    return " ".join(text.casefold().split())


class Titles:
    """Finds similar titles among many, all of them folded: 100,000 in about 20 ms.

    ``difflib`` alone takes seconds for so many. Its ratio is at most the share of characters that two titles have in
    common in any order, so difflib compares only titles with a high share.
    """

    def __init__(self, titles: Sequence[str]) -> None:
        self._titles = titles
        self._lengths = np.fromiter(map(len, titles), np.int64, len(titles))
        blocks = [_counts(titles[start : start + _BLOCK]) for start in range(0, len(titles), _BLOCK)]
        self._counts = np.concatenate(blocks) if blocks else np.empty((0, _BUCKETS), np.uint8)

    def like(self, title: str, count: int = 3) -> list[str]:
        """Similar titles, most similar first."""
        if not title or not len(self._titles):
            return []
        common = np.minimum(self._counts, _counts([title])).sum(axis=1, dtype=np.int64)
        highest = 2 * common / (self._lengths + len(title))
        near = np.flatnonzero(highest >= _LIKE)
        near = near[np.argsort(-highest[near], kind="stable")[:_COMPARED]]
        return get_close_matches(title, [self._titles[row] for row in near.tolist()], count, _LIKE)


def _counts(titles: Sequence[str]) -> NDArray[np.uint8]:
    """Character counts per bucket, shape (titles, buckets)."""
    rows = np.repeat(np.arange(len(titles)), np.fromiter(map(len, titles), np.int64, len(titles)))
    characters = np.frombuffer("".join(titles).encode("utf-32-le", "surrogatepass"), np.uint32)
    counts = np.bincount(rows * _BUCKETS + characters % _BUCKETS, minlength=len(titles) * _BUCKETS)
    return np.minimum(counts, 255).astype(np.uint8).reshape(-1, _BUCKETS)


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
_MAX_PARAMETERS = 500  # SQLite limits the number of parameters


@dataclass(frozen=True)
class Entry:
    """A film without its text, which is not stored: the row of its vector, and the digest of the encoded text."""

    row: int
    film: Film
    digest: str

    @property
    def called(self) -> tuple[str, int] | None:
        """Title and year if both are known; entries with the same pair are the same film."""
        film = self.film
        return (folded(film.title), film.year) if film.title and film.year is not None else None


class Catalog:
    """The films of an index. Threads may share it for reading.

    Args:
        path: the SQLite file.
        writable: whether films can be added; the file is created if missing.
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
        self._connection.close()

    # --- writing ---

    def add(self, start: int, films: Sequence[Film], tally: dict[str, int]) -> None:
        """Add films as rows from ``start`` on and store the counts, in one transaction.

        Raises:
            InvalidIndex: a duplicate id.
        """
        with self._connection:
            for row, film in enumerate(films, start):
                self._insert(row, film, text_digest(film.words))
            self._connection.executemany("INSERT OR REPLACE INTO tally VALUES (?, ?)", tally.items())

    def merge(self, entries: Iterator[Entry]) -> Rows:
        """Add entries; one with an existing id replaces the older entry. Returns their rows."""
        rows, following = [], self.count
        with self._connection:
            for entry in entries:
                older = self.by_id(entry.film.id)
                row = older.row if older else following
                following += older is None
                for table in ("films", "genres") if older else ():
                    self._connection.execute(f"DELETE FROM {table} WHERE row = ?", (row,))
                self._insert(row, entry.film, entry.digest)
                rows.append(row)
        return np.asarray(rows, np.int64)

    def _insert(self, row: int, film: Film, digest: str) -> None:
        genres = json.dumps(film.genres, ensure_ascii=False)
        values = (row, film.id, film.title, film.year, genres, digest, folded(film.title))
        try:
            self._connection.execute("INSERT INTO films VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        except sqlite3.IntegrityError:
            raise InvalidIndex(f"the id {film.id!r} is used twice; give each film its own id") from None
        pairs = {(genre.casefold(), row) for genre in film.genres}
        self._connection.executemany("INSERT INTO genres VALUES (?, ?)", pairs)

    # --- reading ---

    @property
    def count(self) -> int:
        """Number of films."""
        return int(self._rows("SELECT count(*) FROM films")[0][0])

    @property
    def repeated(self) -> int:
        """Number of films with the same text as an earlier film."""
        return int(self._rows("SELECT count(*) - count(DISTINCT digest) FROM films")[0][0])

    @property
    def tally(self) -> dict[str, int]:
        """Counts stored by the last ``add``."""
        return dict(self._rows("SELECT name, count FROM tally"))

    def everything(self) -> Iterator[Entry]:
        """All films in row order."""
        with closing(self._connection.cursor()) as cursor:
            for values in cursor.execute(f"SELECT {_COLUMNS} FROM films ORDER BY row"):
                yield _entry(values)

    def entries(self, rows: Sequence[int]) -> list[Entry]:
        """Films of the rows, in the order given."""
        found: dict[int, Entry] = {}
        for start in range(0, len(rows), _MAX_PARAMETERS):
            some = [int(row) for row in rows[start : start + _MAX_PARAMETERS]]
            found |= {entry.row: entry for entry in self._entries(f"row IN ({','.join('?' * len(some))})", some)}
        return [found[int(row)] for row in rows]

    def by_id(self, id: str) -> Entry | None:
        """The film with an id, or None."""
        return next(iter(self._entries("id = ?", [id])), None)

    def called(self, title: str) -> list[Entry]:
        """Films with a title, oldest first; case and white space are ignored."""
        return self._entries("folded = ? ORDER BY year, row", [folded(title)])

    def like(self, title: str) -> list[str]:
        """Similar titles of the catalogue, most similar first."""
        return [self.called(one)[0].film.title for one in self._titles.like(folded(title))]

    @cached_property
    def _titles(self) -> Titles:
        return Titles([one for (one,) in self._rows("SELECT DISTINCT folded FROM films WHERE folded != ''")])

    def rows_with(self, filter: SearchFilter) -> Rows | None:
        """Sorted rows of the films that pass the filter; None if all do.

        Raises:
            UnknownGenre: no film has this genre.
        """
        if filter == SearchFilter():
            return None
        names = [self._genre(genre) for genre in filter.genres]
        parts = [f"row IN (SELECT row FROM genres WHERE genre IN ({','.join('?' * len(names))}))"] if names else []
        bounds = {
            sign: bound for sign, bound in ((">=", filter.year_from), ("<=", filter.year_to)) if bound is not None
        }
        parts += [f"year {sign} ?" for sign in bounds]
        query = f"SELECT row FROM films WHERE {' AND '.join(parts)} ORDER BY row"
        found = self._rows(query, [*names, *bounds.values()])
        return np.fromiter((row for (row,) in found), np.int64, len(found))

    def genres(self) -> list[str]:
        """All genres, in lower case."""
        return [genre for (genre,) in self._rows("SELECT DISTINCT genre FROM genres ORDER BY genre")]

    def _genre(self, name: str) -> str:
        if not self._rows("SELECT 1 FROM genres WHERE genre = ? LIMIT 1", (name.casefold(),)):
            raise UnknownGenre(name, self.genres())
        return name.casefold()

    def _entries(self, condition: str, values: Sequence[Any]) -> list[Entry]:
        return [_entry(row) for row in self._rows(f"SELECT {_COLUMNS} FROM films WHERE {condition}", values)]

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:  # the connection may be shared, but not used by two threads at once
            return self._connection.execute(query, values).fetchall()


def _entry(values: tuple[int, str, str, int | None, str, str]) -> Entry:
    row, id, title, year, genres, digest = values
    return Entry(row, Film(id, title, year, tuple(json.loads(genres))), digest)
