"""Ensembles: weighted means of the probabilities of trained models.

- ``blend``: any trained baselines. Its weights maximise the likelihood of the validation texts, by expectation
  maximisation (Dempster, Laird and Rubin 1977).
- ``hybrid``: ``minilm-mlp`` and ``tfidf-lr``, trained together and weighted by the validation score.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.baselines import mlp, tfidf
from eval.baselines.trained import Probabilities, Scorer, Trained, TrainingData, likelihoods, write_manifest
from eval.metrics import Labels
from prompts.errors import InvalidSetting

_ITERATIONS = 500
_LEAST_WEIGHT = 0.01  # parts with a smaller weight are dropped
_WEIGHTS, _SHARE = "weights.json", "share.json"
_MLP, _LINEAR = "minilm-mlp", "tfidf-lr"
_SHARE_OF_MLP = f"share of {_MLP}"
_SHARES = tuple(round(step * 0.05, 2) for step in range(21))

Load = Callable[[Path], Trained]


@dataclass(frozen=True)
class EnsembleSettings:
    """Settings of a blend: folders of at least two trained baselines with the same taxonomy and splits."""

    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ensemble(Scorer):
    """Several trained baselines; ``weights`` sum to 1."""

    parts: tuple[Trained, ...]
    weights: tuple[float, ...]

    @classmethod
    def restore(cls, folder: Path, labels: int, multi: bool, load: Load) -> Ensemble:
        weights = tuple(json.loads((folder / _WEIGHTS).read_text(encoding="utf-8")))
        return cls(tuple(load(folder / str(number)) for number in range(len(weights))), weights)

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        scores = [part.scorer.probabilities(texts) for part in self.parts]
        return np.asarray(np.average(scores, axis=0, weights=self.weights), np.float32)

    def save(self, folder: Path) -> None:
        """Write copies of all parts and the weights."""
        for number, part in enumerate(self.parts):
            inner = folder / str(number)
            inner.mkdir(exist_ok=True)
            part.scorer.save(inner)
            write_manifest(inner, part.manifest)
        (folder / _WEIGHTS).write_text(json.dumps(self.weights) + "\n", encoding="utf-8")

    def train_info(self) -> dict[str, object]:
        pairs = zip(self.parts, self.weights, strict=True)
        return {"parts": [{"kind": part.kind, "weight": weight, **part.scorer.train_info()} for part, weight in pairs]}


def fit_ensemble(data: TrainingData, settings: EnsembleSettings, load: Load) -> Ensemble:
    """Load the parts and fit their weights on the validation texts; ``load`` reads a part from its folder.

    Raises:
        InvalidSetting: fewer than two parts, or a part with another taxonomy or other validation texts.
    """
    if len(settings.parts) < 2:
        raise InvalidSetting("a blend needs two parts or more; give the folder of a training with each --part")
    parts = tuple(_checked(load(Path(path)), path, data) for path in settings.parts)
    validation = data.validation.complete_rows()
    scores = [part.scorer.probabilities(validation.texts) for part in data.track(parts, "parts")]
    weights = mixture_weights(scores, validation.truth, data.taxonomy.multi)
    used = np.flatnonzero(weights >= _LEAST_WEIGHT)
    shares = weights[used] / weights[used].sum()
    return Ensemble(tuple(parts[place] for place in used), tuple(round(float(share), 4) for share in shares))


def mixture_weights(scores: Sequence[Probabilities], truth: Labels, multi: bool) -> NDArray[np.float64]:
    """Weight of each part, from its probabilities and the truth, all of shape (texts, labels); weights sum to 1."""
    likelihood = np.array([likelihoods(one, truth, multi) for one in scores])
    weights = np.full(len(scores), 1 / len(scores))
    for _ in range(_ITERATIONS):
        shares = weights[:, None] * likelihood
        weights = (shares / shares.sum(axis=0)).mean(axis=1)
    return weights


def _checked(part: Trained, path: str, data: TrainingData) -> Trained:
    if part.taxonomy.labels != data.taxonomy.labels or part.taxonomy.multi != data.taxonomy.multi:
        raise InvalidSetting(f"{path} was trained for another taxonomy than {data.taxonomy.name}")
    digest = part.manifest["data"]["validation"]["digest"]
    if digest != data.validation.digest:
        raise InvalidSetting(
            f"{path} was tuned on other validation texts (digest {digest}, here {data.validation.digest}) and may have "
            "been trained on these; train it with the same data and splits"
        )
    return part


@dataclass(frozen=True)
class HybridSettings(mlp.MLPSettings, tfidf.LinearSettings):
    """Settings of both parts."""


@dataclass(frozen=True)
class Hybrid(Scorer):
    """An MLP over MiniLM vectors with the weight ``share``, and a linear TF-IDF model with the rest."""

    neural: mlp.MLP
    linear: tfidf.Linear
    share: float

    @classmethod
    def restore(cls, folder: Path, labels: int, multi: bool) -> Hybrid:
        share = json.loads((folder / _SHARE).read_text(encoding="utf-8"))[_MLP]
        neural = mlp.MLP.restore(folder / _MLP, labels, multi)
        return cls(neural, tfidf.Linear.restore(folder / _LINEAR, labels, multi), share)

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        return _mixed(self.neural.probabilities(texts), self.linear.probabilities(texts), self.share)

    def save(self, folder: Path) -> None:
        for name, part in ((_MLP, self.neural), (_LINEAR, self.linear)):
            (folder / name).mkdir(exist_ok=True)
            part.save(folder / name)
        (folder / _SHARE).write_text(json.dumps({_MLP: self.share}) + "\n", encoding="utf-8")

    def train_info(self) -> dict[str, object]:
        return {_SHARE_OF_MLP: self.share, _MLP: self.neural.train_info(), _LINEAR: self.linear.train_info()}


def fit_hybrid(data: TrainingData, settings: HybridSettings) -> Hybrid:
    """Train both parts, then choose the share with the best validation score."""
    linear = tfidf.fit_linear(data, settings, tfidf.LINEAR[_LINEAR])
    neural = mlp.fit(data, settings)
    validation, taxonomy = data.validation.complete_rows(), data.taxonomy
    scores = neural.probabilities(validation.texts), linear.probabilities(validation.texts)

    def score(share: float) -> float:
        return mlp.validation_score(_mixed(*scores, share), validation.truth, taxonomy.max_labels, taxonomy.multi)

    return Hybrid(neural, linear, max(_SHARES, key=score))


def refit_hybrid(data: TrainingData, settings: HybridSettings, train_info: Mapping[str, Any]) -> Hybrid:
    """Train both parts again with the choices of an earlier training."""
    linear = tfidf.refit_linear(data, settings, train_info[_LINEAR], tfidf.LINEAR[_LINEAR])
    return Hybrid(mlp.refit(data, settings, train_info[_MLP]), linear, train_info[_SHARE_OF_MLP])


def _mixed(neural: Probabilities, linear: Probabilities, share: float) -> Probabilities:
    return np.asarray(share * neural + (1 - share) * linear, dtype=np.float32)
