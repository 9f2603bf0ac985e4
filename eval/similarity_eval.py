"""How alike the films are that a search calls alike, told by their genres; and whether a reworded plot finds its film.

share@10 and IoU@10 are what published projects give; they depend on the catalogue (a third of all films are dramas), so
each stands beside its value for random neighbours, which is computed, not drawn.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eval.metrics.classification import divide, named_indicator
from similarity.film import Film, digest_of, folded
from similarity.index.faiss_index import VectorIndex, recall_of_own

Numbers = NDArray[np.float64]
Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

K = 10
SAME = 0.999  # a cosine from which two texts are one
_SPARE = 20  # neighbours beyond K, in case duplicates are among them
_QUERIES_AT_ONCE = 64
_DROPPED = 0.3  # share of the words that a plot loses when it is to be found again


class Space(Protocol):
    """Texts in a space in which alike ones lie near each other."""

    def scores(self, texts: Sequence[str]) -> Vectors:
        """Cosines of texts with all films of the catalogue, shape (texts, films)."""


@dataclass(frozen=True)
class Genres:
    """Genre sets of a catalogue: each different set once.

    Attributes:
        sets: 0/1 of shape (different sets, genres).
        of: the set of each film.
        counts: how many films have each set.
    """

    sets: NDArray[np.bool_]
    of: Rows
    counts: Rows

    @classmethod
    def read(cls, films: Sequence[Film]) -> Genres:
        """The genre sets of films; case does not count."""
        named = [tuple(sorted({genre.casefold() for genre in film.genres})) for film in films]
        different = sorted(set(named))
        names = sorted({name for one in different for name in one})
        place = {one: number for number, one in enumerate(different)}
        of = np.array([place[one] for one in named], np.int64)
        return cls(named_indicator(different, names), of, np.bincount(of, minlength=len(different)))

    def overlap(self, sets: Rows) -> Numbers:
        """Intersection over union of these sets with all different sets, shape (given, different sets)."""
        given = self.sets[sets].astype(float)
        common = given @ self.sets.T.astype(float)
        union = given.sum(axis=1)[:, None] + self.sets.sum(axis=1)[None] - common
        return divide(common, union)


@dataclass(frozen=True)
class NeighbourRows:
    """Of each query film, the rows of its K nearest others; fewer have -1 at the end."""

    queries: Rows
    rows: Rows


def nearest(space: Space, films: Sequence[Film], queries: Rows) -> NeighbourRows:
    """The K nearest of each film; itself, texts and titles that are its own, and cosines of .999 left out."""
    texts = np.unique([digest_of(film.words) for film in films], return_inverse=True)[1]
    called = np.unique([_called(film, row) for row, film in enumerate(films)], return_inverse=True)[1]
    found = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        some = queries[start : start + _QUERIES_AT_ONCE]
        scores = np.asarray(space.scores([films[row].words for row in some]))
        best = _best(scores, min(K + _SPARE, len(films)))
        for query, row_scores, rows in zip(some, scores, best, strict=True):
            others = (texts[rows] != texts[query]) & (called[rows] != called[query]) & (row_scores[rows] < SAME)
            kept = rows[others][:K]
            found.append(np.pad(kept, (0, K - len(kept)), constant_values=-1))
    return NeighbourRows(queries, np.array(found, np.int64).reshape(-1, K))


def _called(film: Film, row: int) -> str:
    """Title and year; of a film without either, something that no other has."""
    return f"{folded(film.title)}\n{film.year}" if film.title and film.year is not None else f"\n\n{row}"


def _best(scores: Vectors, count: int) -> Rows:
    """Columns of the greatest, best first."""
    some = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(scores, some, 1), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(some, order, 1), np.int64)


def agreement(neighbours: NeighbourRows, films: Sequence[Film]) -> dict[str, Any]:
    """share@10, IoU@10 and nDCG@10 with standard deviation over queries, chance and lift, and the catalogue covered.

    Chance is the mean over all other films; lift is (m - c) / (1 - c). Films without genres are no queries and no
    neighbours. Gain of nDCG is the IoU, ideal are the ten best of the catalogue.
    """
    genres = Genres.read(films)
    kept = genres.sets[genres.of[neighbours.queries]].any(axis=1)
    queries, rows = neighbours.queries[kept], neighbours.rows[kept]
    per_set = {int(one): genres.overlap(np.array([one]))[0] for one in np.unique(genres.of[queries])}
    pairs = zip(queries, rows, strict=True)
    gains = np.array([per_set[int(genres.of[one])][genres.of[found]] * (found >= 0) for one, found in pairs])
    gains = gains.reshape(-1, K)
    own = genres.of[queries]
    chance_of = {one: _chance(overlap, genres.counts) for one, overlap in per_set.items()}
    ideal_of = {one: _ideal(overlap, genres.counts, one) for one, overlap in per_set.items()}
    shares = (gains > 0).mean(axis=1)
    discounts = 1 / np.log2(np.arange(2, K + 2))
    ndcg = divide(gains @ discounts, np.array([ideal_of[int(one)] @ discounts for one in own]))
    return {
        "queries": len(queries),
        "share@10": _beside_chance(shares, np.array([chance_of[int(one)][0] for one in own])),
        "IoU@10": _beside_chance(gains.mean(axis=1), np.array([chance_of[int(one)][1] for one in own])),
        "nDCG@10": {"mean": float(ndcg.mean()), "sd": float(ndcg.std())},
        "coverage": len(np.unique(rows[rows >= 0])) / len(films),
    }


def _chance(overlap: Numbers, counts: Rows) -> tuple[float, float]:
    """Expected share and IoU of one random other film."""
    others = counts.sum() - 1
    return float(((overlap > 0) * counts).sum() - 1) / others, float((overlap * counts).sum() - 1) / others


def _ideal(overlap: Numbers, counts: Rows, own: int) -> Numbers:
    """The K best gains that the catalogue has for a film of this set, the film itself left out."""
    left = counts.copy()
    left[own] -= 1
    order = np.argsort(-overlap, kind="stable")
    best = np.repeat(overlap[order], np.minimum(left[order], K))[:K]
    return np.pad(best, (0, K - len(best)))


def _beside_chance(figures: Numbers, chance: Numbers) -> dict[str, float]:
    mean, by_chance = float(figures.mean()), float(chance.mean())
    return {
        "mean": mean,
        "sd": float(figures.std()),
        "chance": by_chance,
        "lift": (mean - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0,
    }


def ranks(space: Space, rows: Rows, texts: Sequence[str]) -> Rows:
    """The rank, from 1, of the film that each text is of, among all films of the catalogue; shape (texts,).

    Args:
        space: holds the catalogue.
        rows: of the films.
        texts: another wording of each.
    """
    found = []
    for start in range(0, len(rows), _QUERIES_AT_ONCE):
        some = slice(start, start + _QUERIES_AT_ONCE)
        scores = np.asarray(space.scores(texts[some]))
        own = np.take_along_axis(scores, rows[some][:, None], 1)
        found += (1 + (scores > own).sum(axis=1)).tolist()
    return np.array(found, np.int64)


def found_again(space: Space, rows: Rows, texts: Sequence[str]) -> dict[str, float]:
    """R@1, R@10 and mean reciprocal rank of the film that each text is of; see ``ranks``."""
    found = ranks(space, rows, texts)
    return {
        "texts": len(found),
        "R@1": float((found == 1).mean()),
        "R@10": float((found <= K).mean()),
        "MRR": float((1 / found).mean()),
    }


def overlaps(neighbours: NeighbourRows, films: Sequence[Film]) -> Numbers:
    """Of each query film, the mean IoU of its genres with its neighbours'; 0 where it has none. Shape (queries,)."""
    genres = Genres.read(films)
    own = genres.of[neighbours.queries]
    found = [
        genres.overlap(np.array([one]))[0][genres.of[rows]] * (rows >= 0)
        for one, rows in zip(own, neighbours.rows, strict=True)
    ]
    return np.asarray(np.array(found).reshape(-1, K).mean(axis=1))


def recall_of(index: VectorIndex, queries: int) -> float:
    """Share of the ten nearest other vectors, by exact search, that an index finds, over so many of its own vectors."""
    rows = np.sort(np.random.default_rng(1).choice(len(index), min(queries, len(index)), replace=False))
    return recall_of_own(index, rows, K)


def with_words_dropped(text: str, seed: str) -> str:
    """The text without about a third of its words, always the same ones for a seed; one word stays at least."""
    rng = random.Random(seed)
    words = text.split()
    return " ".join(word for word in words if rng.random() >= _DROPPED) or " ".join(words[:1])


def chosen(films: Sequence[Film], count: int, seed: int = 0) -> Rows:
    """So many query films, always the same ones."""
    rows = np.arange(len(films))
    if len(rows) <= count:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))


def as_row(found: Mapping[str, Any]) -> dict[str, str]:
    """The figures of one system in words, for a table."""
    share, overlap, ndcg = found["share@10"], found["IoU@10"], found["nDCG@10"]
    cells = {
        "share@10": f"{share['mean']:.3f} ± {share['sd']:.3f}",
        "chance": f"{share['chance']:.3f}",
        "lift": f"{share['lift']:.3f}",
        "IoU@10": f"{overlap['mean']:.3f} ± {overlap['sd']:.3f}",
        "chance ": f"{overlap['chance']:.3f}",
        "lift ": f"{overlap['lift']:.3f}",
        "nDCG@10": f"{ndcg['mean']:.3f}",
        "coverage": f"{found['coverage']:.3f}",
    }
    for name in ("words dropped", "reworded"):
        if name in found:
            cells[f"{name} R@1"] = f"{found[name]['R@1']:.3f}"
    return cells
