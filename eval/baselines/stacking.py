"""The three scores of ``few_examples``, and their weights, fitted to texts that the models have not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

from eval.calibration import log_odds
from eval.metrics import Labels

# Weights of vectors, words and zero-shot score, by ``Taxonomy.multi``, and the standard deviation of their logarithms:
# chosen on validation texts of six families (eval/EXPERIMENTS.md).
_DEFAULTS: Mapping[bool, tuple[float, ...]] = {False: (7.0, 7.0, 0.4), True: (7.0, 7.0, 0.35)}
_SPREAD = 0.5
_LEAST = 1e-6

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Blend:
    """The weights of the three scores, and an offset, which is 0 for single labels."""

    weights: tuple[float, ...]
    offset: float = 0.0


@dataclass(frozen=True)
class LabelScores:
    """The three scores of texts, each of shape (texts, labels).

    Attributes:
        vectors: about the share of texts like this one that have the label.
        words: the same.
        zero_shot: probability by the embedded classifier.
        seen: whether the models had examples of the label.
        multi: whether a text may have several labels.
    """

    vectors: Floats
    words: Floats
    zero_shot: Floats
    seen: Labels
    multi: bool

    def probabilities(self, blend: Blend) -> Floats:
        """Probability of each label; of a label without examples, that of the embedded classifier."""
        logits = np.tensordot(np.array(blend.weights), self._parts, axes=1) + blend.offset
        if self.multi:
            return np.where(self.seen, expit(logits), self.zero_shot)
        unseen = np.where(self.seen, 0.0, self.zero_shot)
        rest = 1 - unseen.sum(axis=1, keepdims=True)
        return np.where(self.seen, rest * softmax(np.where(self.seen, logits, -np.inf), axis=1), unseen)

    def fitted(self, truth: Labels, known: Labels) -> Blend:
        """The weights of the highest posterior probability, given which labels are true and which are known."""
        prior = np.log(_DEFAULTS[self.multi])
        likelihood = self._independent if self.multi else self._exclusive

        def loss(numbers: Floats) -> tuple[float, Floats]:
            weights = np.exp(numbers[:3])
            value, by_weight, by_offset = likelihood(weights, numbers[3], truth, known)
            away = (numbers[:3] - prior) / _SPREAD
            gradient = np.append(by_weight * weights + away / _SPREAD, by_offset)
            return value + 0.5 * float(away @ away), gradient

        found = minimize(loss, np.append(prior, 0.0), jac=True, method="L-BFGS-B")
        return Blend(tuple(np.exp(found.x[:3]).tolist()), float(found.x[3]))

    def take(self, rows: NDArray[np.bool_]) -> LabelScores:
        """Rows by a mask."""
        return LabelScores(self.vectors[rows], self.words[rows], self.zero_shot[rows], self.seen[rows], self.multi)

    @cached_property
    def _parts(self) -> Floats:
        """Shape (3, texts, labels)."""
        of_zero_shot = log_odds(self.zero_shot) if self.multi else np.log(np.clip(self.zero_shot, _LEAST, 1))
        return np.stack([self.vectors, self.words, of_zero_shot])

    def _exclusive(self, weights: Floats, offset: float, truth: Labels, known: Labels) -> tuple[float, Floats, float]:
        """Negative log-likelihood of texts with one label, and its gradients; the offset has no effect."""
        rows = (truth & self.seen).any(axis=1)
        parts, true, seen = self._parts[:, rows], truth[rows], self.seen[rows]
        logs = log_softmax(np.where(seen, np.tensordot(weights, parts, axes=1), -np.inf), axis=1)
        return -float(logs[true].sum()), np.tensordot(parts, np.exp(logs) - true, axes=2), 0.0

    def _independent(self, weights: Floats, offset: float, truth: Labels, known: Labels) -> tuple[float, Floats, float]:
        """The same for several labels, of those whose truth is known."""
        logits = np.tensordot(weights, self._parts, axes=1) + offset
        counted = self.seen & known
        errors = np.where(counted, expit(logits) - truth, 0.0)
        losses = np.where(counted, np.logaddexp(0, logits) - truth * logits, 0.0)
        return float(losses.sum()), np.tensordot(self._parts, errors, axes=2), float(errors.sum())
