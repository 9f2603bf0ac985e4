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

from eval.baselines.thresholds import Decoding
from eval.baselines.trained import Probabilities, Scorer, TrainingData, read_manifest
from llm.embedded.matcher import SHIPPED, Matcher, matcher
from prompts.files import digest_of
from prompts.taxonomy import Taxonomy

_ARRAYS = "weights.npz"
_DIGEST = "weights.json"


@dataclass(frozen=True)
class NoSettings:
    """A baseline without settings."""


@dataclass(frozen=True)
class Prior(Scorer):
    """Predicts each label with its frequency in the training data, for every text."""

    frequencies: NDArray[np.float32]

    @classmethod
    def fit(cls, data: TrainingData, settings: NoSettings) -> Prior:
        return cls(_frequencies(data))

    @classmethod
    def restore(cls, folder: Path, labels: int, multi: bool) -> Prior:
        return cls(np.load(folder / _ARRAYS)["frequencies"])

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        return np.tile(self.frequencies, (len(texts), 1))

    def save(self, folder: Path) -> None:
        np.savez(folder / _ARRAYS, **vars(self))


@dataclass(frozen=True)
class RandomLabels(Prior):
    """Draws each label as often as the training data has it; a draw depends on the seed and the text only.

    Scores are uniform draws from 0 to 1 and say nothing about the text.
    """

    seed: int

    @classmethod
    def fit(cls, data: TrainingData, settings: NoSettings) -> RandomLabels:
        return cls(_frequencies(data), data.seed)

    @classmethod
    def restore(cls, folder: Path, labels: int, multi: bool) -> RandomLabels:
        arrays = np.load(folder / _ARRAYS)
        return cls(arrays["frequencies"], int(arrays["seed"]))

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        return np.stack([self._draw(text) for text in texts])

    def decoding(self) -> Decoding:
        """Thresholds that a draw exceeds as often as the label occurs."""
        return Decoding("per-label", tuple(float(1 - share) for share in self.frequencies))

    def _draw(self, text: str) -> Probabilities:
        digest = hashlib.sha256(f"{self.seed}\n{text}".encode()).digest()
        return np.random.default_rng(list(digest)).random(len(self.frequencies), dtype=np.float32)


def _frequencies(data: TrainingData) -> NDArray[np.float32]:
    found = data.train.frequencies
    return np.asarray(found if data.taxonomy.multi else found / found.sum(), dtype=np.float32)


@dataclass(frozen=True)
class EmbeddedScores(Scorer):
    """The shipped embedded classifier for one taxonomy; only its thresholds are tuned."""

    taxonomy: Taxonomy

    @classmethod
    def fit(cls, data: TrainingData, settings: NoSettings) -> EmbeddedScores:
        return cls(data.taxonomy)

    @classmethod
    def restore(cls, folder: Path, labels: int, multi: bool) -> EmbeddedScores:
        if json.loads((folder / _DIGEST).read_text(encoding="utf-8"))["sha256"] != _digest():
            raise ValueError("its thresholds belong to other weights than the shipped ones")
        return cls(read_manifest(folder)[1])

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        answers = _shipped().classify(texts, self.taxonomy)
        return np.array([[one.scores[name] for name in self.taxonomy.names] for one in answers], dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write the digest of the shipped weights, which are not copied."""
        (folder / _DIGEST).write_text(json.dumps(self.train_info()) + "\n", encoding="utf-8")

    def train_info(self) -> dict[str, object]:
        return {"weights": SHIPPED.name, "sha256": _digest()}


@cache
def _shipped() -> Matcher:
    return matcher()


@cache
def _digest() -> str:
    return digest_of(SHIPPED)
