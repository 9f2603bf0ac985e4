"""Earlier trainings together: the weighted mean of their probabilities. What errs on different texts errs less so.

The weights are those under which validation texts are likeliest, found by expectation and maximisation, as for any
mixture (Dempster, Laird and Rubin 1977).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.baselines import manifest
from eval.baselines.data import Probabilities, TrainingData, likelihoods
from eval.baselines.trained import Trained
from eval.metrics.classification import Labels
from prompts.errors import InvalidSetting

_ROUNDS = 500
_LEAST = 0.01  # a part that weighs less is left out
_WEIGHTS = "weights.json"

Read = Callable[[Path], Trained]


@dataclass(frozen=True)
class BlendSettings:
    """Settings of an ensemble.

    Attributes:
        parts: folders of earlier trainings, two at least, for the same taxonomy and by the same splits.
    """

    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Blend:
    """Several trained baselines; ``weights`` sum to 1."""

    parts: tuple[Trained, ...]
    weights: tuple[float, ...]

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """See ``Scorer.probabilities``."""
        return _mean([part.scorer.probabilities(texts) for part in self.parts], self.weights)

    def save(self, folder: Path) -> None:
        """See ``Scorer.save``: with all parts, so that the folder can be moved."""
        for number, part in enumerate(self.parts):
            inner = folder / str(number)
            inner.mkdir(exist_ok=True)
            part.scorer.save(inner)
            manifest.write(inner, dict(part.manifest))
        (folder / _WEIGHTS).write_text(json.dumps(self.weights) + "\n", encoding="utf-8")

    def notes(self) -> dict[str, object]:
        """See ``Scorer.notes``."""
        pairs = zip(self.parts, self.weights, strict=True)
        return {"parts": [{"kind": part.kind, "weight": weight, **part.scorer.notes()} for part, weight in pairs]}


def fit(material: TrainingData, settings: BlendSettings, read: Read) -> Blend:
    """Read the parts and weigh them.

    Args:
        material: what to weigh by.
        settings: which parts.
        read: a trained baseline from its folder.

    Raises:
        InvalidSetting: there is no second part, or one was trained for another taxonomy or chosen by other texts.
    """
    if len(settings.parts) < 2:
        raise InvalidSetting("a blend needs two parts or more; give the folder of a training with each --part")
    parts = tuple(_part(read(Path(path)), path, material) for path in settings.parts)
    judged = material.validation.judged()
    told = [part.scorer.probabilities(judged.texts) for part in material.track(parts, "parts")]
    weights = mixture(told, judged.truth, material.taxonomy.multi)
    used = np.flatnonzero(weights >= _LEAST)
    shares = weights[used] / weights[used].sum()
    return Blend(tuple(parts[place] for place in used), tuple(round(float(one), 4) for one in shares))


def mixture(told: Sequence[Probabilities], truth: Labels, multi: bool) -> NDArray[np.float64]:
    """How much each part weighs, all together 1.

    Args:
        told: each part's probabilities, shape (texts, labels).
        truth: true labels, same shape.
        multi: whether each label is for itself; else a text has one.
    """
    likely = np.array([likelihoods(one, truth, multi) for one in told])
    weights = np.full(len(told), 1 / len(told))
    for _ in range(_ROUNDS):
        shares = weights[:, None] * likely
        weights = (shares / shares.sum(axis=0)).mean(axis=1)
    return weights


def restore(folder: Path, labels: int, multi: bool, read: Read) -> Blend:
    """What ``Blend.save`` wrote."""
    weights = tuple(json.loads((folder / _WEIGHTS).read_text(encoding="utf-8")))
    return Blend(tuple(read(folder / str(number)) for number in range(len(weights))), weights)


def _part(part: Trained, path: str, material: TrainingData) -> Trained:
    if part.taxonomy.labels != material.taxonomy.labels or part.taxonomy.multi != material.taxonomy.multi:
        raise InvalidSetting(f"{path} was trained for another taxonomy than {material.taxonomy.name}")
    digest = part.manifest["data"]["validation"]["digest"]
    if digest != material.validation.digest:
        raise InvalidSetting(
            f"{path} was chosen by other validation texts (digest {digest}, here {material.validation.digest}) and may "
            "have learnt from these; train it with the same data and splits"
        )
    return part


def _mean(told: Sequence[Probabilities], weights: Sequence[float]) -> Probabilities:
    return np.asarray(np.average(told, axis=0, weights=weights), np.float32)
