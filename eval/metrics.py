"""Metrics of multi-label classification, from true and predicted labels as 0/1 matrices.

scikit-learn's definitions throughout, with ``zero_division=0``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, hamming_loss, jaccard_score

from prompts.taxonomy import Taxonomy

Labels = NDArray[np.bool_]
Metric = Callable[[Labels, Labels], float]


def indicator(label_sets: Sequence[Sequence[str]], taxonomy: Taxonomy) -> Labels:
    """Label sets as a matrix of shape (texts, labels), columns in vocabulary order."""
    matrix = np.zeros((len(label_sets), len(taxonomy.names)), dtype=bool)
    column = {name: place for place, name in enumerate(taxonomy.names)}
    for row, names in enumerate(label_sets):
        matrix[row, [column[name] for name in names]] = True
    return matrix


def at_least(k: int, true: Labels, predicted: Labels) -> float:
    """AL-k: share of texts of which at least k true labels were found, over all texts."""
    return float((np.logical_and(true, predicted).sum(axis=1) >= k).mean())


def subset_accuracy(true: Labels, predicted: Labels) -> float:
    """Share of texts whose labels were found exactly."""
    return float((true == predicted).all(axis=1).mean())


METRICS: Mapping[str, Metric] = {
    "micro-F1": partial(f1_score, average="micro", zero_division=0),
    "macro-F1": partial(f1_score, average="macro", zero_division=0),
    "samples-F1": partial(f1_score, average="samples", zero_division=0),
    "Jaccard": partial(jaccard_score, average="samples", zero_division=0),
    "Hamming": hamming_loss,
    "subset accuracy": subset_accuracy,
    "AL-1": partial(at_least, 1),
    "AL-2": partial(at_least, 2),
}
