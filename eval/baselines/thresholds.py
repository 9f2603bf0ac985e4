"""How probabilities become labels: thresholds learnt from validation texts, stored with the model.

A label's threshold is not the cut that happened to be best on those texts, which is much luck where the label is rare.
Its probabilities are put right first, by two numbers (Platt 1999); the threshold is then where the F1 to be expected of
right probabilities is highest (Lipton, Elkan and Naryanaswamy 2014, arXiv 1402.1892). Fifths of TMDB's validation films
that had no part in it came to .2 to .6 points of micro-F1 more so than by the best cuts, three systems asked, and to
−.1 to .4 of macro-F1; tuned for micro-F1, to .3 to .5 of micro- and −.2 to .7 of macro-F1. Ten texts tell enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from eval.calibration import log_odds
from eval.metrics.classification import Labels

Rule = Literal["global", "per-label", "top-k", "best"]
Objective = Literal["micro", "macro", "both"]

_OWN: Mapping[Objective, float] = {"micro": 0.0, "macro": 1.0, "both": 0.5}  # how far a threshold is the label's own
_SHRINKAGE = 5.0  # a label with so many validation texts has its threshold half-way between its own and the common one
_STEPS = 100
_LEAST = 1e-6
# How firmly a label's calibration is held to that of all labels: log-likelihood that a slope twice as steep has to
# bring, and a shift by 1. Between 5 and .5 and 200 and 10 it hardly matters on films.
_SLOPE_HELD, _SHIFT_HELD = 100.0, 5.0
_HARDLY = 1e-3  # how that of all labels is held: so that it comes to an end where true and false part without overlap
_FLATTEST = 0.01  # a score that speaks against its label is still taken to speak for it, if softly


@dataclass(frozen=True)
class Decoding:
    """From probabilities to labels.

    Attributes:
        rule: ``global`` and ``per-label`` compare with thresholds, ``top-k`` takes as many for every text, ``best``
            takes one.
        thresholds: one per label in taxonomy order; a label is given from its threshold on.
        k: how many labels ``top-k`` takes.
        objective: the F1 that was tuned for; ``both`` is the mean of micro- and macro-F1.
    """

    rule: Rule
    thresholds: tuple[float, ...] = ()
    k: int = 1
    objective: Objective | None = None

    def choose(self, scores: NDArray[np.floating], most: int, allow_none: bool = False) -> Labels:
        """Which labels are given.

        Args:
            scores: shape (texts, labels).
            most: at most so many labels a text; those of the highest scores stay.
            allow_none: whether a text may go without; else its best label is given where none passes.
        """
        order = (-scores).argsort(axis=1, kind="stable").argsort(axis=1)  # 0 for the best label of a text
        if self.rule in ("top-k", "best"):
            return np.asarray(order < min(self.k, most))
        passed = (scores >= np.asarray(self.thresholds, dtype=scores.dtype)) & (_place_among(scores, self) < most)
        return passed if allow_none else passed | ((order == 0) & ~passed.any(axis=1, keepdims=True))

    def as_json(self) -> dict[str, Any]:
        """The decoding as the manifest holds it."""
        return asdict(self)

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> Decoding:
        """The decoding that a manifest holds."""
        return cls(**{**kept, "thresholds": tuple(kept["thresholds"])})


def tune(
    scores: NDArray[np.floating], truth: Labels, rule: Rule, objective: Objective, most: int, allow_none: bool = False
) -> Decoding:
    """The decoding of a rule with the best F1 on labelled texts; give it validation texts, never test texts.

    Args:
        scores: probabilities, shape (texts, labels).
        truth: true labels, same shape.
        rule: what to tune; ``best`` has nothing to tune.
        objective: micro-F1, macro-F1, or the mean of both.
        most: at most so many labels a text.
        allow_none: whether a text may go without a label.
    """
    if rule == "best":
        return Decoding("best")
    if rule == "per-label":
        return Decoding("per-label", tuple(_per_label(scores, truth, objective).tolist()), objective=objective)
    if rule == "top-k":
        tried = [Decoding("top-k", k=k, objective=objective) for k in range(1, min(most, truth.shape[1]) + 1)]
    else:
        cuts = np.unique(np.quantile(scores, np.linspace(0, 1, _STEPS)).round(6))
        tried = [Decoding("global", (float(cut),) * truth.shape[1], objective=objective) for cut in cuts]
    return max(tried, key=lambda one: f1(one.choose(scores, most, allow_none), truth, objective))


def f1(predicted: Labels, truth: Labels, objective: Objective) -> float:
    """Micro- or macro-F1 as in ``eval.metrics.classification``, or their mean; a hundred times as fast, for tuning."""
    hits, both = (predicted & truth).sum(axis=0), predicted.sum(axis=0) + truth.sum(axis=0)
    micro, macro = float(2 * hits.sum() / max(1, both.sum())), float((2 * hits / np.maximum(1, both)).mean())
    return {"micro": micro, "macro": macro, "both": (micro + macro) / 2}[objective]


def _per_label(scores: NDArray[np.floating], truth: Labels, objective: Objective) -> NDArray[np.float64]:
    """Per-label thresholds.

    With calibrated probabilities: one threshold for micro-F1, one per label for macro-F1, and half-way between for
    both.
    """
    odds = log_odds(scores)
    slopes, shifts = _calibration(odds, truth)
    right = expit(slopes * odds + shifts)
    common = _best_cut(right.ravel())
    cuts = [
        _drawn(_best_cut(column), common, _OWN[objective] * support / (support + _SHRINKAGE))
        for column, support in zip(right.T, truth.sum(axis=0), strict=True)
    ]
    found: NDArray[np.float64] = expit((log_odds(np.array(cuts)) - shifts) / slopes)
    return found


def _calibration(odds: NDArray[np.float64], truth: Labels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and offset that calibrate each label's log-odds.

    The values that are best for all labels together, and each label's deviation from them, shrunk towards them.
    """
    middle, spread = odds.mean(), max(odds.std(), _LEAST)  # scores may lie closely together
    steepness, height = _fitted((odds.ravel() - middle) / spread, truth.ravel(), _HARDLY, _HARDLY)
    slope, shift = steepness / spread, height - steepness * middle / spread
    own = [
        _fitted(slope * column + shift, true, _SLOPE_HELD, _SHIFT_HELD)
        for column, true in zip(odds.T, truth.T, strict=True)
    ]
    slopes, shifts = np.array(own).T
    return slopes * slope, slopes * shift + shifts


def _fitted(odds: NDArray[np.float64], truth: NDArray[np.bool_], slope_held: float, shift_held: float) -> Any:
    """Slope and shift of one logistic regression, held to 1 and 0."""

    def loss(numbers: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope, shift = numbers
        logits = slope * odds + shift
        over = expit(logits) - truth
        held = slope_held * (slope - 1) ** 2 + shift_held * shift**2
        entropy = float((np.logaddexp(0, logits) - truth * logits).sum())
        ways = [over @ odds + 2 * slope_held * (slope - 1), over.sum() + 2 * shift_held * shift]
        return entropy + held, np.array(ways)

    return minimize(loss, [1.0, 0.0], jac=True, bounds=[(_FLATTEST, None), (None, None)], method="L-BFGS-B").x


def _best_cut(right: NDArray[np.float64]) -> float:
    """From which probability on a label is best given for the F1 to be expected, if probabilities are right."""
    falling = np.sort(right)[::-1]
    expected = falling.cumsum() / (np.arange(1, len(falling) + 1) + right.sum())
    best = int(expected.argmax())
    below = falling[best + 1] if best + 1 < len(falling) else 0.0
    return float((falling[best] + below) / 2)


def _drawn(own: float, common: float, share: float) -> float:
    """Threshold between the common one and the label's own, in log-odds.

    For a label that cannot be predicted, expected F1 is best where every text gets it, so its own threshold is shrunk.
    """
    own_odds, common_odds = log_odds(np.array([own, common]))
    return float(expit(share * own_odds + (1 - share) * common_odds))


def _place_among(scores: NDArray[np.floating], decoding: Decoding) -> NDArray[np.intp]:
    """Each label's place, best first, among those of its text that pass."""
    passed = scores >= np.asarray(decoding.thresholds, dtype=scores.dtype)
    ranked = np.where(passed, scores, -np.inf)
    return np.asarray((-ranked).argsort(axis=1, kind="stable").argsort(axis=1))


RULES: tuple[Rule, ...] = ("global", "per-label", "top-k")
OBJECTIVES: tuple[Objective, ...] = ("micro", "macro", "both")
