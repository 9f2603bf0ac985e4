"""The current version of an index; a newer version is loaded without a restart."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from prompts import installation
from prompts.files import digest_of
from similarity.encoders.minilm import MiniLM
from similarity.errors import Expired, InvalidIndex, SimilarityError
from similarity.index.builder import FilmSource, IndexEncoder, build
from similarity.index.catalog import Catalog, Film, Rows
from similarity.index.faiss_index import Vectors
from similarity.index.versions import CURRENT, FILMS, Version, check, current
from similarity.lru import LRUCache
from similarity.micro_batching import PATIENT, Caller, MicroBatcher

log = logging.getLogger(__name__)

_SEARCHES = 64  # searches of an exact index computed together
_ANSWERS = 1_024  # cached answers
_FILTERS = 32  # cached filters; each takes up to eight megabytes for a million films


class LoadedIndex:
    """A version with open files, cached filters and cached answers. Threads may share it.

    Raises:
        InvalidIndex: it is damaged or was built with another encoder.
    """

    def __init__(self, version: Version, encoder: str, dimension: int) -> None:
        check(version, encoder, dimension)
        self.version = version
        self.films, self.vectors = Catalog(version.path / FILMS), version.vector_index()
        self.rows_with = lru_cache(_FILTERS)(self.films.rows_with)
        self.answers: LRUCache[Hashable, Any] = LRUCache(_ANSWERS)
        self._search = MicroBatcher(self._nearest, max_items=_SEARCHES)

    def nearest(
        self, vector: Vectors, k: int, among: Rows | None = None, caller: Caller = PATIENT
    ) -> tuple[Vectors, Rows]:
        """Cosines and rows of the nearest films, best first, both of shape (k',); see ``VectorIndex.search``.

        Concurrent unfiltered searches of an exact index share one pass over the vectors.

        Raises:
            Expired: the caller's deadline passed first.
            Disconnected: the caller's client has closed its connection.
        """
        if among is None and self.version.manifest.kind == "flat":
            return self._search([(vector, k)], caller=caller)[0]
        scores, rows = self.vectors.search(vector[None], k, among)
        return scores[0], rows[0]

    def _nearest(self, queries: Sequence[tuple[Vectors, int]], key: None) -> list[tuple[Vectors, Rows]]:
        """Neighbours of pairs of a vector and a number k."""
        scores, rows = self.vectors.search(np.stack([one for one, _ in queries]), max(k for _, k in queries))
        return [(scores[at, :k], rows[at, :k]) for at, (_, k) in enumerate(queries)]


def load_index(folder: Path, encoder: str, dimension: int) -> LoadedIndex:
    """Check and open the current version.

    Raises:
        InvalidIndex: there is none, it is damaged, or it was built with another encoder.
    """
    version = current(folder)
    if version is None:
        raise InvalidIndex(f"{folder} has no index; build one with `main.py index FILE --out {folder}`")
    try:
        return LoadedIndex(version, encoder, dimension)
    except InvalidIndex:
        newer = current(folder)
        if newer is None or newer == version:
            raise
        return LoadedIndex(newer, encoder, dimension)  # the version was replaced while it was being opened


class ReloadingIndex:
    """Gives the current version of an index.

    A newer version is opened in the background while the old one answers. A version that cannot be opened is logged and
    ignored.

    Args:
        folder: folder of the index.
        encoder: name of the encoder.
        dimension: of its vectors.
        prepare: called once before the index is opened; may build it.
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
        """The current version; ``deadline`` limits the wait for another thread that opens the index.

        Raises:
            InvalidIndex: there is no usable version.
            Expired: the deadline passed first.
        """
        if self._opened is None:
            remaining = min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
            if not self._lock.acquire(timeout=remaining):
                raise Expired
            try:
                if self._opened is None:
                    self._prepare()
                    self._opened = self._load()
            finally:
                self._lock.release()
        elif self._stamp() != self._seen and self._lock.acquire(blocking=False):
            threading.Thread(target=self._reload, daemon=True).start()  # releases the lock
        return self._opened

    def _reload(self) -> None:
        try:
            self._opened = self._load()
            log.info("index %s: version %s", self.folder, self._opened.version.name)
        except (SimilarityError, OSError) as error:
            log.error("index %s: the new version cannot be used, the old one answers: %s", self.folder, error)
        finally:
            self._lock.release()

    def _load(self) -> LoadedIndex:
        self._seen = self._stamp()
        return load_index(self.folder, self._encoder, self._dimension)

    def _stamp(self) -> tuple[int, int] | None:
        """Changes when the pointer file is replaced."""
        try:
            status = (self.folder / CURRENT).stat()
            return status.st_mtime_ns, status.st_ino
        except OSError:
            return None


_SAMPLE = installation.SAMPLE / "films.jsonl"
_SAMPLE_INDEX = Path("var/index/sample")


def live(folder: Path | None, encoder: IndexEncoder) -> ReloadingIndex:
    """The index in a folder; None is the index of the sample films, built on first use, one for each encoder."""
    if folder is not None:
        return ReloadingIndex(folder, encoder.name, encoder.dimension)
    own = _SAMPLE_INDEX
    if encoder.name != MiniLM().name:
        own = own.with_name(f"sample-{digest_of(encoder.name, 12)}")
    return ReloadingIndex(own, encoder.name, encoder.dimension, partial(_make_sample, own, encoder))


def _make_sample(folder: Path, encoder: IndexEncoder) -> None:
    try:
        build(folder, FilmSource(_sample(), digest_of(_SAMPLE)), encoder, overwrite=True, wait=True)
    except OSError as error:
        raise InvalidIndex(f"the sample films cannot be indexed in {folder}: {error}; set MARQUEE_INDEX") from None


def _sample() -> Iterator[Film]:
    for line in _SAMPLE.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield Film(row["id"], row["title"], row["year"], tuple(row["tmdb_genres"]), row["plot"])
