"""Search for films similar to a text or to a film of the catalogue."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from similarity.errors import InvalidIndex, SeveralFilms, UnknownFilm, UnknownTitle
from similarity.index.builder import IndexEncoder
from similarity.index.catalog import Entry, Film, Rows, SearchFilter, folded, text_digest
from similarity.index.faiss_index import Vectors
from similarity.index.reloading import LoadedIndex, ReloadingIndex
from similarity.index.versions import Version
from similarity.lru import LRUCache
from similarity.micro_batching import PATIENT, Admission, Caller, MicroBatcher, check_waiting

log = logging.getLogger(__name__)

_TITLE_WITH_YEAR = re.compile(r"(.*\S)\s*\((\d{4})\)", re.DOTALL)
SAME = 0.999  # cosine from which two texts count as duplicates
_SPARE = 10  # further neighbours, since some may be excluded
_MAX_NEIGHBOURS = 4_096  # examined neighbours before fewer than k films are returned
_VECTORS = 4_096  # cached vectors of texts: six megabytes
_BATCH = 64  # texts encoded together


@dataclass(frozen=True)
class Query:
    """A query for ``k`` films: a text, or a film of the catalogue by its id or by its title alone.

    Attributes:
        title: title of the text; without a text, the title of a film of the catalogue.
        id: id of a film of the catalogue.
    """

    text: str = ""
    title: str = ""
    id: str | None = None
    k: int = 10
    filter: SearchFilter = SearchFilter()


@dataclass(frozen=True)
class Hit:
    """A film and its cosine similarity to the query."""

    film: Film
    score: float


@dataclass(frozen=True)
class SearchResult:
    """Result of a query.

    Attributes:
        matches: films, best first, no film twice.
        query_film: the film of the catalogue that was queried, if any.
    """

    matches: tuple[Hit, ...]
    query_film: Film | None
    version: Version


class Similar:
    """Answers queries over an index. Threads may share it; their texts are encoded in shared batches.

    Args:
        live: the index.
        encoder: that of the index.
        admission: limit on pending queries; None is no limit.
        passes: maximum number of batches that are encoded at once.
    """

    def __init__(
        self, live: ReloadingIndex, encoder: IndexEncoder, admission: Admission | None = None, passes: int = 1
    ) -> None:
        self._live, self._encoder, self._admission = live, encoder, admission or Admission(None)
        self._encode: MicroBatcher[str, Vectors] = MicroBatcher(
            lambda texts, _: encoder.encode(texts), max_items=_BATCH, concurrency=passes, length=len
        )
        self._vectors: LRUCache[str, Vectors] = LRUCache(_VECTORS)

    @property
    def model(self) -> str:
        """Name of the encoder."""
        return self._encoder.name

    def open(self) -> None:
        """Open the index before the first query needs it. An error is logged, and raised by the queries."""
        try:
            self._live.get()
        except InvalidIndex as error:
            log.warning("%s", error)

    def search(self, query: Query, caller: Caller = PATIENT) -> SearchResult:
        """The most similar films.

        The query film and its duplicates are excluded: the same text, the same title and year, or a cosine of at least
        0.999. No film is returned twice.

        Raises:
            UnknownFilm: no film has this id.
            UnknownTitle: only a title was given, and no film has it.
            SeveralFilms: only a title was given, and several films have it.
            UnknownGenre: no film has this genre.
            InvalidIndex: there is no usable index.
            Rejected: too many queries are pending.
            Expired: the caller's deadline has passed.
            Disconnected: the caller's client has closed its connection.
        """
        with self._admission.admit():
            check_waiting(caller)
            index = self._live.get(caller.deadline)  # once, so that a query sees a single version
            cached: SearchResult | None = index.answers.get(query)
            if cached is None:
                cached = self._result(index, query, caller)
                index.answers.put(query, cached)
            return cached

    def _result(self, index: LoadedIndex, query: Query, caller: Caller) -> SearchResult:
        entry, text = _query_entry(query, index), query.text.strip()
        if entry:
            vector = np.asarray(index.vectors.vectors[entry.row])
            excluded = _Excluded(entry.digest, id=entry.film.id, called=entry.called)
        else:
            vector = self._vector(text, caller)
            excluded = _Excluded(text_digest(text), title=folded(query.title))
        matches = tuple(_matches(index, vector, excluded, query, caller))
        return SearchResult(matches, entry.film if entry else None, index.version)

    def _vector(self, text: str, caller: Caller) -> Vectors:
        """The vector of a text, cached."""
        key = text_digest(text)
        vector = self._vectors.get(key)
        if vector is None:
            vector = self._encode([text], caller=caller)[0]
            self._vectors.put(key, vector)
        return vector


@dataclass(frozen=True)
class _Excluded:
    """The query itself, which is not a result: its text and title, or its film's text, id, title and year."""

    digest: str
    title: str = ""
    id: str | None = None
    called: tuple[str, int] | None = None

    def matches(self, entry: Entry) -> bool:
        """Whether the entry is the query or a duplicate of it."""
        same_film = entry.film.id == self.id or (entry.called is not None and entry.called == self.called)
        by_title = bool(self.title) and folded(entry.film.title) == self.title
        return same_film or by_title or entry.digest == self.digest


def _query_entry(query: Query, index: LoadedIndex) -> Entry | None:
    """The film of the catalogue that is the query; None if the query is a text."""
    if query.id is not None:
        entry = index.films.by_id(query.id)
        if entry is None:
            raise UnknownFilm(query.id)
        return entry
    if query.text.strip():
        return None
    called = _called(query.title, index)
    if len(called) > 1:
        raise SeveralFilms(query.title, (f"{one.film.id} ({one.film.year or 'no year'})" for one in called[:10]))
    return called[0]


def _called(title: str, index: LoadedIndex) -> list[Entry]:
    """Films with a title; ``Alien (1979)`` restricts the year."""
    called = index.films.called(title)
    if not called and (match := _TITLE_WITH_YEAR.fullmatch(title.strip())):
        title = match[1]
        called = [one for one in index.films.called(title) if one.film.year == int(match[2])]
    if not called:
        raise UnknownTitle(title, index.films.like(title))
    return called


def _matches(index: LoadedIndex, vector: Vectors, excluded: _Excluded, query: Query, caller: Caller) -> list[Hit]:
    """The best films that are not excluded; the search is widened until there are k of them."""
    among = index.rows_with(query.filter)
    most = len(index.vectors) if among is None else len(among)
    count = min(query.k + _SPARE, most)
    while True:
        hits = list(_hits(index, vector, excluded, count, among, caller)) if count else []
        if len(hits) >= query.k or count >= min(most, _MAX_NEIGHBOURS):
            return hits[: query.k]
        count = min(4 * count, most)


def _hits(
    index: LoadedIndex, vector: Vectors, excluded: _Excluded, count: int, among: Rows | None, caller: Caller
) -> Iterator[Hit]:
    check_waiting(caller)
    scores, rows = index.nearest(vector, count, among, caller)
    pairs = [(float(score), int(row)) for score, row in zip(scores, rows, strict=True) if row >= 0]
    texts: set[str] = set()
    films: set[tuple[str, int]] = set()
    entries = index.films.entries([row for _, row in pairs])
    for (score, _), entry in zip(pairs, entries, strict=True):
        same = score >= SAME or excluded.matches(entry) or entry.digest in texts or entry.called in films
        texts.add(entry.digest)  # also of an excluded film, whose duplicates are excluded too
        films |= {entry.called} if entry.called else set()
        if not same:
            yield Hit(entry.film, score)
