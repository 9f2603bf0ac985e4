"""Metrics of scores as a ranking of labels: they ask for the order of the scores only, not for their scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from eval.metrics.classification import Labels, Numbers, divide

Ranking = Callable[[Labels, Numbers], float]


def average_precision(true: Labels, scores: Numbers, weights: Numbers) -> Numbers:
    """Average precision of one label's scores over texts, under many weightings of the texts at once.

    The sum over thresholds of precision times gain in recall, without interpolation, as scikit-learn has it; texts of
    equal score pass the threshold together. 0 where no text bears the label.

    Args:
        true: whether the label is true of a text, shape (texts,).
        scores: the label's scores, shape (texts,).
        weights: how often each text counts, shape (weightings, texts).

    Returns:
        Figures of shape (weightings,).
    """
    order = np.argsort(-scores, kind="stable")
    bearing = np.flatnonzero(true[order])
    if not len(bearing):
        return np.zeros(len(weights))
    ordered = weights[:, order]
    # With each bearing text, all that score as high or higher pass: the last of them, and the last bearing one.
    last = np.searchsorted(-scores[order], -scores[order][bearing], side="right") - 1
    last_bearing = np.searchsorted(bearing, last, side="right") - 1
    gained = ordered[:, bearing]
    precision = divide(gained.cumsum(axis=1)[:, last_bearing], ordered.cumsum(axis=1)[:, last])
    return divide((gained * precision).sum(axis=1), gained.sum(axis=1))


def macro_average_precision(true: Labels, scores: Numbers) -> float:
    """Mean of the labels' average precision; matrices of shape (texts, labels). A label never true counts as 0."""
    return float(weighted_macro_average_precision(true, scores, np.ones((1, len(true))))[0])


def micro_average_precision(true: Labels, scores: Numbers) -> float:
    """Average precision over all pairs of text and label in one ranking; matrices of shape (texts, labels)."""
    return float(average_precision(true.ravel(), scores.ravel(), np.ones((1, true.size)))[0])


def weighted_macro_average_precision(true: Labels, scores: Numbers, weights: Numbers) -> Numbers:
    """Macro average precision under weightings of shape (weightings, texts); returns shape (weightings,)."""
    total: Numbers = np.zeros(len(weights))
    for label, column in zip(true.T, scores.T, strict=True):
        total += average_precision(label, column, weights)
    return total / len(true.T)


def _of_sklearn(name: str) -> Ranking:
    def measured(true: Labels, scores: Numbers) -> float:
        from sklearn import metrics

        return float(getattr(metrics, name)(true, scores))

    return measured


# The first three compare labels within a text, so they need two labels at least.
RANKING: Mapping[str, Ranking] = {
    "LRAP": _of_sklearn("label_ranking_average_precision_score"),
    "coverage error": _of_sklearn("coverage_error"),
    "ranking loss": _of_sklearn("label_ranking_loss"),
    "macro-AP": macro_average_precision,
    "micro-AP": micro_average_precision,
}
