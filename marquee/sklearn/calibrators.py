"""Calibration of scores: probabilities that match the observed frequencies, learned with or without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.calibration import fit_logistic, log_odds, platt_targets
from eval.metrics.classification import Labels
from llm.thresholds import LabelThreshold, batch_calibration
from prompts.errors import InvalidDataset

Scores = NDArray[np.float64]
Calibrator = Callable[[Scores], Scores]


def same(scores: Scores) -> Scores:
    """The scores as they are."""
    return scores


@dataclass(frozen=True)
class Shifted:
    """Removes the preferences that a model has for every text; see ``llm.thresholds.batch_calibration``.

    Attributes:
        decision: holds a shift per label, named by its column.
        competing: whether the scores of a text share a total of 1.
    """

    decision: LabelThreshold
    mutually_exclusive: bool

    def __call__(self, scores: Scores) -> Scores:
        """Shifted scores, shape (texts, labels)."""
        rows = [self.decision.adjusted(_row(one), self.mutually_exclusive) for one in scores]
        return np.array([[row[str(column)] for column in range(scores.shape[1])] for row in rows])


@dataclass(frozen=True)
class PerLabel:
    """A curve for each label.

    Attributes:
        curves: one per label: scores of shape (texts,) in, probabilities of the same shape out.
    """

    curves: tuple[Callable[[Scores], Scores], ...]

    def __call__(self, scores: Scores) -> Scores:
        """Calibrated scores, shape (texts, labels)."""
        return np.stack([curve(column) for curve, column in zip(self.curves, scores.T, strict=True)], axis=1)


@dataclass(frozen=True)
class Sigmoid:
    """Platt's scaling (Platt 1999) of a score's log-odds.

    Attributes:
        slope: of the line in log-odds.
        intercept: the same.
    """

    slope: float
    intercept: float

    def __call__(self, scores: Scores) -> Scores:
        """Probabilities, shape (texts,)."""
        return np.asarray(1 / (1 + np.exp(-(self.slope * log_odds(scores) + self.intercept))))


def batch(scores: Scores, truth: Labels | None, mutually_exclusive: bool) -> Calibrator:
    """Batch calibration, from the scores of any texts; labels are not used."""
    return Shifted(batch_calibration([_row(one) for one in scores], mutually_exclusive, 0.5), mutually_exclusive)


def sigmoid(scores: Scores, truth: Labels | None, mutually_exclusive: bool) -> Calibrator:
    """Platt scaling per label, for some dozens of labelled texts or more."""
    labels = _labelled(truth)
    return PerLabel(tuple(_sigmoid(scores[:, one], labels[:, one]) for one in range(scores.shape[1])))


def isotonic(scores: Scores, truth: Labels | None, mutually_exclusive: bool) -> Calibrator:
    """Isotonic regression per label, for many hundreds of labelled texts."""
    labels = _labelled(truth)
    return PerLabel(tuple(_isotonic(scores[:, one], labels[:, one]) for one in range(scores.shape[1])))


def _sigmoid(scores: Scores, truth: NDArray[np.bool_]) -> Sigmoid:
    (slope,), intercept = fit_logistic(log_odds(scores)[:, None], platt_targets(truth))
    return Sigmoid(float(slope), intercept)


def _isotonic(scores: Scores, truth: NDArray[np.bool_]) -> Callable[[Scores], Scores]:
    from sklearn.isotonic import IsotonicRegression

    curve: Any = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(scores, truth.astype(float))
    predict: Callable[[Scores], Scores] = curve.predict
    return predict


def _labelled(truth: Labels | None) -> Labels:
    if truth is None:
        raise InvalidDataset("this calibration needs labels; give y, or use calibration='batch'")
    return truth


def _row(scores: Scores) -> dict[str, float]:
    return {str(column): float(score) for column, score in enumerate(scores)}


CALIBRATIONS: Mapping[str, Callable[[Scores, Labels | None, bool], Calibrator]] = {
    "batch": batch,
    "sigmoid": sigmoid,
    "isotonic": isotonic,
}
