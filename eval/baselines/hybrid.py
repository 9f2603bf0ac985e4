"""Words and meaning together: the probabilities of ``minilm-mlp`` and ``tfidf-lr``, as validation texts weigh them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.baselines import linear, mlp
from eval.baselines.data import Probabilities, TrainingData

_SHARES = tuple(round(step * 0.05, 2) for step in range(21))
_MEANING, _WORDS = "minilm-mlp", "tfidf-lr"
_SHARE = f"share of {_MEANING}"


@dataclass(frozen=True)
class HybridSettings(mlp.PerceptronSettings, linear.LinearSettings):
    """What may be set of either."""


@dataclass(frozen=True)
class Hybrid:
    """``share`` of the probability comes from MiniLM, the rest from TF-IDF."""

    meaning: mlp.Perceptron
    words: linear.Linear
    share: float

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """See ``Scorer.probabilities``."""
        return mixed(self.meaning.probabilities(texts), self.words.probabilities(texts), self.share)

    def save(self, folder: Path) -> None:
        """See ``Scorer.save``."""
        for name, part in ((_MEANING, self.meaning), (_WORDS, self.words)):
            (folder / name).mkdir(exist_ok=True)
            part.save(folder / name)
        (folder / "share.json").write_text(json.dumps({_MEANING: self.share}) + "\n", encoding="utf-8")

    def notes(self) -> dict[str, object]:
        """See ``Scorer.notes``."""
        return {_SHARE: self.share, _MEANING: self.meaning.notes(), _WORDS: self.words.notes()}


def fit(material: TrainingData, settings: HybridSettings) -> Hybrid:
    """Both parts, then the share with the best validation score."""
    words = linear.fit(material, settings, linear.LINES[_WORDS])
    meaning = mlp.fit(material, settings)
    judged, taxonomy = material.validation.judged(), material.taxonomy
    both = meaning.probabilities(judged.texts), words.probabilities(judged.texts)

    def score(share: float) -> float:
        return mlp.validation_score(mixed(*both, share), judged.truth, taxonomy.max_labels, taxonomy.multi)

    return Hybrid(meaning, words, max(_SHARES, key=score))


def again(material: TrainingData, settings: HybridSettings, notes: Mapping[str, Any]) -> Hybrid:
    """Both parts as an earlier training chose them, mixed as they were there."""
    words = linear.again(material, settings, notes[_WORDS], linear.LINES[_WORDS])
    return Hybrid(mlp.again(material, settings, notes[_MEANING]), words, notes[_SHARE])


def restore(folder: Path, labels: int, multi: bool) -> Hybrid:
    """What ``Hybrid.save`` wrote."""
    share = json.loads((folder / "share.json").read_text(encoding="utf-8"))[_MEANING]
    meaning = mlp.restore(folder / _MEANING, labels, multi)
    return Hybrid(meaning, linear.restore(folder / _WORDS, labels, multi), share)


def mixed(meaning: Probabilities, words: Probabilities, share: float) -> Probabilities:
    """The weighted mean of two sets of probabilities."""
    return np.asarray(share * meaning + (1 - share) * words, dtype=np.float32)
