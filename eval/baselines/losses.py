"""Losses and oversampling for imbalanced labels.

Loss definitions: p = σ(logit), y is the truth, and unknown truths do not count in the mean. Two-valued and log weights
are weighted cross-entropies. Focal loss: Lin et al. 2017, arXiv 1708.02002. Oversampling: ML-ROS (Charte et al.,
Neurocomputing 163, 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from eval.metrics.classification import Labels

_FREQUENT = 350  # training texts above which a label has weight 1 in the two-valued loss; rarer labels have 0.1
_ALPHA, _GAMMA = 0.375, 2.0
_LONG = 512  # tokens above which the length of a text has no further effect

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # logits, truth, known; each (texts, labels); a scalar


@dataclass(frozen=True)
class Counts:
    """Training texts of each label, shape (labels,), and of the data set."""

    per_label: Tensor
    texts: int


def two_valued_weights(counts: Counts) -> Tensor:
    """1 for a label of more than 350 training texts, else 0.1."""
    return torch.where(counts.per_label > _FREQUENT, 1.0, 0.1)


def log_weights(counts: Counts) -> Tensor:
    """ln(N / (n + 1)) per label, divided by the mean: rare labels have higher weights."""
    weights = torch.log(counts.texts / (counts.per_label + 1)).clamp_min(0)  # a label of every text has weight 0
    return weights / weights.mean().clamp_min(1e-6)


def weighted_bce(logits: Tensor, truth: Tensor, known: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of −[w y ln p + (1 − y) ln(1 − p)] over known truths; ``weights`` of shape (labels,), None for 1."""
    weights = None if weights is None else weights.to(logits.device)
    each = functional.binary_cross_entropy_with_logits(logits, truth, pos_weight=weights, reduction="none")
    return _mean(each, known)


def focal(logits: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean of −α_t (1 − p_t)^γ ln p_t over known truths; α is .375 for true labels, .625 for false ones; γ is 2."""
    surprise = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")  # −ln p_t
    alpha = torch.where(truth > 0.5, _ALPHA, 1 - _ALPHA)
    return _mean(alpha * (1 - torch.exp(-surprise)) ** _GAMMA * surprise, known)


def length_weighted_cross_entropy(logits: Tensor, truth: Tensor, lengths: Tensor, weight: float) -> Tensor:
    """Cross-entropy for one label a text, with higher weights for long texts: CE_i (1 + λ min(len, 512) / 512).

    The weights are normalised to a mean of 1 over the batch. (A penalty *added* for length would have no gradient with
    respect to the logits.)

    Args:
        logits: shape (texts, labels).
        truth: one-hot, same shape.
        lengths: tokens of each text before truncation, shape (texts,).
        weight: λ; 0 is plain cross-entropy.
    """
    each = functional.cross_entropy(logits, truth.argmax(dim=1), reduction="none")
    factors = 1 + weight * lengths.clamp(max=_LONG) / _LONG
    return (each * factors / factors.mean()).mean()


def _mean(each: Tensor, known: Tensor) -> Tensor:
    return (each * known).sum() / known.sum().clamp_min(1)


LOSSES: Mapping[str, Callable[[Counts], Loss]] = {
    "bce": lambda counts: partial(weighted_bce, weights=None),
    "two-valued": lambda counts: partial(weighted_bce, weights=two_valued_weights(counts)),
    "log-weights": lambda counts: partial(weighted_bce, weights=log_weights(counts)),
    "focal": lambda counts: focal,
}


def oversampled(truth: Labels, seed: int, share: float = 0.25) -> NDArray[np.intp]:
    """Indices of the rows to train on: every row once, then copies of rows with a rare label.

    A label is rare while its imbalance (texts of the most frequent label divided by its own) exceeds the mean of all
    labels. Rare labels take turns; a label that is no longer rare gets no more copies.

    Args:
        truth: of the training split, shape (texts, labels); labels without texts are ignored.
        seed: of the choice of rows.
        share: maximum number of copies, as a share of the texts.
    """
    random = np.random.default_rng(seed)
    counts = truth.sum(axis=0).astype(float)
    mean = _imbalance(counts)[counts > 0].mean() if counts.any() else 0.0
    copies: list[int] = []
    most = int(len(truth) * share)
    while len(copies) < most and (rare := np.flatnonzero((_imbalance(counts) > mean) & (counts > 0))).size:
        for label in rare[: most - len(copies)]:
            row = int(random.choice(np.flatnonzero(truth[:, label])))
            copies.append(row)
            counts += truth[row]
    return np.concatenate([np.arange(len(truth)), np.array(copies, dtype=np.intp)])


def _imbalance(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(counts.max() / np.maximum(counts, 1))
