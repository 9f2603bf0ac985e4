"""Metrics of label scores: ranking (the order of the scores only) and calibration (scores as probabilities).

Matrices have shape (texts, labels).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.metrics.classification import Labels, Numbers, divide

BINS = 15
ScoreMetric = Callable[[Labels, Numbers], float]


def average_precision(true: Labels, scores: Numbers, weights: Numbers) -> Numbers:
    """Average precision of one label under many weightings of the texts at once.

    The sum over thresholds of precision times gain in recall, without interpolation, as in scikit-learn. Texts of equal
    score pass the threshold together. 0 where no text has the label.

    Args:
        true: whether a text has the label, shape (texts,).
        scores: the label's scores, shape (texts,).
        weights: how often each text counts, shape (weightings, texts).

    Returns:
        Values of shape (weightings,).
    """
    order = np.argsort(-scores, kind="stable")
    positives = np.flatnonzero(true[order])
    if not len(positives):
        return np.zeros(len(weights))
    ordered = weights[:, order]
    # With each positive text, all texts of equal score pass too: the last of them, and the last positive one.
    last = np.searchsorted(-scores[order], -scores[order][positives], side="right") - 1
    last_positive = np.searchsorted(positives, last, side="right") - 1
    gained = ordered[:, positives]
    precision = divide(gained.cumsum(axis=1)[:, last_positive], ordered.cumsum(axis=1)[:, last])
    return divide((gained * precision).sum(axis=1), gained.sum(axis=1))


def macro_average_precision(true: Labels, scores: Numbers) -> float:
    """Mean of the labels' average precision; a label that no text has counts as 0."""
    return float(weighted_macro_average_precision(true, scores, np.ones((1, len(true))))[0])


def weighted_macro_average_precision(true: Labels, scores: Numbers, weights: Numbers) -> Numbers:
    """Macro average precision under weightings of shape (weightings, texts); returns shape (weightings,)."""
    total: Numbers = np.zeros(len(weights))
    for label, column in zip(true.T, scores.T, strict=True):
        total += average_precision(label, column, weights)
    return total / len(true.T)


def _micro_average_precision(true: Labels, scores: Numbers) -> float:
    return float(average_precision(true.ravel(), scores.ravel(), np.ones((1, true.size)))[0])


@dataclass(frozen=True)
class ReliabilityCurve:
    """A reliability curve, one point per bin in order of score.

    Attributes:
        scores: mean score of the bin, shape (bins,).
        shares: share of the bin's decisions that are true, shape (bins,).
        counts: number of decisions in the bin, shape (bins,).
    """

    scores: Numbers
    shares: Numbers
    counts: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of score and share, weighted by the bins' sizes."""
        return float(np.average(np.abs(self.scores - self.shares), weights=self.counts))


def reliability_curve(true: Labels, scores: Numbers, bins: int = BINS) -> ReliabilityCurve:
    """The reliability curve over bins of equal mass (Nixon et al. 2019, adaptive calibration error).

    Equal scores share a bin, so the order of the texts does not matter and there may be fewer bins.

    Args:
        true: shape (decisions,).
        scores: from 0 to 1, shape (decisions,).
        bins: maximum number of bins.
    """
    edges = np.sort(scores)[np.arange(1, bins) * len(scores) // bins]
    place = np.searchsorted(edges, scores, side="right")
    counts = np.bincount(place, minlength=bins)
    filled = counts > 0
    means = [np.bincount(place, column, minlength=bins)[filled] / counts[filled] for column in (scores, true)]
    return ReliabilityCurve(means[0], means[1], counts[filled])


def ece(true: Labels, scores: Numbers) -> float:
    """Expected calibration error of one label in 15 bins of equal mass; both arrays have shape (texts,)."""
    return reliability_curve(true, scores).error


def _macro_ece(true: Labels, scores: Numbers) -> float:
    return float(np.mean([ece(label, column) for label, column in zip(true.T, scores.T, strict=True)]))


def brier(true: Labels, scores: Numbers) -> float:
    """Mean squared distance of score and truth over all pairs of text and label (Brier 1950, per label)."""
    return float(np.square(scores - true).mean())


def _sklearn(name: str) -> ScoreMetric:
    def metric(true: Labels, scores: Numbers) -> float:
        from sklearn import metrics

        return float(getattr(metrics, name)(true, scores))

    return metric


# The first three compare labels within a text and need at least two labels.
RANKING: Mapping[str, ScoreMetric] = {
    "LRAP": _sklearn("label_ranking_average_precision_score"),
    "coverage error": _sklearn("coverage_error"),
    "ranking loss": _sklearn("label_ranking_loss"),
    "macro-AP": macro_average_precision,
    "micro-AP": _micro_average_precision,
}
CALIBRATION: Mapping[str, ScoreMetric] = {"ECE": _macro_ece, "Brier": brier}
