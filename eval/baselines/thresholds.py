"""How probabilities become labels: thresholds learnt from validation texts, stored with the model.

Per-label thresholds are drawn towards the global one, the more so the fewer validation texts have the label: the best
cut of a label with ten examples is mostly luck.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eval.metrics import Labels

Rule = Literal["global", "per-label", "top-k", "best"]
Objective = Literal["micro", "macro"]

_SHRINKAGE = 20.0  # a label with so many validation texts has its threshold half-way between its own and the global one
_STEPS = 100
_ROUNDS = 3
_LEAST = 1e-6


@dataclass(frozen=True)
class Decoding:
    """From probabilities to labels.

    Attributes:
        rule: ``global`` and ``per-label`` compare with thresholds, ``top-k`` takes as many for every text, ``best``
            takes one.
        thresholds: one per label in vocabulary order; a label is given from its threshold on.
        k: how many labels ``top-k`` takes.
        objective: the F1 that was tuned for.
    """

    rule: Rule
    thresholds: tuple[float, ...] = ()
    k: int = 1
    objective: Objective | None = None

    def choose(self, scores: NDArray[np.floating], most: int, allow_none: bool = False) -> Labels:
        """Which labels are given.

        Args:
            scores: shape (texts, labels).
            most: at most so many labels a text; those of the highest scores stay.
            allow_none: whether a text may go without; else its best label is given where none passes.
        """
        order = (-scores).argsort(axis=1, kind="stable").argsort(axis=1)  # 0 for the best label of a text
        if self.rule in ("top-k", "best"):
            return np.asarray(order < min(self.k, most))
        passed = (scores >= np.asarray(self.thresholds, dtype=scores.dtype)) & (_place_among(scores, self) < most)
        return passed if allow_none else passed | ((order == 0) & ~passed.any(axis=1, keepdims=True))

    def as_json(self) -> dict[str, Any]:
        """The decoding as the manifest holds it."""
        return asdict(self)

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> Decoding:
        """The decoding that a manifest holds."""
        return cls(**{**kept, "thresholds": tuple(kept["thresholds"])})


def tune(
    scores: NDArray[np.floating], truth: Labels, rule: Rule, objective: Objective, most: int, allow_none: bool = False
) -> Decoding:
    """The decoding of a rule with the best F1 on labelled texts; give it validation texts, never test texts.

    Args:
        scores: probabilities, shape (texts, labels).
        truth: true labels, same shape.
        rule: what to tune; ``best`` has nothing to tune.
        objective: micro- or macro-F1.
        most: at most so many labels a text.
        allow_none: whether a text may go without a label.
    """
    if rule == "best":
        return Decoding("best")
    if rule == "top-k":
        tried = [Decoding("top-k", k=k, objective=objective) for k in range(1, min(most, truth.shape[1]) + 1)]
    else:
        cuts = np.unique(np.quantile(scores, np.linspace(0, 1, _STEPS)).round(6))
        tried = [Decoding("global", (float(cut),) * truth.shape[1], objective=objective) for cut in cuts]
    best = max(tried, key=lambda one: f1(one.choose(scores, most, allow_none), truth, objective))
    return _per_label(scores, truth, best, objective) if rule == "per-label" else best


def f1(predicted: Labels, truth: Labels, objective: Objective) -> float:
    """Micro- or macro-F1 as in ``eval.metrics``, a hundred times as fast: tuning asks for thousands."""
    hits, both = (predicted & truth).sum(axis=0), predicted.sum(axis=0) + truth.sum(axis=0)
    if objective == "micro":
        return float(2 * hits.sum() / max(1, both.sum()))
    return float((2 * hits / np.maximum(1, both)).mean())


def _per_label(scores: NDArray[np.floating], truth: Labels, start: Decoding, objective: Objective) -> Decoding:
    """Thresholds label by label: each F1 for itself, or all of them towards one micro-F1 in a few rounds."""
    curves = [_Curve.of(scores[:, label], truth[:, label]) for label in range(truth.shape[1])]
    places = [curve.place(cut) for curve, cut in zip(curves, start.thresholds, strict=True)]
    for _ in range(_ROUNDS if objective == "micro" else 1):
        for label, curve in enumerate(curves):
            others = [
                one.at(place) for other, (one, place) in enumerate(zip(curves, places, strict=True)) if other != label
            ]
            hits, given = np.sum(others, axis=0) if objective == "micro" and others else (0, 0)
            true = truth.sum() if objective == "micro" else truth[:, label].sum()
            places[label] = curve.best(hits, given, true)
    found = [curve.cut(place) for curve, place in zip(curves, places, strict=True)]
    support = truth.sum(axis=0)
    drawn = [_drawn(*one) for one in zip(found, start.thresholds, support, strict=True)]
    return Decoding("per-label", tuple(drawn), objective=objective)


@dataclass(frozen=True)
class _Curve:
    """What one label's cuts would do: after giving it to the ``n`` best texts, so many hits; ``cuts`` falls."""

    scores: NDArray[np.floating]
    hits: NDArray[np.intp]

    @classmethod
    def of(cls, scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> _Curve:
        order = np.argsort(-scores, kind="stable")
        return cls(scores[order], np.concatenate([[0], truth[order].cumsum()]))

    def at(self, place: int) -> tuple[int, int]:
        return int(self.hits[place]), place

    def place(self, cut: float) -> int:
        return int((self.scores >= cut).sum())

    def best(self, hits: float, given: float, true: float) -> int:
        """How many texts to give the label to, beside what the other labels do; equal scores stay together."""
        places = np.arange(len(self.hits))
        values = 2 * (self.hits + hits) / np.maximum(1, places + given + true)
        apart = np.ones(len(places), dtype=bool)
        apart[1:-1] = self.scores[1:] < self.scores[:-1]
        return int(np.where(apart, values, -1.0).argmax())

    def cut(self, place: int) -> float:
        """A threshold between the last text that gets the label and the next."""
        above = self.scores[place - 1] if place else 1.0
        below = self.scores[place] if place < len(self.scores) else 0.0
        return float((above + below) / 2)


def _drawn(own: float, common: float, support: int) -> float:
    """A threshold between a label's own and the common one, in log-odds."""
    odds = [float(np.log(kept / (1 - kept))) for kept in np.clip([own, common], _LEAST, 1 - _LEAST)]
    mean = (support * odds[0] + _SHRINKAGE * odds[1]) / (support + _SHRINKAGE)
    return float(1 / (1 + np.exp(-mean)))


def _place_among(scores: NDArray[np.floating], decoding: Decoding) -> NDArray[np.intp]:
    """Each label's place, best first, among those of its text that pass."""
    passed = scores >= np.asarray(decoding.thresholds, dtype=scores.dtype)
    ranked = np.where(passed, scores, -np.inf)
    return np.asarray((-ranked).argsort(axis=1, kind="stable").argsort(axis=1))


RULES: tuple[Rule, ...] = ("global", "per-label", "top-k")
OBJECTIVES: tuple[Objective, ...] = ("micro", "macro")
