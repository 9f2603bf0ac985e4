"""Metrics of label sets, from true and predicted labels as boolean matrices of shape (texts, labels).

Definitions are scikit-learn's with ``zero_division=0``: a label that is neither true nor predicted anywhere has an F1
of 0, and so has a text without labels. They are implemented here, and tested against scikit-learn, because each metric
is a function of sums over texts: ten thousand resamples become one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prompts.taxonomy import Taxonomy

Labels = NDArray[np.bool_]
Numbers = NDArray[np.float64]
Ratio = Callable[[Numbers, Numbers, Numbers], Numbers]
TextValues = Callable[[Labels, Labels], NDArray[np.generic]]


@dataclass(frozen=True)
class Metric:
    """A metric that follows from sums over texts.

    ``parts`` maps matrices of shape (texts, labels) to each text's summands, shape (texts, parts); ``value`` maps sums
    of shape (..., parts) to values of shape (...).
    """

    parts: Callable[[Labels, Labels], Numbers]
    value: Callable[[Numbers], Numbers]

    def __call__(self, true: Labels, predicted: Labels) -> float:
        """The metric over all texts; both matrices have shape (texts, labels)."""
        return float(self.value(self.parts(true, predicted).sum(axis=0)))


def indicator(label_sets: Sequence[Sequence[str]], labels: Taxonomy | Sequence[str]) -> Labels:
    """Label sets as a matrix of shape (texts, labels), in the order of the labels; ``KeyError`` for an unknown one."""
    names = labels.names if isinstance(labels, Taxonomy) else labels
    matrix = np.zeros((len(label_sets), len(names)), dtype=bool)
    column = {name: place for place, name in enumerate(names)}
    for row, label_set in enumerate(label_sets):
        matrix[row, [column[name] for name in label_set]] = True
    return matrix


def divide(top: Numbers, bottom: Numbers) -> Numbers:
    """Quotients, 0 where the divisor is 0."""
    return np.divide(top, bottom, out=np.zeros(np.broadcast_shapes(top.shape, bottom.shape)), where=bottom != 0)


def f1(tp: Numbers, fp: Numbers, fn: Numbers) -> Numbers:
    """F1 from counts: 2·TP / (2·TP + FP + FN)."""
    return divide(2 * tp, 2 * tp + fp + fn)


def _precision(tp: Numbers, fp: Numbers, fn: Numbers) -> Numbers:
    return divide(tp, tp + fp)


def _recall(tp: Numbers, fp: Numbers, fn: Numbers) -> Numbers:
    return divide(tp, tp + fn)


def _jaccard(tp: Numbers, fp: Numbers, fn: Numbers) -> Numbers:
    return divide(tp, tp + fp + fn)


def single(true: Labels, predicted: Labels) -> bool:
    """Whether the task is single-label: one true label per text, and at most one predicted."""
    return bool((true.sum(axis=1) == 1).all() and (predicted.sum(axis=1) <= 1).all())


def confusion(true: Labels, predicted: Labels) -> tuple[Numbers, Numbers, Numbers]:
    """True positives, false positives and false negatives as 0/1 matrices of shape (texts, labels)."""
    return (true & predicted).astype(float), (~true & predicted).astype(float), (true & ~predicted).astype(float)


def _per_label(true: Labels, predicted: Labels) -> Numbers:
    return np.concatenate(confusion(true, predicted), axis=1)


def _micro(ratio: Ratio) -> Metric:
    return Metric(
        lambda true, predicted: np.stack([count.sum(axis=1) for count in confusion(true, predicted)], axis=1),
        lambda sums: ratio(sums[..., 0], sums[..., 1], sums[..., 2]),
    )


def _macro(ratio: Ratio) -> Metric:
    """Mean over all labels of the taxonomy, also those that no text has."""
    return Metric(_per_label, lambda sums: ratio(*np.split(sums, 3, axis=-1)).mean(axis=-1))


def _weighted(ratio: Ratio) -> Metric:
    """Mean over labels, weighted by the number of texts that have the label."""

    def value(sums: Numbers) -> Numbers:
        tp, fp, fn = np.split(sums, 3, axis=-1)
        support = tp + fn
        return divide((ratio(tp, fp, fn) * support).sum(axis=-1), support.sum(axis=-1))

    return Metric(_per_label, value)


def _samples(ratio: Ratio) -> Metric:
    return _mean(lambda true, predicted: ratio(*(count.sum(axis=1) for count in confusion(true, predicted))))


def _mean(per_text: TextValues, least: int = 0) -> Metric:
    """Mean over texts with at least ``least`` true labels; 0 where there are none."""

    def parts(true: Labels, predicted: Labels) -> Numbers:
        counted = (true.sum(axis=1) >= least).astype(float)
        return np.stack([np.asarray(per_text(true, predicted), dtype=float) * counted, counted], axis=1)

    return Metric(parts, lambda sums: divide(sums[..., 0], sums[..., 1]))


def _at_least(k: int, least: int = 0) -> Metric:
    """AL-k: share of texts of which at least k true labels are predicted."""
    return _mean(lambda true, predicted: (true & predicted).sum(axis=1) >= k, least=least)


EXACT = _mean(lambda true, predicted: (true == predicted).all(axis=1))
ACCURACY: Mapping[str, Metric] = {"accuracy": EXACT}  # the name of EXACT in single-label tasks
METRICS: Mapping[str, Metric] = {
    "micro-F1": _micro(f1),
    "macro-F1": _macro(f1),
    "weighted-F1": _weighted(f1),
    "samples-F1": _samples(f1),
    "Jaccard": _samples(_jaccard),
    "macro-Jaccard": _macro(_jaccard),
    "weighted-Jaccard": _weighted(_jaccard),
    "subset accuracy": EXACT,
    "Hamming": _mean(lambda true, predicted: (true != predicted).mean(axis=1)),
    "AL-1": _at_least(1),
    "AL-2": _at_least(2),
    "AL-3": _at_least(3),
    "AL-1 of 1+": _at_least(1, least=1),
    "AL-2 of 2+": _at_least(2, least=2),
    "AL-3 of 3+": _at_least(3, least=3),
    "micro-precision": _micro(_precision),
    "macro-precision": _macro(_precision),
    "weighted-precision": _weighted(_precision),
    "samples-precision": _samples(_precision),
    "micro-recall": _micro(_recall),
    "macro-recall": _macro(_recall),
    "weighted-recall": _weighted(_recall),
    "samples-recall": _samples(_recall),
}


BINS = 15
ScoreMetric = Callable[[Labels, Numbers], float]


def average_precision(true: Labels, scores: Numbers, weights: Numbers) -> Numbers:
    """Average precision of one label under many weightings of the texts at once.

    The sum over thresholds of precision times gain in recall, without interpolation, as in scikit-learn. Texts of equal
    score pass the threshold together. 0 where no text has the label. ``true`` and ``scores`` have shape (texts,);
    ``weights``, how often each text counts, shape (weightings, texts); the result has shape (weightings,).
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
    """A reliability curve: mean score, share true and number of decisions of each bin, by score; shapes (bins,)."""

    scores: Numbers
    shares: Numbers
    counts: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of score and share, weighted by the bins' sizes."""
        return float(np.average(np.abs(self.scores - self.shares), weights=self.counts))


def reliability_curve(true: Labels, scores: Numbers, bins: int = BINS) -> ReliabilityCurve:
    """The reliability curve over bins of equal mass (Nixon et al. 2019, adaptive calibration error).

    Equal scores share a bin, so the order of the texts does not matter and there may be fewer bins. ``true`` and
    ``scores`` (from 0 to 1) have the shape (decisions,).
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


def _ranking_average_precision(true: Labels, scores: Numbers) -> float:
    """Label ranking average precision, as scikit-learn defines it, without its loop over the texts."""
    from scipy.stats import rankdata

    among_all = rankdata(-scores, "max", axis=1)
    among_true = rankdata(np.where(true, -scores, np.inf), "max", axis=1)
    counts = true.sum(axis=1)
    shares = np.where(true, among_true / among_all, 0).sum(axis=1) / np.maximum(counts, 1)
    return float(np.where(counts > 0, shares, 1).mean())


def _sklearn(name: str) -> ScoreMetric:
    def metric(true: Labels, scores: Numbers) -> float:
        from sklearn import metrics

        return float(getattr(metrics, name)(true, scores))

    return metric


# The first three compare labels within a text and need at least two labels.
RANKING: Mapping[str, ScoreMetric] = {
    "LRAP": _ranking_average_precision,
    "coverage error": _sklearn("coverage_error"),
    "ranking loss": _sklearn("label_ranking_loss"),
    "macro-AP": macro_average_precision,
    "micro-AP": _micro_average_precision,
}
CALIBRATION: Mapping[str, ScoreMetric] = {"ECE": _macro_ece, "Brier": brier}
