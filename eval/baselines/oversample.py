"""Oversampling for several labels a text: ML-ROS (Charte et al., Neurocomputing 163, 2015)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eval.metrics.classification import Labels


def oversampled(truth: Labels, seed: int, share: float = 0.25) -> NDArray[np.intp]:
    """Rows to train on: all of them once, then clones of rows with a rare label.

    A label is rare while its imbalance (texts of the commonest label over its own) exceeds the mean of all labels; rare
    labels take turns, and one that is no longer rare is cloned no further.

    Args:
        truth: of the training split, shape (texts, labels); labels that no text has are left aside.
        seed: decides which rows are cloned.
        share: clones at most, as a share of the texts.
    """
    draw = np.random.default_rng(seed)
    counts = truth.sum(axis=0).astype(float)
    mean = _imbalance(counts)[counts > 0].mean() if counts.any() else 0.0
    clones: list[int] = []
    most = int(len(truth) * share)
    while len(clones) < most and (rare := np.flatnonzero((_imbalance(counts) > mean) & (counts > 0))).size:
        for label in rare[: most - len(clones)]:
            row = int(draw.choice(np.flatnonzero(truth[:, label])))
            clones.append(row)
            counts += truth[row]
    return np.concatenate([np.arange(len(truth)), np.array(clones, dtype=np.intp)])


def _imbalance(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(counts.max() / np.maximum(counts, 1))
