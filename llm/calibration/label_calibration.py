"""Affine calibration: a slope and an offset for the log-odds of each label, learned from 50 to 200 labelled texts.

Platt scaling per label (Platt 1999), and for mutually exclusive labels vector scaling (Guo et al. 2017, arXiv
1706.04599); for language models arXiv 2505.23783. A few dozen texts have some labels once or never. So the lines of
all labels are fitted together, and each is pulled towards the line that all share. ``eval.calibration.tune`` keeps a
plain threshold where the lines gain nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llm.calibration.thresholds import NONE, LabelThreshold, log_odds, none_probability
from prompts.taxonomy import Taxonomy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[Any]
    Likelihood = Callable[[Numbers, Numbers, Numbers], tuple[Numbers, float]]

_LEAST = 1e-6  # scores are clipped to [1e-6, 1 - 1e-6], as in ``LabelThreshold.adjusted``
# L2 penalties of a label's deviation from the common slope and offset, and of these two: separable data have a minimum.
_SLOPE, _OFFSET, _COMMON = 10.0, 1.0, 1e-3
_STRENGTHS = (1.0, 5.0, 25.0, 1e4)  # factors of the first two; the last leaves hardly more than the common line
_FOLDS = 5  # of the choice among them


def fit_lines(
    scores: Sequence[Mapping[str, float]],
    truth: Sequence[Sequence[str]],
    taxonomy: Taxonomy,
    mutually_exclusive: bool = False,
    offsets: Mapping[str, float] | None = None,
) -> LabelThreshold:
    """The line of each label, and a threshold.

    For a single label, mutually exclusive scores stay so. For several labels they become a probability per label
    (``LabelThreshold.separate``), with the threshold of the highest expected F1.

    Args:
        scores: per text, the score of each label; labels that a shortlist left out are missing.
        truth: per text, the true labels.
        taxonomy: the labels.
        mutually_exclusive: whether the scores of a text and that of "none" sum to 1.
        offsets: known offsets of the labels, such as those against bias, from which the fit starts.
    """
    import numpy as np

    shares = mutually_exclusive and not taxonomy.multi
    outcomes = [*taxonomy.names, NONE] if shares and taxonomy.allow_none else [*taxonomy.names]
    known = np.array([(offsets or {}).get(name, 0.0) for name in outcomes])
    shape = (len(scores), len(outcomes))
    logits = np.array([_inputs(row, outcomes, shares) for row in scores], float).reshape(shape) + known
    targets = np.array([[name in (names or (NONE,)) for name in outcomes] for names in truth], float).reshape(shape)
    if shares:  # a shortlist may leave the true label out
        kept = (targets * np.isfinite(logits)).sum(axis=1) == 1
        logits, targets = logits[kept], targets[kept]
    slopes, shifts = _best_lines(logits, targets, _softmax if shares else _sigmoid)
    shifts = shifts + slopes * known
    line = LabelThreshold(
        0.0,
        dict(zip(outcomes, map(float, shifts), strict=True)),
        dict(zip(outcomes, map(float, slopes), strict=True)),
        mutually_exclusive and not shares,
    )
    if shares:
        return line
    found = [score for row in scores for score in line.adjusted(row, mutually_exclusive).values()]
    return LabelThreshold(best_cut(np.array(found)), line.logit_offsets, line.slopes, line.separate)


def best_cut(probabilities: Numbers) -> float:
    """The threshold of the highest expected F1 for calibrated probabilities, shape (decisions,).

    The empirically best threshold overfits few texts (Lipton, Elkan and Naryanaswamy 2014, arXiv 1402.1892).
    """
    import numpy as np

    falling = np.sort(probabilities)[::-1]
    expected = falling.cumsum() / (np.arange(1, len(falling) + 1) + probabilities.sum())
    best = int(expected.argmax())
    below = falling[best + 1] if best + 1 < len(falling) else 0.0
    return float((falling[best] + below) / 2)


def _inputs(scores: Mapping[str, float], outcomes: Sequence[str], shares: bool) -> list[float]:
    """Log-shares or log-odds; NaN for outcomes that were not offered."""
    every = {**scores, NONE: none_probability(scores)} if shares else scores
    return [(math.log(max(_LEAST, every[name])) if shares else log_odds(every[name])) if name in every else math.nan
            for name in outcomes]  # fmt: skip


def _best_lines(logits: Numbers, targets: Numbers, likelihood: Likelihood) -> tuple[Numbers, Numbers]:
    """Slopes and shifts, shape (labels,), with the penalties of the highest cross-validated likelihood.

    ``logits`` and ``targets`` have the shape (texts, labels). Many labels or few texts need strong penalties.
    """
    import numpy as np

    folds = np.arange(len(logits)) % _FOLDS

    def unseen(strength: float) -> float:
        total = 0.0
        for fold in range(_FOLDS):
            slopes, shifts = _lines(logits[folds != fold], targets[folds != fold], likelihood, strength)
            rows, true = logits[folds == fold], targets[folds == fold]
            offered = np.isfinite(rows)
            total += likelihood(np.where(offered, slopes * rows + shifts, 0.0), true, offered)[1]
        return total

    return _lines(logits, targets, likelihood, min(_STRENGTHS, key=unseen))


def _lines(logits: Numbers, targets: Numbers, likelihood: Likelihood, strength: float) -> tuple[Numbers, Numbers]:
    """Slopes and shifts of the highest posterior."""
    import numpy as np
    from scipy.optimize import minimize

    offered = np.isfinite(logits)
    known = logits[offered]
    mean, spread = (known.mean(), max(float(known.std()), _LEAST)) if known.size else (0.0, 1.0)
    inputs = np.where(offered, (logits - mean) / spread, 0.0)
    labels = logits.shape[1]
    penalties = strength * np.array([[_SLOPE], [_OFFSET]])

    def loss(numbers: Numbers) -> tuple[float, Numbers]:
        common, own = numbers[:2], numbers[2:].reshape(2, labels)
        lines = (common[0] + own[0]) * inputs + common[1] + own[1]
        probabilities, value = likelihood(lines, targets, offered)
        errors = np.where(offered, probabilities - targets, 0.0)
        changes = np.stack([(errors * inputs).sum(axis=0), errors.sum(axis=0)])
        away = common - start
        value += 0.5 * float((penalties * own**2).sum() + _COMMON * (away**2).sum())
        gradient = np.concatenate([changes.sum(axis=1) + _COMMON * away, (changes + penalties * own).ravel()])
        return value, gradient

    start = np.array([spread, mean])  # the identity
    bounds = [(0.0, None), *[(None, None)] * (2 * labels + 1)]  # scores never count against all labels
    found = minimize(loss, np.concatenate([start, np.zeros(2 * labels)]), jac=True, method="L-BFGS-B", bounds=bounds).x
    slopes = np.maximum(found[0] + found[2 : 2 + labels], 0.0) / spread
    return slopes, found[1] + found[2 + labels :] - slopes * mean


def _sigmoid(lines: Numbers, targets: Numbers, offered: Numbers) -> tuple[Numbers, float]:
    """Probabilities of labels by themselves, and the negative log-likelihood."""
    import numpy as np

    losses = np.logaddexp(0, lines) - targets * lines
    return np.exp(-np.logaddexp(0, -lines)), float(losses[offered].sum())


def _softmax(lines: Numbers, targets: Numbers, offered: Numbers) -> tuple[Numbers, float]:
    """Probabilities of mutually exclusive labels, and the negative log-likelihood."""
    import numpy as np

    lines = np.where(offered, lines, -np.inf)
    logs = lines - np.logaddexp.reduce(lines, axis=1, keepdims=True)
    return np.exp(logs), -float(logs[targets > 0].sum())
