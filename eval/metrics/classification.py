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

    Attributes:
        parts: from matrices of shape (texts, labels) to each text's summands, shape (texts, parts).
        value: from sums of shape (..., parts) to values of shape (...).
    """

    parts: Callable[[Labels, Labels], Numbers]
    value: Callable[[Numbers], Numbers]

    def __call__(self, true: Labels, predicted: Labels) -> float:
        """The metric over all texts; both matrices have shape (texts, labels)."""
        return float(self.value(self.parts(true, predicted).sum(axis=0)))


def indicator(label_sets: Sequence[Sequence[str]], taxonomy: Taxonomy) -> Labels:
    """Label sets as a matrix of shape (texts, labels), columns in taxonomy order."""
    return named_indicator(label_sets, taxonomy.names)


def named_indicator(label_sets: Sequence[Sequence[str]], names: Sequence[str]) -> Labels:
    """Label sets as a matrix of shape (texts, labels), a column per name.

    Raises:
        KeyError: a label that is none of the names.
    """
    matrix = np.zeros((len(label_sets), len(names)), dtype=bool)
    column = {name: place for place, name in enumerate(names)}
    for row, labels in enumerate(label_sets):
        matrix[row, [column[name] for name in labels]] = True
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


def _confusion(true: Labels, predicted: Labels) -> tuple[Numbers, Numbers, Numbers]:
    """True positives, false positives and false negatives as 0/1 matrices of shape (texts, labels)."""
    return (true & predicted).astype(float), (~true & predicted).astype(float), (true & ~predicted).astype(float)


def _per_label(true: Labels, predicted: Labels) -> Numbers:
    return np.concatenate(_confusion(true, predicted), axis=1)


def _thirds(sums: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    labels = sums.shape[-1] // 3
    return sums[..., :labels], sums[..., labels : 2 * labels], sums[..., 2 * labels :]


def _micro(ratio: Ratio) -> Metric:
    return Metric(
        lambda true, predicted: np.stack([count.sum(axis=1) for count in _confusion(true, predicted)], axis=1),
        lambda sums: ratio(sums[..., 0], sums[..., 1], sums[..., 2]),
    )


def _macro(ratio: Ratio) -> Metric:
    """Mean over all labels of the taxonomy, also those that no text has."""
    return Metric(_per_label, lambda sums: ratio(*_thirds(sums)).mean(axis=-1))


def _weighted(ratio: Ratio) -> Metric:
    """Mean over labels, weighted by the number of texts that have the label."""

    def value(sums: Numbers) -> Numbers:
        tp, fp, fn = _thirds(sums)
        support = tp + fn
        return divide((ratio(tp, fp, fn) * support).sum(axis=-1), support.sum(axis=-1))

    return Metric(_per_label, value)


def _samples(ratio: Ratio) -> Metric:
    return _mean(lambda true, predicted: ratio(*(count.sum(axis=1) for count in _confusion(true, predicted))))


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
