"""From texts to vectors: each text in windows that a model can read whole, and their vectors as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]


class Runtime(Protocol):
    """What computes a model."""

    def windows(self, texts: Sequence[str]) -> Sequence[Sequence[Sequence[Any]]]:
        """Each text in pieces that the model can read whole; one at least."""
        ...

    def vectors(self, windows: Sequence[Any]) -> Vectors:
        """Vectors of length 1, shape (windows, dimension), in their order."""
        ...


def encoded(runtime: Runtime, texts: Sequence[str], dimension: int) -> Vectors:
    """One vector of length 1 a text, float32, shape (texts, dimension): its windows' mean, each by its share."""
    if not texts:
        return np.empty((0, dimension), np.float32)
    windows = runtime.windows(texts)
    vectors = runtime.vectors([window for parts in windows for window in parts])
    return _pooled(vectors, windows)


def _pooled(vectors: Vectors, windows: Sequence[Sequence[Sequence[Any]]]) -> Vectors:
    if all(len(parts) == 1 for parts in windows):
        return _unit(vectors)
    found, at = np.empty((len(windows), vectors.shape[1]), np.float32), 0
    for row, parts in enumerate(windows):
        found[row] = np.average(vectors[at : at + len(parts)], axis=0, weights=[max(1, len(part)) for part in parts])
        at += len(parts)
    return _unit(found)


def _unit(vectors: Vectors) -> Vectors:
    """The same at length 1, to float32's exactness whatever the model computes in."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
