"""Quality of similarity search: genre overlap of neighbours, and retrieval of a film by a changed plot.

Published projects report share@10 and IoU@10. Both depend on the catalogue (a third of all films are dramas), so each
is given with its expected value for random neighbours.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.baselines.embeddings import Space
from eval.metrics import Numbers, divide, indicator
from similarity.index.catalog import Film, folded, text_digest
from similarity.index.faiss_index import VectorIndex, recall_of_own

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

K = 10
_SAME = 0.999  # texts with this cosine or more are duplicates
_SPARE = 20  # neighbours beyond K, in case there are duplicates
_BATCH = 64
_DROPPED = 0.3  # share of the words to drop from a plot
_DISCOUNTS = 1 / np.log2(np.arange(2, K + 2))
_CHANGED = ("words dropped", "reworded")


@dataclass(frozen=True)
class Genres:
    """Genre sets of a catalogue, each distinct set once.

    ``sets`` has shape (distinct sets, genres), ``of`` the number of the set of each film, ``counts`` the films of each.
    """

    sets: NDArray[np.bool_]
    of: Rows
    counts: Rows

    @classmethod
    def read(cls, films: Sequence[Film]) -> Genres:
        """The genre sets of films, case-insensitive."""
        named = [tuple(sorted({genre.casefold() for genre in film.genres})) for film in films]
        distinct = sorted(set(named))
        names = sorted({name for one in distinct for name in one})
        place = {one: number for number, one in enumerate(distinct)}
        of = np.array([place[one] for one in named], np.int64)
        return cls(indicator(distinct, names), of, np.bincount(of, minlength=len(distinct)))

    def overlap(self, sets: Rows) -> Numbers:
        """Intersection over union of these sets with all sets, shape (sets given, distinct sets)."""
        chosen = self.sets[sets].astype(float)
        common = chosen @ self.sets.T.astype(float)
        union = chosen.sum(axis=1)[:, None] + self.sets.sum(axis=1)[None] - common
        return divide(common, union)


@dataclass(frozen=True)
class NeighbourRows:
    """The rows of the K nearest other films of each query film, shape (queries, K); missing ones are -1."""

    queries: Rows
    rows: Rows

    def overlaps(self, genres: Genres) -> Numbers:
        """IoU of each query's genres with those of its neighbours, shape (queries, K); 0 for missing neighbours."""
        own, inverse = np.unique(genres.of[self.queries], return_inverse=True)
        table = genres.overlap(own)
        return np.asarray(table[inverse[:, None], genres.of[self.rows]] * (self.rows >= 0))


def nearest(space: Space, films: Sequence[Film], queries: Rows) -> NeighbourRows:
    """The K nearest neighbours of films; the film itself and its duplicates (text, title and year) are excluded."""
    texts = np.unique([text_digest(film.words) for film in films], return_inverse=True)[1]
    titles = np.unique([_title_key(film, row) for row, film in enumerate(films)], return_inverse=True)[1]
    found = []
    for start in range(0, len(queries), _BATCH):
        batch = queries[start : start + _BATCH]
        scores = np.asarray(space.scores([films[row].words for row in batch]))
        best = _best(scores, min(K + _SPARE, len(films)))
        for query, row_scores, rows in zip(batch, scores, best, strict=True):
            others = (texts[rows] != texts[query]) & (titles[rows] != titles[query]) & (row_scores[rows] < _SAME)
            chosen = rows[others][:K]
            found.append(np.pad(chosen, (0, K - len(chosen)), constant_values=-1))
    return NeighbourRows(queries, np.array(found, np.int64).reshape(-1, K))


def genre_agreement(neighbours: NeighbourRows, films: Sequence[Film]) -> dict[str, Any]:
    """share@10, IoU@10 and nDCG@10 with standard deviation over queries, chance and lift, and catalogue coverage.

    Chance is the mean over all other films; lift is (value - chance) / (1 - chance). Films without genres are neither
    queries nor neighbours. The gain of nDCG is the IoU; the ideal are the ten best films of the catalogue.
    """
    genres = Genres.read(films)
    usable = genres.sets[genres.of[neighbours.queries]].any(axis=1)
    neighbours = NeighbourRows(neighbours.queries[usable], neighbours.rows[usable])
    gains = neighbours.overlaps(genres)
    own, inverse = np.unique(genres.of[neighbours.queries], return_inverse=True)
    pairs = zip(genres.overlap(own), own, strict=True)
    expected = np.array([_expected(overlap, genres.counts, one) for overlap, one in pairs]).reshape(-1, 3)[inverse]
    ndcg = divide(gains @ _DISCOUNTS, expected[:, 2])
    return {
        "queries": len(neighbours.queries),
        "share@10": _with_chance((gains > 0).mean(axis=1), expected[:, 0]),
        "IoU@10": _with_chance(gains.mean(axis=1), expected[:, 1]),
        "nDCG@10": {"mean": float(ndcg.mean()), "sd": float(ndcg.std())},
        "coverage": len(np.unique(neighbours.rows[neighbours.rows >= 0])) / len(films),
    }


def ranks(space: Space, rows: Rows, texts: Sequence[str]) -> Rows:
    """Rank, from 1, of films among all films of the catalogue when another wording is the query; shape (texts,)."""
    found = []
    for start in range(0, len(rows), _BATCH):
        batch = slice(start, start + _BATCH)
        scores = np.asarray(space.scores(texts[batch]))
        own = np.take_along_axis(scores, rows[batch][:, None], 1)
        found += (1 + (scores > own).sum(axis=1)).tolist()
    return np.array(found, np.int64)


def retrieval_metrics(space: Space, rows: Rows, texts: Sequence[str]) -> dict[str, float]:
    """R@1, R@10 and mean reciprocal rank; see ``ranks``."""
    found = ranks(space, rows, texts)
    return {
        "texts": len(found),
        "R@1": float((found == 1).mean()),
        "R@10": float((found <= K).mean()),
        "MRR": float((1 / found).mean()),
    }


def index_recall(index: VectorIndex, queries: int) -> float:
    """Share of the ten exact nearest neighbours that an index finds, over this number of its own vectors."""
    rows = np.sort(np.random.default_rng(1).choice(len(index), min(queries, len(index)), replace=False))
    return recall_of_own(index, rows, K)


def drop_words(text: str, seed: str) -> str:
    """The text without about a third of its words, the same ones for a seed; at least one word stays."""
    rng = random.Random(seed)
    words = text.split()
    return " ".join(word for word in words if rng.random() >= _DROPPED) or " ".join(words[:1])


def sample_queries(films: Sequence[Film], count: int, seed: int = 0) -> Rows:
    """Rows of at most this number of films; the same ones for a seed."""
    if len(films) <= count:
        return np.arange(len(films))
    return np.sort(np.random.default_rng(seed).choice(np.arange(len(films)), count, replace=False))


def table_row(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The metrics of one system as cells of a table."""
    share, overlap = metrics["share@10"], metrics["IoU@10"]
    cells = {
        "share@10": f"{share['mean']:.3f} ± {share['sd']:.3f}",
        "chance": f"{share['chance']:.3f}",
        "lift": f"{share['lift']:.3f}",
        "IoU@10": f"{overlap['mean']:.3f} ± {overlap['sd']:.3f}",
        "chance ": f"{overlap['chance']:.3f}",
        "lift ": f"{overlap['lift']:.3f}",
        "nDCG@10": f"{metrics['nDCG@10']['mean']:.3f}",
        "coverage": f"{metrics['coverage']:.3f}",
    }
    return cells | {f"{name} R@1": f"{metrics[name]['R@1']:.3f}" for name in _CHANGED if name in metrics}


def _title_key(film: Film, row: int) -> str:
    """Title and year; a unique key for a film without one of them."""
    return f"{folded(film.title)}\n{film.year}" if film.title and film.year is not None else f"\n\n{row}"


def _best(scores: Vectors, count: int) -> Rows:
    """Columns of the highest scores, best first."""
    columns = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(scores, columns, 1), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(columns, order, 1), np.int64)


def _expected(overlap: Numbers, counts: Rows, own: int) -> tuple[float, float, float]:
    """Share and IoU of one random other film, and the DCG of the K best others, for a film of the set ``own``."""
    others = counts.copy()
    others[own] -= 1
    order = np.argsort(-overlap, kind="stable")
    best = np.repeat(overlap[order], np.minimum(others[order], K))[:K]
    share, mean = (float(others @ one) / others.sum() for one in (overlap > 0, overlap))
    return share, mean, float(best @ _DISCOUNTS[: len(best)])


def _with_chance(values: Numbers, chance: Numbers) -> dict[str, float]:
    mean, expected = float(values.mean()), float(chance.mean())
    lift = (mean - expected) / (1 - expected) if expected < 1 else 0.0
    return {"mean": mean, "sd": float(values.std()), "chance": expected, "lift": lift}
