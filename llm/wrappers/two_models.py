"""Classifiers that combine two others: cascade, fallback and shortlist."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from llm.classifier import Classifier, Prediction
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts

_OUTAGE = frozenset(["unreachable", "busy"])


@dataclass(frozen=True)
class Cascade:
    """A small classifier for every text, a large one for texts with a low margin (``margin``).

    Saves a third of the cost at equal F1 (arXiv 2605.18796).

    Attributes:
        small: scores every label.
        large: classifies the rest.
        margin: minimum margin of the small one's answers; choose it with ``fit_margin``.
    """

    small: Classifier
    large: Classifier
    margin: float

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self.small.name}, where unsure {self.large.name}"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; the source of a prediction names the model."""
        texts = checked_texts(texts)
        predictions = self.small.classify(texts, taxonomy)
        unsure = [place for place, prediction in enumerate(predictions) if margin(prediction) < self.margin]
        _replace(predictions, unsure, self.large.classify([texts[place] for place in unsure], taxonomy))
        return predictions


@dataclass(frozen=True)
class Fallback:
    """A second classifier for texts whose first classifier is unreachable or busy.

    Unreadable and refused answers stay problems: they depend on the text or the model, not on an outage. Put a cache
    around ``first`` only; a cache outside would store the second classifier's answers as those of the first.
    """

    first: Classifier
    second: Classifier

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self.first.name}, else {self.second.name}"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; the source of a prediction names the model."""
        texts = checked_texts(texts)
        predictions = self.first.classify(texts, taxonomy)
        failed = [place for place, one in enumerate(predictions) if one.problem and one.problem.kind in _OUTAGE]
        if failed:
            _replace(predictions, failed, self.second.classify([texts[place] for place in failed], taxonomy))
        return predictions


@dataclass(frozen=True)
class Shortlist:
    """A small classifier selects the labels that a large one chooses from (arXiv 2502.08436).

    A taxonomy of at most ``candidates`` labels goes to the large one directly. Texts with the same candidates share a
    batch.

    Attributes:
        small: scores every label of the taxonomy.
        large: chooses from the candidates.
        candidates: number of labels per text.
    """

    small: Classifier
    large: Classifier
    candidates: int

    @property
    def name(self) -> str:
        """The large classifier's name."""
        return self.large.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; labels that are not candidates have no score."""
        texts = checked_texts(texts)
        if len(taxonomy.names) <= self.candidates:
            return self.large.classify(texts, taxonomy)
        predictions = list(self.small.classify(texts, taxonomy))  # texts with a problem keep it
        groups: dict[Taxonomy, list[int]] = {}
        for place, scored in enumerate(predictions):
            if not scored.problem:
                groups.setdefault(self._candidates(scored, taxonomy), []).append(place)
        for candidates, places in groups.items():
            answers = self.large.classify([texts[place] for place in places], candidates)
            sources = [replace(one.source, taxonomy=taxonomy.versioned_name) for one in answers]
            answers = [replace(one, source=source) for one, source in zip(answers, sources, strict=True)]
            _replace(predictions, places, answers)
        return predictions

    def _candidates(self, scored: Prediction, taxonomy: Taxonomy) -> Taxonomy:
        best = set(sorted(scored.scores, key=lambda name: -scored.scores[name])[: self.candidates])
        return replace(taxonomy, labels=tuple(label for label in taxonomy.predictable if label.name in best))


def _replace(predictions: list[Prediction], places: Sequence[int], others: Sequence[Prediction]) -> None:
    for place, other in zip(places, others, strict=True):
        predictions[place] = other


def margin(prediction: Prediction) -> float:
    """Lowest score of the returned labels minus the highest of the others.

    It is 0 where there is nothing to compare, infinite where every label is returned.
    """
    if prediction.problem or not prediction.scores or not prediction.labels:
        return 0.0
    lowest = min(prediction.scores[name] for name in prediction.labels)
    others = [score for name, score in prediction.scores.items() if name not in prediction.labels]
    return lowest - max(others) if others else math.inf


@dataclass(frozen=True)
class FittedMargin:
    """A margin, with the share of texts for the large classifier and the micro-F1 on the texts of the fit."""

    margin: float
    share: float
    micro_f1: float


def fit_margin(
    small: Sequence[Prediction], large: Sequence[Prediction], truth: Sequence[Sequence[str]], loss: float
) -> FittedMargin:
    """The margin with the fewest texts for the large classifier at a micro-F1 at most ``loss`` below its own.

    Where no margin fulfils this, it is infinite: only texts with every label are not sent to the large one.

    Args:
        small: the small classifier's predictions for validation texts.
        large: the large one's for the same texts.
        truth: the true labels.
        loss: accepted loss of micro-F1.
    """
    own, others = (_hits(predictions, truth) for predictions in (small, large))
    hits, predicted, true = sum(own), sum(len(one.labels) for one in small), sum(map(len, truth))
    target = _micro_f1(sum(others), sum(len(one.labels) for one in large), true) - loss
    margins = list(map(margin, small))
    sent, order = 0, sorted(range(len(small)), key=margins.__getitem__)
    # One pass over the texts by margin. Texts of equal margin go together, as in ``Cascade``.
    for edge, places in groupby(order, key=margins.__getitem__):
        if edge == math.inf or _micro_f1(hits, predicted, true) >= target:
            return FittedMargin(edge, sent / len(small), _micro_f1(hits, predicted, true))
        for place in places:
            sent += 1
            hits += others[place] - own[place]
            predicted += len(large[place].labels) - len(small[place].labels)
    return FittedMargin(math.inf, sent / max(1, len(small)), _micro_f1(hits, predicted, true))


def _hits(predictions: Sequence[Prediction], truth: Sequence[Sequence[str]]) -> list[int]:
    """Number of true labels of each prediction."""
    return [len(set(one.labels) & set(names)) for one, names in zip(predictions, truth, strict=True)]


def _micro_f1(hits: int, predicted: int, true: int) -> float:
    return 2 * hits / max(1, predicted + true)
