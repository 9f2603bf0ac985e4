"""Split conformal prediction: thresholds from labelled texts that were not trained on.

A nonconformity score says how badly a label fits a text. If the texts to label and the ``n`` calibration texts are
exchangeable, the score of a right label is at most the ``ceil((n + 1) * coverage)``-th smallest calibration score with
a probability of at least ``coverage`` (Vovk, Gammerman and Shafer 2005; Angelopoulos and Bates 2021, arXiv 2107.07511).
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

_PENALTIES = (0.0, 0.001, 0.01, 0.1, 1.0)  # of ``fit_penalty``
_LEAST_TO_TUNE = 100  # texts
_TUNING_SHARE = 5  # one text in five
Scores = Mapping[str, float]


def needed_texts(coverage: float) -> int:
    """The least number of calibration texts for a finite quantile: 9 for a coverage of .9, 19 for .95."""
    exact = _exact(coverage)
    return math.ceil(exact / (1 - exact))


def rank_of(count: int, coverage: float) -> int:
    """Rank of the quantile among ``count`` scores, from 1 on; above ``count`` where there are too few."""
    return math.ceil((count + 1) * _exact(coverage))


def quantile(scores: Sequence[float], coverage: float) -> float:
    """The conformal quantile of nonconformity scores; infinite where there are too few (``needed_texts``)."""
    rank = rank_of(len(scores), coverage)
    return sorted(scores)[rank - 1] if rank <= len(scores) else math.inf


def label_threshold(scores: Sequence[float], coverage: float) -> float:
    """The least score at which a label is in the set, from its scores for texts where it is right; -inf: always."""
    return -quantile([-score for score in scores], coverage)


@dataclass(frozen=True)
class AdaptiveScore:
    """The nonconformity score of adaptive prediction sets (RAPS; Angelopoulos et al. 2021, arXiv 2009.14193).

    It is the share of all labels that rank above a label, plus a penalty per rank beyond ``free``. Without the penalty
    these are the sets of Romano et al. 2020 (APS, arXiv 2006.02544). Both papers draw a random part of the label's own
    share, which makes the coverage exact and answers random. Here that part is left out: the same text always has the
    same set, the best label is in every set, and the coverage may be higher than requested.

    Attributes:
        penalty: added for each rank beyond ``free``.
        free: ranks without a penalty.
    """

    penalty: float = 0.0
    free: int = 1

    def of_labels(self, scores: Scores) -> dict[str, float]:
        """The score of each label, the best first; scores are normalised to a sum of 1."""
        total, above = sum(scores.values()) or 1.0, 0.0
        found = {}
        for rank, name in enumerate(_ranked(scores), 1):
            found[name] = above / total + self.penalty * max(0, rank - self.free)
            above += scores[name]
        return found

    def of_text(self, scores: Scores, right: Sequence[str]) -> float:
        """The score of a text: that of its right label; infinite where the label was not scored."""
        found = self.of_labels(scores)
        return max(found.get(name, math.inf) for name in right)


def fit_penalty(
    rows: Sequence[Scores], right: Sequence[Sequence[str]], coverage: float
) -> tuple[AdaptiveScore, list[int]]:
    """Choose the penalty with the smallest sets on a fifth of the texts, as in the paper of RAPS.

    Args:
        rows: per text, the score of each label.
        right: per text, its right labels.
        coverage: of the sets.

    Returns:
        The score, and the places of the other texts, which the quantile has to come from: texts that choose the
        penalty have no valid quantile under it. With too few texts to spare, there is no penalty and all are left.
    """
    places = list(range(len(rows)))
    tuning = set(random.Random(0).sample(places, len(rows) // _TUNING_SHARE))
    rest = [place for place in places if place not in tuning]
    if len(rows) < _LEAST_TO_TUNE or len(rest) < needed_texts(coverage):
        return AdaptiveScore(), places
    tried = [(rows[place], right[place]) for place in sorted(tuning)]
    rank = quantile([_rank(row, labels) for row, labels in tried], coverage)
    free = int(rank) if math.isfinite(rank) else 1
    candidates = [AdaptiveScore(penalty, free) for penalty in _PENALTIES]
    return min(candidates, key=lambda one: _mean_size(one, tried, coverage)), rest


def _ranked(scores: Scores) -> list[str]:
    return sorted(scores, key=lambda name: -scores[name])


def _rank(scores: Scores, right: Sequence[str]) -> float:
    """The rank of the right label, from 1 on; infinite where it was not scored."""
    ranks = {name: rank for rank, name in enumerate(_ranked(scores), 1)}
    return max(ranks.get(name, math.inf) for name in right)


def _mean_size(score: AdaptiveScore, tried: Sequence[tuple[Scores, Sequence[str]]], coverage: float) -> float:
    limit = quantile([score.of_text(row, labels) for row, labels in tried], coverage)
    return sum(sum(value <= limit for value in score.of_labels(row).values()) for row, _ in tried) / len(tried)


def _exact(coverage: float) -> Fraction:
    """The decimal number that was written: ``(9 + 1) * 0.9`` must not round up to 10."""
    return Fraction(repr(coverage))
