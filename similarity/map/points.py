"""Two-dimensional projection of films (PCA or UMAP)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from similarity.errors import InvalidIndex
from similarity.film import Film
from similarity.index.reloading import LoadedIndex

Plane = NDArray[np.float64]
Vectors = NDArray[np.float32]

METHODS = ("auto", "pca", "umap")
COLOURS = 8  # genres with a colour of their own
_SLICE = 65_536


@dataclass(frozen=True)
class Points:
    """Films in the plane.

    Attributes:
        places: shape (films, 2), each axis from 0 to 1.
        films: one a point.
        genres: all of them: first those with a colour, then the others, commonest first in either.
        coloured: how many of them have a colour.
        method: how the places were found.
        of: how many films the catalogue has; more than the points where it was thinned out.
    """

    places: Plane
    films: Sequence[Film]
    genres: Sequence[str]
    coloured: int
    method: str
    of: int

    def colour(self, film: Film) -> int | None:
        """Number of a film's colour: that of its rarest genre which has one, since most films are dramas too."""
        own = [place for place, genre in enumerate(self.genres[: self.coloured]) if genre in film.genres]
        return max(own, default=None)


def points(index: LoadedIndex, most: int, method: str = "auto") -> Points:
    """The films of an index, or so many of them from everywhere.

    Args:
        index: the films.
        most: the most points.
        method: a name in ``METHODS``; auto takes UMAP (McInnes et al. 2018, arXiv 1802.03426) where it is installed.

    Raises:
        InvalidIndex: UMAP is requested but not installed, or there are fewer than three films.
    """
    count = len(index.vectors)
    if count < 3:
        raise InvalidIndex("a map needs three films at least")
    rows = np.arange(count)
    if count > most:
        rows = np.sort(np.random.default_rng(0).choice(count, most, replace=False))
    vectors = np.asarray(index.vectors.vectors[rows], np.float32)
    name = _method(method)
    places = _umap(vectors) if name == "umap" else principal(vectors)
    films = [entry.film for entry in index.films.entries(rows.tolist())]
    square = _in_unit_square(places)
    counted = Counter(genre for film in films for genre in film.genres)
    apart = sorted(counted, key=lambda genre: -_apart(square, films, genre))[:COLOURS]
    genres = sorted(counted, key=lambda genre: (genre not in apart, -counted[genre], genre))
    return Points(square, films, genres, len(apart), name, count)


def _apart(places: Plane, films: Sequence[Film], genre: str) -> float:
    """Separation of a genre: squared distance of its centre from the overall centre, times its size."""
    own = np.array([genre in film.genres for film in films])
    return float(own.sum() * np.square(places[own].mean(axis=0) - places.mean(axis=0)).sum())


def principal(vectors: Vectors) -> Plane:
    """The two directions in which vectors differ most (PCA), shape (vectors, 2); signs are fixed."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    spread = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), _SLICE):
        some = vectors[start : start + _SLICE] - mean
        spread += some.T @ some
    axes = np.linalg.eigh(spread)[1][:, :-3:-1]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    return np.asarray((vectors - mean) @ axes, np.float64)


def _method(name: str) -> str:
    if name not in METHODS:
        raise InvalidIndex(f"there is no method {name!r}; methods: {', '.join(METHODS)}")
    if name == "pca":
        return name
    try:
        import umap  # noqa: F401
    except ImportError:
        if name == "umap":
            raise InvalidIndex("UMAP is not installed; pip install umap-learn, or take --method pca") from None
        return "pca"
    return "umap"


def _umap(vectors: Vectors) -> Plane:
    import umap

    return np.asarray(umap.UMAP(metric="cosine", random_state=0).fit_transform(vectors), np.float64)


def _in_unit_square(places: Plane) -> Plane:
    """Scale each axis to 0…1; outliers beyond the outer ten-thousandth are clipped."""
    low, high = np.quantile(places, (0.0001, 0.9999), axis=0)
    span = np.where(high > low, high - low, 1)
    return np.asarray(np.clip((places - low) / span, 0, 1))
