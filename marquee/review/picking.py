"""Which texts to label next: answers in doubt, and texts that differ from each other. Nothing here is random."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIVERSITY = 0.5
"""Default weight of the similarity to chosen texts, against that of the doubt."""
NONE = "none of the labels"
_UNKNOWN = 0.5  # doubt of an answer without scores
_THRESHOLD = 0.5  # where answers show none


@dataclass(frozen=True)
class Doubt:
    """How uncertain an answer is.

    Attributes:
        value: from 0 (certain) to 1 (undecided).
        why: the scores that say so, in one line.
    """

    value: float
    why: str


def doubt_of(scores: Mapping[str, float], exclusive: bool, allow_none: bool, threshold: float) -> Doubt:
    """The uncertainty of an answer by its scores.

    Of labels that exclude each other, the smaller the margin between the two best scores, the larger the doubt (margin
    sampling; Scheffer et al. 2001). Of others, each label is a decision of its own: the nearer its score to the
    threshold, the larger the doubt, and the label in most doubt counts (uncertainty sampling; Lewis and Gale 1994).

    Args:
        scores: score by label.
        exclusive: whether at most one label applies.
        allow_none: whether the share that the labels leave is that of "none".
        threshold: minimum score of a label in an answer, above 0 and below 1; see ``decision_threshold``.
    """
    if not scores:
        return Doubt(_UNKNOWN, "the answer has no scores")
    if exclusive and len(scores) + allow_none > 1:
        return _by_margin(scores, allow_none)
    nearest = max(scores, key=lambda name: _nearness(scores[name], threshold))
    score = scores[nearest]
    return Doubt(_nearness(score, threshold), f"{nearest} {score:.2f} is near the threshold {threshold:.2f}")


def _by_margin(scores: Mapping[str, float], allow_none: bool) -> Doubt:
    shares = {**scores, NONE: max(0.0, 1 - sum(scores.values()))} if allow_none else scores
    (first, best), (second, next_best) = sorted(shares.items(), key=lambda pair: -pair[1])[:2]
    margin = min(1.0, max(0.0, best - next_best))
    return Doubt(1 - margin, f"{first} {best:.2f} and {second} {next_best:.2f} are {margin:.2f} apart")


def _nearness(score: float, threshold: float) -> float:
    """1 at the threshold, falling to 0 at scores of 0 and 1."""
    score = min(1.0, max(0.0, score))
    return score / threshold if score < threshold else (1 - score) / (1 - threshold)


def decision_threshold(answers: Iterable[tuple[Collection[str], Mapping[str, float]]], most_labels: int) -> float:
    """The minimum score that explains best which labels the answers have: between the scores it separates.

    Args:
        answers: labels and scores of each answer.
        most_labels: maximum number of labels; of an answer with so many, other labels may be above the threshold too,
            and are not counted.
    """
    chosen, others = [], []
    for labels, scores in answers:
        chosen += [score for name, score in scores.items() if name in labels]
        if len(labels) < most_labels:
            others += [score for name, score in scores.items() if name not in labels]
    if not chosen or not others:
        return _THRESHOLD
    places = np.unique([*chosen, *others])  # the threshold lies before one of them
    below = np.searchsorted(np.sort(chosen), places)
    above = len(others) - np.searchsorted(np.sort(others), places)
    place = int((below + above).argmin())
    lower = places[place - 1] if place else places[place]
    return float(np.clip((lower + places[place]) / 2, 0.01, 0.99))


def pick(
    doubts: Sequence[float], vectors: NDArray[np.float32], most: int, diversity: float = DIVERSITY,
    labels: Sequence[Collection[str]] = (),
) -> list[int]:  # fmt: skip
    """Choose texts by maximal marginal relevance (Carbonell and Goldstein 1998), with the doubt as relevance.

    Each choice maximises ``(1 - diversity) * doubt - diversity * similarity``, where the similarity is the highest
    cosine to a text that is chosen already. Of equal values the first counts. With ``labels``, texts with most labels
    that no chosen text has come first.

    Args:
        doubts: uncertainty of each text, from 0 to 1.
        vectors: of the texts, of length 1, shape (texts, dimension).
        most: maximum number of texts.
        diversity: from 0 (only doubt) to 1 (only diversity: k-centre selection, Gonzalez 1985).
        labels: of each text, where they count.

    Returns:
        Places of the chosen texts, in the order of choice.
    """
    relevance = (1 - diversity) * np.asarray(doubts, np.float64)
    nearest = np.full(len(relevance), -1.0)
    chosen: list[int] = []
    seen: set[str] = set()
    while len(chosen) < min(most, len(relevance)):
        values = relevance - diversity * nearest
        if labels:  # a label counts more than the largest difference of the other two
            values += [4 * len(set(own) - seen) for own in labels]
        values[chosen] = -np.inf
        chosen.append(int(values.argmax()))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
        seen |= set(labels[chosen[-1]]) if labels else set()
    return chosen
