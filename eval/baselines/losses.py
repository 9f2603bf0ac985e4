"""Losses of label scores; with p = σ(logit), y the truth, and unknown truths left out of the mean.

Definitions: two-valued and log weights as weighted cross-entropy; focal loss after Lin et al. 2017, arXiv 1708.02002.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

_COMMON = 350  # a label of more training texts weighs 1 in the two-valued loss, a rarer one a tenth
_ALPHA, _GAMMA = 0.375, 2.0
_LONG = 512  # tokens from which a text's length counts no further

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # logits, truth, known; each (texts, labels); a scalar


@dataclass(frozen=True)
class Counts:
    """What weights are made of: training texts per label, shape (labels,), and training texts in all."""

    per_label: Tensor
    texts: int


def two_valued_weights(counts: Counts) -> Tensor:
    """1 for a label of more than 350 training texts, else 0.1."""
    return torch.where(counts.per_label > _COMMON, 1.0, 0.1)


def log_weights(counts: Counts) -> Tensor:
    """ln(N / (n + 1)) per label, divided by their mean: the rarer, the heavier."""
    weights = torch.log(counts.texts / (counts.per_label + 1)).clamp_min(0)  # a label of every text weighs nothing
    return weights / weights.mean().clamp_min(1e-6)


def weighted_bce(logits: Tensor, truth: Tensor, known: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of −[w y ln p + (1 − y) ln(1 − p)] over the known; ``weights`` of shape (labels,), None for 1."""
    weights = None if weights is None else weights.to(logits.device)
    each = functional.binary_cross_entropy_with_logits(logits, truth, pos_weight=weights, reduction="none")
    return _mean(each, known)


def focal(logits: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean of −α_t (1 − p_t)^γ ln p_t over the known, α .375 for a true label and .625 for another, γ 2."""
    surprise = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")  # −ln p_t
    alpha = torch.where(truth > 0.5, _ALPHA, 1 - _ALPHA)
    return _mean(alpha * (1 - torch.exp(-surprise)) ** _GAMMA * surprise, known)


def length_weighted_cross_entropy(logits: Tensor, truth: Tensor, lengths: Tensor, weight: float) -> Tensor:
    """Cross-entropy of texts with one label each, long texts counting more: CE_i (1 + λ min(len, 512) / 512).

    The factors are renormalised to a mean of 1 over the batch. (A penalty *added* for length would have no gradient
    with respect to the answer.)

    Args:
        logits: shape (texts, labels).
        truth: one-hot, same shape.
        lengths: tokens of each text before it was cut, shape (texts,).
        weight: λ; 0 is plain cross-entropy.
    """
    each = functional.cross_entropy(logits, truth.argmax(dim=1), reduction="none")
    factors = 1 + weight * lengths.clamp(max=_LONG) / _LONG
    return (each * factors / factors.mean()).mean()


def _mean(each: Tensor, known: Tensor) -> Tensor:
    return (each * known).sum() / known.sum().clamp_min(1)


def _weighted(weights: Callable[[Counts], Tensor], counts: Counts) -> Loss:
    return partial(weighted_bce, weights=weights(counts))


LOSSES: Mapping[str, Callable[[Counts], Loss]] = {
    "bce": lambda counts: partial(weighted_bce, weights=None),
    "two-valued": partial(_weighted, two_valued_weights),
    "log-weights": partial(_weighted, log_weights),
    "focal": lambda counts: focal,
}
