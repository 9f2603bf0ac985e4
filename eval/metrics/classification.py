"""Metrics of label sets, from true and predicted labels as 0/1 matrices.

scikit-learn's definitions throughout, with ``zero_division=0``: a label that is neither true nor answered anywhere has
an F1 of 0, and so has a text without labels that got none. They are written here, and checked against scikit-learn in
the tests, because every one is a function of sums over texts: that makes ten thousand resamples one matrix product.
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


@dataclass(frozen=True)
class Metric:
    """A figure that follows from sums over texts.

    Attributes:
        parts: from matrices of shape (texts, labels) to what each text adds to the sums, of shape (texts, parts).
        value: from sums of shape (..., parts) to figures of shape (...).
    """

    parts: Callable[[Labels, Labels], Numbers]
    value: Callable[[Numbers], Numbers]

    def __call__(self, true: Labels, predicted: Labels) -> float:
        """The figure over all texts; both matrices have shape (texts, labels)."""
        return float(self.value(self.parts(true, predicted).sum(axis=0)))


def indicator(label_sets: Sequence[Sequence[str]], taxonomy: Taxonomy) -> Labels:
    """Label sets as a matrix of shape (texts, labels), columns in taxonomy order."""
    return named_indicator(label_sets, taxonomy.names)


def named_indicator(label_sets: Sequence[Sequence[str]], names: Sequence[str]) -> Labels:
    """Label sets as a matrix of shape (texts, labels), a column per name in the order given.

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


def hits(true: Labels, predicted: Labels) -> tuple[Numbers, Numbers, Numbers]:
    """True positives, false positives and false negatives as 0/1 matrices of shape (texts, labels)."""
    return (true & predicted).astype(float), (~true & predicted).astype(float), (true & ~predicted).astype(float)


def f1(found: Numbers, wrong: Numbers, missed: Numbers) -> Numbers:
    """Harmonic mean of precision and recall, from counts."""
    return divide(2 * found, 2 * found + wrong + missed)


def precision(found: Numbers, wrong: Numbers, missed: Numbers) -> Numbers:
    """Share of the answered labels that are true, from counts."""
    return divide(found, found + wrong)


def recall(found: Numbers, wrong: Numbers, missed: Numbers) -> Numbers:
    """Share of the true labels that were answered, from counts."""
    return divide(found, found + missed)


def jaccard(found: Numbers, wrong: Numbers, missed: Numbers) -> Numbers:
    """Labels both true and answered over labels either true or answered, from counts."""
    return divide(found, found + wrong + missed)


def micro(ratio: Ratio) -> Metric:
    """The ratio of the counts over all texts and labels."""
    return Metric(
        lambda true, predicted: np.stack([count.sum(axis=1) for count in hits(true, predicted)], axis=1),
        lambda sums: ratio(sums[..., 0], sums[..., 1], sums[..., 2]),
    )


def macro(ratio: Ratio) -> Metric:
    """The plain mean of the labels' ratios; every label of the taxonomy counts, seen or not."""
    return Metric(_per_label, lambda sums: ratio(*_thirds(sums)).mean(axis=-1))


def weighted(ratio: Ratio) -> Metric:
    """The mean of the labels' ratios, each weighing as many texts as it is true of."""

    def value(sums: Numbers) -> Numbers:
        found, wrong, missed = _thirds(sums)
        support = found + missed
        return divide((ratio(found, wrong, missed) * support).sum(axis=-1), support.sum(axis=-1))

    return Metric(_per_label, value)


def samples(ratio: Ratio) -> Metric:
    """The mean of the texts' ratios."""
    return mean(lambda true, predicted: ratio(*(count.sum(axis=1) for count in hits(true, predicted))))


def mean(per_text: Callable[[Labels, Labels], NDArray[np.generic]]) -> Metric:
    """The mean over texts of a figure of shape (texts,)."""
    return share(per_text, lambda true: np.ones(len(true)))


def share(
    of: Callable[[Labels, Labels], NDArray[np.generic]],
    among: Callable[[Labels], NDArray[np.generic]],
) -> Metric:
    """The mean of a figure over those texts whose true labels qualify; 0 where none does."""

    def parts(true: Labels, predicted: Labels) -> Numbers:
        counted = np.asarray(among(true), dtype=float)
        return np.stack([np.asarray(of(true, predicted), dtype=float) * counted, counted], axis=1)

    return Metric(parts, lambda sums: divide(sums[..., 0], sums[..., 1]))


def at_least(k: int) -> Metric:
    """AL-k: share of texts of which at least k true labels were found, over all texts."""
    return mean(lambda true, predicted: (true & predicted).sum(axis=1) >= k)


def at_least_of(k: int) -> Metric:
    """AL-k over the texts that have k true labels or more."""
    return share(lambda true, predicted: (true & predicted).sum(axis=1) >= k, lambda true: true.sum(axis=1) >= k)


def single(true: Labels, predicted: Labels) -> bool:
    """Whether this is single-label work: one true label a text, and never more than one answered."""
    return bool((true.sum(axis=1) == 1).all() and (predicted.sum(axis=1) <= 1).all())


def _per_label(true: Labels, predicted: Labels) -> Numbers:
    return np.concatenate(hits(true, predicted), axis=1)


def _thirds(sums: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    labels = sums.shape[-1] // 3
    return sums[..., :labels], sums[..., labels : 2 * labels], sums[..., 2 * labels :]


EXACT = mean(lambda true, predicted: (true == predicted).all(axis=1))

# Known as accuracy where a text has one label; see ``single``.
ACCURACY: Mapping[str, Metric] = {"accuracy": EXACT}

METRICS: Mapping[str, Metric] = {
    "micro-F1": micro(f1),
    "macro-F1": macro(f1),
    "weighted-F1": weighted(f1),
    "samples-F1": samples(f1),
    "Jaccard": samples(jaccard),
    "macro-Jaccard": macro(jaccard),
    "weighted-Jaccard": weighted(jaccard),
    "subset accuracy": EXACT,
    "Hamming": mean(lambda true, predicted: (true != predicted).mean(axis=1)),
    "AL-1": at_least(1),
    "AL-2": at_least(2),
    "AL-3": at_least(3),
    "AL-1 of 1+": at_least_of(1),
    "AL-2 of 2+": at_least_of(2),
    "AL-3 of 3+": at_least_of(3),
    "micro-precision": micro(precision),
    "macro-precision": macro(precision),
    "weighted-precision": weighted(precision),
    "samples-precision": samples(precision),
    "micro-recall": micro(recall),
    "macro-recall": macro(recall),
    "weighted-recall": weighted(recall),
    "samples-recall": samples(recall),
}
