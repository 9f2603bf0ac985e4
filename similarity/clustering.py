"""Clusters of sentence vectors: spherical k-means (Dhillon and Modha 2001), the same for the same vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

_STARTS, _ROUNDS, _SEED = 4, 40, 0


@dataclass(frozen=True)
class Clusters:
    """A division of vectors.

    Attributes:
        members: cluster of each vector, shape (vectors,).
        centres: mean directions of length 1, shape (clusters, dimension).
        similarity: cosine of each vector to its centre, shape (vectors,).
        separation: mean simplified silhouette, from -1 to 1; higher is better.
    """

    members: NDArray[np.intp]
    centres: Array
    similarity: Array
    separation: float


def cluster(vectors: Array, counts: Sequence[int]) -> Clusters:
    """Divide unit vectors into one of these numbers of clusters: the one with the best separation.

    The mean of all vectors is removed first, because texts of one kind have it in common.
    """
    spread = _unit(vectors - vectors.mean(axis=0))
    return max((_best(spread, count) for count in counts), key=lambda found: found.separation)


def _best(vectors: Array, count: int) -> Clusters:
    """The tightest of several starts."""
    generator = np.random.default_rng(_SEED)
    found = [_divided(vectors, _first_centres(vectors, count, generator)) for _ in range(_STARTS)]
    return max(found, key=lambda one: float(one.similarity.sum()))


def _first_centres(vectors: Array, count: int, generator: np.random.Generator) -> Array:
    """k-means++ (Arthur and Vassilvitskii 2007): a vector far from the centres so far is more probable."""
    chosen = [int(generator.integers(len(vectors)))]
    nearest = vectors @ vectors[chosen[0]]
    while len(chosen) < count:
        far = np.clip(1 - nearest, 0, None).astype(np.float64)
        total = far.sum()
        share = far / total if total > 0 else np.full(len(far), 1 / len(far))
        chosen.append(int(generator.choice(len(vectors), p=share)))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return vectors[chosen]


def _divided(vectors: Array, centres: Array) -> Clusters:
    members = np.full(len(vectors), -1)
    for _ in range(_ROUNDS):
        closest = (vectors @ centres.T).argmax(axis=1)
        if (closest == members).all():
            break
        members = closest
        sums = np.zeros_like(centres)
        np.add.at(sums, members, vectors)
        empty = np.bincount(members, minlength=len(centres)) == 0
        centres = np.where(empty[:, None], centres, _unit(sums))
    cosines = vectors @ centres.T
    own = cosines[np.arange(len(vectors)), members]
    return Clusters(members, centres, own, _separation(cosines, members))


def _separation(cosines: Array, members: NDArray[np.intp]) -> float:
    """Mean of (b - a) / max(a, b) for the distances a to the own centre and b to the nearest other one."""
    if cosines.shape[1] < 2:
        return 0.0
    own = 1 - cosines[np.arange(len(members)), members]
    others = cosines.copy()
    others[np.arange(len(members)), members] = -np.inf
    other = 1 - others.max(axis=1)
    return float(((other - own) / np.maximum(np.maximum(own, other), 1e-6)).mean())


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9), np.float32)
