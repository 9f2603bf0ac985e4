"""The version of an index that is in force, opened; a newer one is taken up without a restart."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from similarity.errors import Expired, InvalidIndex, SimilarityError
from similarity.index import faiss_index, vector_file
from similarity.index.catalog import Catalog, Rows
from similarity.index.faiss_index import VectorIndex, Vectors
from similarity.index.manifest import CURRENT, FILMS, SEARCHED, VECTORS, Version, check_encoder, check_whole, current
from similarity.micro_batching import PATIENT, Caller, MicroBatcher

log = logging.getLogger(__name__)

_SEARCHES = 64  # searches of an exact index computed together
_FILTERS = 32  # remembered filters; of a million films, each takes up to eight megabytes


@dataclass(frozen=True)
class SearchFilter:
    """Which films may be answered; empty fields let all through.

    Attributes:
        genres: at least one of them.
        year_from: the first year.
        year_to: the last year.
    """

    genres: tuple[str, ...] = ()
    year_from: int | None = None
    year_to: int | None = None


class LoadedIndex:
    """A version with its files open. Threads may share it.

    Raises:
        InvalidIndex: damaged, or made by another encoder.
    """

    def __init__(self, version: Version, encoder: str, dimension: int) -> None:
        check_encoder(version, encoder, dimension)
        check_whole(version)
        manifest, path = version.manifest, version.path
        self.version = version
        self.films = Catalog(path / FILMS)
        held = vector_file.mapped(path / VECTORS, manifest.count, manifest.dimension)
        self.vectors: VectorIndex = faiss_index.loaded(
            manifest.kind, held, path / SEARCHED, manifest.effort, manifest.recall
        )
        self.rows_with = lru_cache(_FILTERS)(self._rows_with)
        self._search: MicroBatcher[tuple[Vectors, int], list[tuple[Vectors, Rows]]] = MicroBatcher(
            self._nearest, max_items=_SEARCHES
        )

    def nearest(
        self, vector: Vectors, k: int, among: Rows | None = None, caller: Caller = PATIENT
    ) -> tuple[Vectors, Rows]:
        """Cosines and rows of the nearest films, best first, both of shape (k',); see ``VectorIndex.search``.

        Threads that search all vectors of an exact index at once share the reading of them.

        Raises:
            Expired: the caller's deadline passed first.
            Disconnected: the caller's client has closed its connection.
        """
        if among is None and self.version.manifest.kind == "flat":
            return self._search([(vector, k)], caller=caller)[0]
        scores, rows = self.vectors.search(vector[None], k, among)
        return scores[0], rows[0]

    def _nearest(self, asked: Sequence[tuple[Vectors, int]], key: None) -> list[tuple[Vectors, Rows]]:
        """Of vectors and how many of each."""
        scores, rows = self.vectors.search(np.stack([one for one, _ in asked]), max(k for _, k in asked))
        return [(scores[at, :k], rows[at, :k]) for at, (_, k) in enumerate(asked)]

    def _rows_with(self, wanted: SearchFilter) -> Rows | None:
        """Rows that may be answered; None where all may."""
        if wanted == SearchFilter():
            return None
        return self.films.rows_with(wanted.genres, wanted.year_from, wanted.year_to)


def opened(folder: Path, encoder: str, dimension: int) -> LoadedIndex:
    """The version in force, checked and opened.

    Raises:
        InvalidIndex: there is none, it is damaged, or another encoder made it.
    """
    for last in (False, True):
        version = current(folder)
        if version is None:
            raise InvalidIndex(f"{folder} holds no index; make one with `main.py index FILE --out {folder}`")
        try:
            return LoadedIndex(version, encoder, dimension)
        except InvalidIndex:
            if last or current(folder) == version:  # else it was replaced and dropped while it was being opened
                raise
    raise AssertionError("unreachable")


class ReloadingIndex:
    """The version in force, whenever it is asked for.

    A newer version is opened in the background while the old one goes on answering; one that cannot be used is told in
    the log and left alone.

    Args:
        folder: of the index.
        encoder: name of the encoder that asks.
        dimension: numbers of its vectors.
        prepare: called once before the first opening; may make the index.
    """

    def __init__(
        self, folder: Path, encoder: str, dimension: int, prepare: Callable[[], object] = lambda: None
    ) -> None:
        self.folder = folder
        self._encoder, self._dimension, self._prepare = encoder, dimension, prepare
        self._lock = threading.Lock()
        self._opened: LoadedIndex | None = None
        self._seen: tuple[int, int] | None = None

    def get(self, deadline: float = math.inf) -> LoadedIndex:
        """The version in force.

        Args:
            deadline: monotonic time until which another thread is waited for that opens the index.

        Raises:
            InvalidIndex: there is none that can be used.
            Expired: the deadline passed first.
        """
        if self._opened is None:
            left = min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
            if not self._lock.acquire(timeout=left):
                raise Expired
            try:
                if self._opened is None:
                    self._prepare()
                    self._seen = self._stamp()
                    self._opened = opened(self.folder, self._encoder, self._dimension)
            finally:
                self._lock.release()
        elif self._stamp() != self._seen and self._lock.acquire(blocking=False):
            threading.Thread(target=self._take_up, daemon=True).start()  # which gives the lock back
        return self._opened

    def _take_up(self) -> None:
        try:
            self._seen = self._stamp()
            self._opened = opened(self.folder, self._encoder, self._dimension)
            log.info("index %s: version %s", self.folder, self._opened.version.name)
        except (SimilarityError, OSError) as error:
            log.error("index %s: the new version cannot be used, the old one answers: %s", self.folder, error)
        finally:
            self._lock.release()

    def _stamp(self) -> tuple[int, int] | None:
        """What changes when the pointer is replaced."""
        try:
            found = (self.folder / CURRENT).stat()
            return found.st_mtime_ns, found.st_ino
        except OSError:
            return None
