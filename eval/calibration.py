"""Logistic (Platt) calibration: log-odds of scores, Platt's targets, and the one fit of slopes and an intercept.

Source: Platt, Probabilistic outputs for support vector machines, 1999. Two fits are of another kind and stay where they
are: ``eval.baselines.thresholds`` shrinks each label to all labels; ``training.matcher.calibration`` shares slopes
among labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
_LEAST = 1e-6  # scores are clipped to [1e-6, 1 - 1e-6]


def log_odds(scores: NDArray[np.floating]) -> Numbers:
    """Log-odds of probabilities, same shape; finite for scores of 0 and 1 too."""
    kept = np.clip(np.asarray(scores, np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(kept / (1 - kept)))


def platt_targets(truth: NDArray[np.bool_]) -> Numbers:
    """Targets between 0 and 1, shape (texts,), so that a few texts, or texts all alike, give no certainty."""
    positive = int(truth.sum())
    return np.where(truth, (positive + 1) / (positive + 2), 1 / (len(truth) - positive + 2))


def fit_logistic(features: NDArray[np.floating], targets: NDArray[Any], c: float = np.inf) -> tuple[Numbers, float]:
    """Fit a logistic regression to targets that may be probabilities.

    Args:
        features: shape (texts, features).
        targets: true or false, or a probability, shape (texts,).
        c: inverse strength of the L2 penalty on the slopes, as in scikit-learn; infinite for none.

    Returns:
        Slopes of shape (features,), and the intercept.
    """
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=c, max_iter=1_000)
    if targets.dtype == bool:
        regression.fit(features, targets)
    else:  # scikit-learn takes classes only: each text counts once as true and once as false, weighed by its target
        classes = np.repeat([1, 0], len(targets))
        regression.fit(np.tile(features, (2, 1)), classes, np.concatenate([targets, 1 - targets]))
    return regression.coef_[0], float(regression.intercept_[0])
