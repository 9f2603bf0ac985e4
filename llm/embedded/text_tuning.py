"""Tuning of the embedded classifier for one taxonomy of single labels by texts without labels.

The classifier's probabilities say softly which texts belong to a label. The label's vector moves to the mean of these
texts, the probabilities follow, and so on. This is expectation maximisation of a mixture of Gaussians with one round
variance, in which the classifier's own log-odds of a text stay part of its responsibilities; they keep the groups at
the meaning of their labels (compare Zanella et al. 2024, arXiv 2406.01837, for images).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llm.embedded.label_tuning import softmax
from similarity.native import one_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

FEWEST = 50
"""Texts that are needed: the mean of a label's texts is a poor estimate from a handful."""
MOST = 1_000
"""Texts that are used: encoding takes the time, and 800 gave no more than 200 (``eval/EXPERIMENTS.md``)."""
# Chosen on validation texts of twelve families that the classifier was not trained on (``eval/EXPERIMENTS.md``).
_SCALE = 16.0  # inverse variance of the mixture
_BIAS = 0.25  # share of the classifier's mean preference for labels that is taken off
_PULL = 2.0  # texts at the mean of all texts that every label has in addition
_ROUNDS = 3


def train(texts: Array, shares: NDArray[Any]) -> tuple[Array, Array]:
    """Learn the vectors and offsets of a ``LabelTuning`` from texts without labels.

    Args:
        texts: their plain MiniLM vectors, shape (texts, 384), of length 1.
        shares: the classifier's probabilities of them, shape (texts, labels), above 0; rows sum to 1.
    """
    with one_thread():
        return _trained(texts.astype(np.float64), np.asarray(shares, np.float64))


def _trained(texts: NDArray[np.float64], shares: NDArray[np.float64]) -> tuple[Array, Array]:
    middle = texts.mean(axis=0)
    centred = texts - middle
    before = np.log(shares)
    unbiased = -_BIAS * np.log(shares.mean(axis=0))
    belongs = softmax(before + unbiased)
    for _ in range(_ROUNDS):
        vectors = belongs.T @ centred / (belongs.sum(axis=0)[:, None] + _PULL)
        offsets = unbiased - _SCALE / 2 * (vectors**2).sum(axis=1)
        belongs = softmax(before + _SCALE * centred @ vectors.T + offsets)
    added = _SCALE * vectors
    return added.astype(np.float32), np.asarray(offsets - added @ middle, np.float32)


def settings_of_training() -> dict[str, float]:
    """What the manifest records."""
    return {"scale": _SCALE, "bias": _BIAS, "pull": _PULL, "rounds": _ROUNDS}
