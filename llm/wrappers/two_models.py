"""A small classifier first, the large one only where the small one is unsure.

Source of the idea in this field: arXiv 2605.18796 (a third of the cost saved at equal F1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from llm.classifier import Classifier, Prediction
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts


@dataclass(frozen=True)
class Cascade:
    """Keeps the small classifier's answer where its margin is wide enough; each answer's source says who gave it.

    Attributes:
        small: gives scores for every label.
        large: asked about the rest.
        margin: the least margin at which the small one is trusted; choose it by ``fit_margin``.
    """

    small: Classifier
    large: Classifier
    margin: float

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self.small.name}, where unsure {self.large.name}"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``."""
        texts = checked_texts(texts)
        predictions = self.small.classify(texts, taxonomy)
        unsure = [place for place, found in enumerate(predictions) if margin(found) < self.margin]
        for place, found in zip(unsure, self.large.classify([texts[p] for p in unsure], taxonomy), strict=True):
            predictions[place] = found
        return predictions


def margin(prediction: Prediction) -> float:
    """Margin between the returned labels and the others.

    It is the lowest score of the former minus the highest of the latter: 0 where there is nothing to compare, infinite
    where every label is returned.
    """
    if prediction.problem or not prediction.scores or not prediction.labels:
        return 0.0
    given = min(prediction.scores[name] for name in prediction.labels)
    others = [score for name, score in prediction.scores.items() if name not in prediction.labels]
    return given - max(others) if others else math.inf


@dataclass(frozen=True)
class FittedMargin:
    """A margin, and what it gives on the texts that it was chosen on: share of texts for the large one, micro-F1."""

    margin: float
    share: float
    micro_f1: float


def fit_margin(
    small: Sequence[Prediction], large: Sequence[Prediction], truth: Sequence[Sequence[str]], loss: float
) -> FittedMargin:
    """The margin that asks the large classifier least often while losing at most ``loss`` of its micro-F1.

    Where no margin does, it is infinite: the large classifier is asked about each text that the small one does not
    give every label.

    Args:
        small: the small classifier's predictions for validation texts.
        large: the large one's for the same texts.
        truth: the true labels.
        loss: how much micro-F1 may be lost against the large one alone.
    """
    own, others = (_hits(found, truth) for found in (small, large))
    hits, given, true = sum(own), sum(len(found.labels) for found in small), sum(map(len, truth))
    target = _micro_f1(sum(others), sum(len(found.labels) for found in large), true) - loss
    margins = [margin(found) for found in small]
    asked, order = 0, sorted(range(len(small)), key=margins.__getitem__)
    # One pass over the texts. Those of equal margin are asked about together, as ``Cascade`` does.
    for edge, places in groupby(order, key=margins.__getitem__):
        if edge == math.inf or _micro_f1(hits, given, true) >= target:
            return FittedMargin(edge, asked / len(small), _micro_f1(hits, given, true))
        for place in places:
            asked += 1
            hits += others[place] - own[place]
            given += len(large[place].labels) - len(small[place].labels)
    return FittedMargin(math.inf, asked / max(1, len(small)), _micro_f1(hits, given, true))


def _hits(predictions: Sequence[Prediction], truth: Sequence[Sequence[str]]) -> list[int]:
    """How many labels of each text are true."""
    return [len(set(found.labels) & set(names)) for found, names in zip(predictions, truth, strict=True)]


def _micro_f1(hits: int, given: int, true: int) -> float:
    return 2 * hits / max(1, given + true)


_OUTAGE = frozenset(["unreachable", "busy"])


@dataclass(frozen=True)
class Fallback:
    """Asks the second classifier where the first could not be reached; each answer's source says who gave it.

    An unreadable or refused answer stays a problem: it says something about the text or the model, not about an outage.
    Put a cache inside, around ``first``; a cache outside would remember an outage's answers as the model's.
    """

    first: Classifier
    second: Classifier

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self.first.name}, else {self.second.name}"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``."""
        texts = checked_texts(texts)
        predictions = self.first.classify(texts, taxonomy)
        lost = [place for place, found in enumerate(predictions) if found.problem and found.problem.kind in _OUTAGE]
        if lost:
            second = self.second.classify([texts[place] for place in lost], taxonomy)
            for place, prediction in zip(lost, second, strict=True):
                predictions[place] = prediction
        return predictions


@dataclass(frozen=True)
class Shortlist:
    """Lets a small classifier choose candidates and a large one answer from them.

    A taxonomy of no more than ``candidates`` labels goes through whole. Texts with the same candidates are asked
    about together.

    Attributes:
        small: scores every label of the taxonomy.
        large: answers.
        candidates: how many labels it is shown.
    """

    small: Classifier
    large: Classifier
    candidates: int

    @property
    def name(self) -> str:
        """The large classifier's name."""
        return self.large.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; labels that were no candidates have no score."""
        texts = checked_texts(texts)
        if len(taxonomy.names) <= self.candidates:
            return self.large.classify(texts, taxonomy)
        scored = self.small.classify(texts, taxonomy)
        answers: list[Prediction] = list(scored)  # a text that the small one could not read keeps its problem
        groups: dict[Taxonomy, list[int]] = {}
        for place, found in enumerate(scored):
            if not found.problem:
                groups.setdefault(self._narrow(found, taxonomy), []).append(place)
        for narrow, places in groups.items():
            for place, found in zip(places, self.large.classify([texts[p] for p in places], narrow), strict=True):
                answers[place] = replace(found, source=replace(found.source, taxonomy=taxonomy.versioned_name))
        return answers

    def _narrow(self, found: Prediction, taxonomy: Taxonomy) -> Taxonomy:
        likely = set(sorted(found.scores, key=lambda name: -found.scores[name])[: self.candidates])
        return replace(taxonomy, labels=tuple(label for label in taxonomy.predictable if label.name in likely))
