"""Vectors of texts that several systems of one evaluation share: each text is encoded once by each encoder.

Times stay those of a system alone: the seconds that a shared vector took to compute are added to the measured ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from similarity.encoders.minilm import MiniLM

if TYPE_CHECKING:
    from similarity.encoders.tokens import Vectors
    from similarity.index.builder import IndexEncoder

_MOST = 65_536  # vectors kept of each encoder: 100 MB


class _Store:
    """Vectors by encoder and text, each with the seconds that it took, and the seconds that reuse has saved."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, tuple[Vectors, float]]] = {}
        self.saved = 0.0


_STORE: ContextVar[_Store | None] = ContextVar("vectors of the running evaluation", default=None)


@contextmanager
def sharing() -> Iterator[None]:
    """Let the systems that run in this block share vectors; they are dropped at its end."""
    token = _STORE.set(_Store())
    try:
        yield
    finally:
        _STORE.reset(token)


def saved_seconds() -> float:
    """Seconds that reused vectors have saved in this block so far; 0 outside of one."""
    store = _STORE.get()
    return store.saved if store else 0.0


class SharedEncoder:
    """An encoder whose vectors the systems of an evaluation share; outside of ``sharing`` it is the encoder itself.

    The encoder's name has to identify its weights.
    """

    def __init__(self, encoder: IndexEncoder) -> None:
        self.name, self._encoder = encoder.name, encoder

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return self._encoder.dimension

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors, float32, shape (texts, dimension), in the order of the texts."""
        store = _STORE.get()
        if store is None or not texts:
            return self._encoder.encode(texts)
        known = store.found.setdefault(self.name, {})
        store.saved += sum(known[text][1] for text in texts if text in known)
        new = [text for text in texts if text not in known]
        found = dict(zip(new, self._timed(new), strict=True)) if new else {}
        rows = [(known.get(text) or found[text])[0] for text in texts]
        known |= dict(list(found.items())[: max(0, _MOST - len(known))])
        return np.stack(rows)

    def _timed(self, texts: Sequence[str]) -> list[tuple[Vectors, float]]:
        start = time.perf_counter()
        vectors = self._encoder.encode(texts)
        seconds = (time.perf_counter() - start) / len(texts)
        return [(vector, seconds) for vector in vectors]


@cache
def plain_minilm() -> MiniLM:
    """Plain MiniLM, loaded once for all trained models of the process."""
    return MiniLM()
