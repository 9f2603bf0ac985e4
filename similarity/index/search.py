"""The films most like a text, or like a film of the catalogue."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from similarity.errors import InvalidIndex, SeveralFilms, UnknownFilm, UnknownTitle
from similarity.film import Film, digest_of, folded
from similarity.index.catalog import Entry, Rows
from similarity.index.manifest import Version
from similarity.index.reloading import LoadedIndex, ReloadingIndex, SearchFilter
from similarity.lru import LRUCache
from similarity.micro_batching import PATIENT, Admission, Caller, MicroBatcher, check_waiting

if TYPE_CHECKING:
    from similarity.index.builder import IndexEncoder
    from similarity.index.faiss_index import Vectors

log = logging.getLogger(__name__)

_YEAR_BEHIND = re.compile(r"(.*\S)\s*\((\d{4})\)", re.DOTALL)
SAME = 0.999  # a cosine from which two texts are one
_SPARE = 10  # neighbours asked for beyond the wanted, in case some are left out
_FURTHEST = 4_096  # neighbours looked at before fewer films than wanted are answered
_VECTORS = 4_096  # cached vectors of texts: six megabytes
_ANSWERS = 1_024  # cached answers of one version of the index
_BATCH = 64  # texts encoded together


@dataclass(frozen=True)
class Query:
    """What is searched: films like a text, or like a film of the catalogue, by its id or by its title alone.

    Attributes:
        text: a plot.
        title: what the text is called; alone, a film of the catalogue.
        id: of a film of the catalogue.
        k: how many films.
        wanted: which films may be answered.
    """

    text: str = ""
    title: str = ""
    id: str | None = None
    k: int = 10
    wanted: SearchFilter = SearchFilter()


@dataclass(frozen=True)
class Hit:
    """A film found, and its cosine with what was asked."""

    film: Film
    score: float


@dataclass(frozen=True)
class SearchResult:
    """An answer.

    Attributes:
        matches: best first, no film twice.
        of: the film of the catalogue that was meant, where one was.
        version: of the index.
    """

    matches: tuple[Hit, ...]
    of: Film | None
    version: Version


class Similar:
    """Answers queries over an index. Threads may share it; their texts are encoded in shared batches.

    Args:
        live: the index.
        encoder: the one that made it.
        admission: limit on pending queries.
    """

    def __init__(self, live: ReloadingIndex, encoder: IndexEncoder, admission: Admission | None = None) -> None:
        self._live, self._encoder, self._admission = live, encoder, admission or Admission(None)
        self._encode: MicroBatcher[str, Vectors] = MicroBatcher(
            lambda texts, _: encoder.encode(texts), max_items=_BATCH, length=len
        )
        self._vectors: LRUCache[str, Vectors] = LRUCache(_VECTORS)
        self._lock = threading.Lock()
        self._searched: LoadedIndex | None = None
        self._answers: LRUCache[Query, SearchResult] = LRUCache(_ANSWERS)

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

        Args:
            query: what is searched.
            caller: the request that waits.

        Raises:
            UnknownFilm: no film has this id.
            UnknownTitle: only a title was given, and no film has it.
            SeveralFilms: only a title was given, and several films have it.
            UnknownGenre: no film has this genre.
            InvalidIndex: there is no index that can be used.
            Rejected: too many queries are pending.
            Expired: the caller's deadline has passed.
            Disconnected: the caller's client has closed its connection.
        """
        with self._admission.admit():
            check_waiting(caller)
            index = self._live.get(caller.deadline)  # once: a query sees one version, whatever comes meanwhile
            answers = self._answers_of(index)
            if (known := answers.get(query)) is not None:
                return known
            found = self._found(index, query, caller)
            answers.put(query, found)
            return found

    def _answers_of(self, index: LoadedIndex) -> LRUCache[Query, SearchResult]:
        """The cached answers of this version of the index; those of an older version are dropped."""
        with self._lock:
            if self._searched is not index:
                self._searched, self._answers = index, LRUCache(_ANSWERS)
            return self._answers

    def _found(self, index: LoadedIndex, query: Query, caller: Caller) -> SearchResult:
        meant = _meant(query, index)
        if meant:
            vector, known = np.asarray(index.vectors.vectors[meant.row]), _Known.of(meant)
        else:
            vector = self._vector(query.text.strip(), caller)
            known = _Known(digest_of(query.text.strip()), title=folded(query.title))
        matches = tuple(_matches(index, vector, known, query, caller))
        return SearchResult(matches, meant.film if meant else None, index.version)

    def _vector(self, text: str, caller: Caller) -> Vectors:
        """The text's vector, from the cache where it is there."""
        key = digest_of(text)
        known = self._vectors.get(key)
        if known is None:
            known = self._encode([text], caller=caller)[0]
            self._vectors.put(key, known)
        return known


@dataclass
class _Known:
    """What may not be answered (again).

    Attributes:
        digest: of the text asked about.
        id: of the film asked about.
        title: of the text asked about, folded; its year is not known.
        films: titles and years.
    """

    digest: str
    id: str | None = None
    title: str = ""
    films: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def of(cls, entry: Entry) -> _Known:
        return cls(entry.digest, entry.film.id, films=frozenset([entry.called] if entry.called else []))

    def holds(self, entry: Entry) -> bool:
        """Whether the entry is what was asked about."""
        film = entry.film
        by_title = bool(self.title) and folded(film.title) == self.title
        return film.id == self.id or entry.digest == self.digest or by_title or entry.called in self.films


def _meant(query: Query, index: LoadedIndex) -> Entry | None:
    """The film of the catalogue that is asked about."""
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
    """The films of a title; ``Alien (1979)`` is the one from that year."""
    called = index.films.called(title)
    if not called and (found := _YEAR_BEHIND.fullmatch(title.strip())):
        title = found[1]
        called = [one for one in index.films.called(title) if one.film.year == int(found[2])]
    if not called:
        raise UnknownTitle(title, index.films.like(title))
    return called


def _matches(index: LoadedIndex, vector: Vectors, known: _Known, query: Query, caller: Caller) -> list[Hit]:
    """The best that may be answered; looks further where too much had to be left out."""
    among = index.rows_with(query.wanted)
    most = len(index.vectors) if among is None else len(among)
    wanted = min(query.k + _SPARE, most)
    while True:
        kept = list(_kept(index, vector, known, wanted, among, caller)) if wanted else []
        if len(kept) >= query.k or wanted >= min(most, _FURTHEST):
            return kept[: query.k]
        wanted = min(4 * wanted, most)


def _kept(
    index: LoadedIndex, vector: Vectors, known: _Known, wanted: int, among: Rows | None, caller: Caller
) -> Iterator[Hit]:
    check_waiting(caller)
    scores, rows = index.nearest(vector, wanted, among, caller)
    pairs = [(float(score), int(row)) for score, row in zip(scores, rows, strict=True) if row >= 0]
    texts: set[str] = set()
    films: set[tuple[str, int]] = set()
    entries = index.films.entries([row for _, row in pairs])
    for (score, _), entry in zip(pairs, entries, strict=True):
        same = score >= SAME or known.holds(entry) or entry.digest in texts or entry.called in films
        texts.add(entry.digest)  # also of one left out: what is the same as that is the same again
        films |= {entry.called} if entry.called else set()
        if not same:
            yield Hit(entry.film, score)
