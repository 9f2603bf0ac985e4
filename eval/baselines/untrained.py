"""Baselines without training: label frequencies, random labels, and the shipped embedded classifier."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.baselines.data import Probabilities, TrainingData
from eval.baselines.thresholds import Decoding
from eval.baselines.trained import read_manifest
from llm.embedded.matcher import SHIPPED, Matcher, matcher
from prompts.files import digest_of
from prompts.taxonomy import Taxonomy

_ARRAYS = "weights.npz"
_DIGEST = "weights.json"


@dataclass(frozen=True)
class NoSettings:
    """A baseline without settings."""


@dataclass(frozen=True)
class Prior:
    """Predicts each label with its frequency in the training data, for every text."""

    frequencies: NDArray[np.float32]

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """See ``Scorer.probabilities``."""
        return np.tile(self.frequencies, (len(texts), 1))

    def save(self, folder: Path) -> None:
        """See ``Scorer.save``."""
        np.savez(folder / _ARRAYS, frequencies=self.frequencies)

    def train_info(self) -> dict[str, object]:
        """See ``Scorer.train_info``."""
        return {}


@dataclass(frozen=True)
class RandomLabels(Prior):
    """Draws each label as often as the training data has it; a draw depends on the seed and the text only.

    Scores are uniform draws from 0 to 1 and say nothing about the text.
    """

    seed: int

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """See ``Scorer.probabilities``."""
        return np.stack([self._draw(text) for text in texts])

    def save(self, folder: Path) -> None:
        """See ``Scorer.save``."""
        np.savez(folder / _ARRAYS, frequencies=self.frequencies, seed=self.seed)

    def decoding(self) -> Decoding:
        """Thresholds that a draw exceeds as often as the label occurs."""
        return Decoding("per-label", tuple(float(1 - share) for share in self.frequencies))

    def _draw(self, text: str) -> Probabilities:
        digest = hashlib.sha256(f"{self.seed}\n{text}".encode()).digest()
        return np.random.default_rng(list(digest)).random(len(self.frequencies), dtype=np.float32)


def fit_prior(data: TrainingData, settings: NoSettings) -> Prior:
    """Count the training labels."""
    return Prior(_frequencies(data))


def restore_prior(folder: Path, labels: int, multi: bool) -> Prior:
    """Read what ``Prior.save`` wrote."""
    return Prior(np.load(folder / _ARRAYS)["frequencies"])


def fit_random(data: TrainingData, settings: NoSettings) -> RandomLabels:
    """Count the training labels."""
    return RandomLabels(_frequencies(data), data.seed)


def restore_random(folder: Path, labels: int, multi: bool) -> RandomLabels:
    """Read what ``RandomLabels.save`` wrote."""
    arrays = np.load(folder / _ARRAYS)
    return RandomLabels(arrays["frequencies"], int(arrays["seed"]))


def _frequencies(data: TrainingData) -> NDArray[np.float32]:
    found = data.train.frequencies
    return np.asarray(found if data.taxonomy.multi else found / found.sum(), dtype=np.float32)


@dataclass(frozen=True)
class EmbeddedScores:
    """The shipped embedded classifier for one taxonomy; only its thresholds are tuned."""

    taxonomy: Taxonomy

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """See ``Scorer.probabilities``."""
        answers = _shipped().classify(texts, self.taxonomy)
        return np.array([[one.scores[name] for name in self.taxonomy.names] for one in answers], dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write the digest of the shipped weights, which are not copied."""
        (folder / _DIGEST).write_text(json.dumps(self.train_info()) + "\n", encoding="utf-8")

    def train_info(self) -> dict[str, object]:
        """See ``Scorer.train_info``."""
        return {"weights": SHIPPED.name, "sha256": _digest()}


def fit_embedded(data: TrainingData, settings: NoSettings) -> EmbeddedScores:
    """Nothing to train."""
    return EmbeddedScores(data.taxonomy)


def restore_embedded(folder: Path, labels: int, multi: bool) -> EmbeddedScores:
    """Read what ``EmbeddedScores.save`` wrote.

    Raises:
        ValueError: the thresholds were tuned for other weights than the shipped ones.
    """
    if json.loads((folder / _DIGEST).read_text(encoding="utf-8"))["sha256"] != _digest():
        raise ValueError("its thresholds belong to other weights than the shipped ones")
    return EmbeddedScores(read_manifest(folder)[1])


@cache
def _shipped() -> Matcher:
    return matcher()


@cache
def _digest() -> str:
    return digest_of(SHIPPED)
