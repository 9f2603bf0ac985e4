"""An encoder small enough for tests that index thousands: a text is the sum of its words' random directions."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class Words:
    """Unit vectors; texts of common words lie near each other.

    Args:
        seconds: that every call takes besides, so that a process can be ended in the middle.
    """

    name, dimension = "words", 48

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self.calls: list[int] = []

    def encode(self, texts: Sequence[str]) -> Vectors:
        time.sleep(self._seconds)
        self.calls.append(len(texts))
        rows = [np.sum([_direction(word) for word in text.split()] or [_direction("")], axis=0) for text in texts]
        vectors = np.array(rows, np.float32).reshape(-1, self.dimension)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@cache
def _direction(word: str) -> Vectors:
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
    return np.random.default_rng(seed).standard_normal(Words.dimension).astype(np.float32)
