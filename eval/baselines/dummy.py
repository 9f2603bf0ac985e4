"""The floor under every result: the commonest labels for every text, and labels by lot."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.baselines.data import Probabilities, Split, TrainingData
from eval.baselines.thresholds import Decoding


@dataclass(frozen=True)
class NoSettings:
    """There is nothing to set."""


@dataclass(frozen=True)
class Prior:
    """Every text has each label with the label's frequency in the training data."""

    frequencies: NDArray[np.float32]

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """See ``Scorer.probabilities``."""
        return np.tile(self.frequencies, (len(texts), 1))

    def save(self, folder: Path) -> None:
        """See ``Scorer.save``."""
        np.savez(folder / "weights.npz", frequencies=self.frequencies)

    def notes(self) -> dict[str, object]:
        """See ``Scorer.notes``."""
        return {}


@dataclass(frozen=True)
class RandomLabels:
    """Draws each label as often as the training data has it; the draw hangs on seed and text alone.

    Scores are the draws, even between 0 and 1; they say nothing about the text.
    """

    frequencies: NDArray[np.float32]
    seed: int

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """See ``Scorer.probabilities``."""
        return np.stack([self._draw(text) for text in texts])

    def save(self, folder: Path) -> None:
        """See ``Scorer.save``."""
        np.savez(folder / "weights.npz", frequencies=self.frequencies, seed=self.seed)

    def notes(self) -> dict[str, object]:
        """See ``Scorer.notes``."""
        return {}

    def decoding(self) -> Decoding:
        """Thresholds at which a draw wins as often as its label is seen; nothing is tuned."""
        return Decoding("per-label", tuple(float(1 - share) for share in self.frequencies))

    def _draw(self, text: str) -> Probabilities:
        digest = hashlib.sha256(f"{self.seed}\n{text}".encode()).digest()
        return np.random.default_rng(list(digest)).random(len(self.frequencies), dtype=np.float32)


def fit_prior(material: TrainingData, settings: NoSettings) -> Prior:
    """Frequencies of the training labels."""
    return Prior(_frequencies(material.train, material.taxonomy.multi))


def fit_lot(material: TrainingData, settings: NoSettings) -> RandomLabels:
    """Frequencies of the training labels, and a seed."""
    return RandomLabels(_frequencies(material.train, material.taxonomy.multi), material.seed)


def restore_prior(folder: Path, labels: int, multi: bool) -> Prior:
    """What ``Prior.save`` wrote."""
    return Prior(np.load(folder / "weights.npz")["frequencies"])


def restore_lot(folder: Path, labels: int, multi: bool) -> RandomLabels:
    """What ``RandomLabels.save`` wrote."""
    kept = np.load(folder / "weights.npz")
    return RandomLabels(kept["frequencies"], int(kept["seed"]))


def _frequencies(split: Split, multi: bool) -> NDArray[np.float32]:
    found = split.frequencies
    return np.asarray(found if multi else found / found.sum(), dtype=np.float32)
