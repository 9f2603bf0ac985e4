"""TF-IDF with k-nearest neighbours: a text has the labels that the labelled texts most like it have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from eval.baselines.data import Probabilities, TrainingData
from eval.baselines.tfidf import TfIdfSettings, TfIdfVectors

_BATCH = 128
_PRIOR_WEIGHT = 0.1  # the frequencies of labels vote as one neighbour of this cosine, so that a stranger gets them


@dataclass(frozen=True)
class NeighbourSettings(TfIdfSettings):
    """Settings of nearest neighbours.

    Attributes:
        neighbours: how many labelled texts vote, each by its cosine.
    """

    ngrams: int = 1
    neighbours: int = 25


@dataclass(frozen=True)
class NearestNeighbours:
    """The labelled texts' vectors (no text is kept), their labels, and which of these are known."""

    words: TfIdfVectors
    vectors: Any
    truth: NDArray[np.bool_]
    known: NDArray[np.bool_]
    frequencies: NDArray[np.float32]
    k: int

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """See ``Scorer.probabilities``."""
        asked = self.words.vectors(texts)
        parts = [self._vote(asked[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
        return np.concatenate(parts).astype(np.float32)

    def save(self, folder: Path) -> None:
        """See ``Scorer.save``."""
        self.words.save(folder)
        scipy.sparse.save_npz(folder / "vectors.npz", self.vectors)
        np.savez_compressed(
            folder / "labels.npz", truth=self.truth, known=self.known, frequencies=self.frequencies, k=self.k
        )

    def notes(self) -> dict[str, object]:
        """See ``Scorer.notes``."""
        return {"terms": self.vectors.shape[1]}

    def _vote(self, asked: Any) -> NDArray[np.floating]:
        cosines = (asked @ self.vectors.T).toarray()
        nearest = np.argpartition(-cosines, self.k - 1, axis=1)[:, : self.k]
        votes = np.take_along_axis(cosines, nearest, axis=1)[:, :, None]
        given = (votes * self.truth[nearest]).sum(axis=1) + _PRIOR_WEIGHT * self.frequencies
        return np.asarray(given / ((votes * self.known[nearest]).sum(axis=1) + _PRIOR_WEIGHT))


def fit(material: TrainingData, settings: NeighbourSettings) -> NearestNeighbours:
    """Nothing but the vectors is learnt."""
    train = material.train
    words = TfIdfVectors.fit(train.texts, TfIdfSettings(settings.ngrams, settings.min_count))
    frequencies = train.frequencies / (1 if material.taxonomy.multi else train.frequencies.sum())
    k = min(settings.neighbours, len(train))
    vectors = words.vectors(train.texts)
    return NearestNeighbours(words, vectors, train.truth, train.known, frequencies.astype(np.float32), k)


def restore(folder: Path, labels: int, multi: bool) -> NearestNeighbours:
    """What ``NearestNeighbours.save`` wrote."""
    kept = np.load(folder / "labels.npz")
    vectors = scipy.sparse.load_npz(folder / "vectors.npz").tocsr()
    words = TfIdfVectors.restore(folder)
    return NearestNeighbours(words, vectors, kept["truth"], kept["known"], kept["frequencies"], int(kept["k"]))
