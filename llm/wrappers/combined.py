"""Classifiers that combine answers: of two others (cascade, fallback, shortlist), or under several label orders."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby

from llm.calibration.certified import CertifiedStore
from llm.classifier import Classifier, LabelsOffered, Prediction, total_usage
from prompts.taxonomy import OUT_OF_SCOPE, Label, Taxonomy
from prompts.text import Text, checked_texts
from prompts.variants import Candidates, Variant

CANDIDATES = 20  # labels in a prompt of a longer taxonomy, where the settings name no number
_OUTAGE = frozenset(["unreachable", "busy"])


@dataclass(frozen=True)
class Cascade:
    """A small classifier for every text, a large one for texts whose ``margin`` is lower; see ``fit_margin``.

    With ``CertifiedStore``, the margins are those of the taxonomy; the large one answers every text of a taxonomy that
    has none. Saves a third of the cost at equal F1 (arXiv 2605.18796).
    """

    small: Classifier
    large: Classifier
    margin: float | CertifiedStore

    @property
    def name(self) -> str:
        return f"{self.small.name}, where unsure {self.large.name}"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; the source of a prediction names the model."""
        texts = checked_texts(texts)
        predictions = self.small.classify(texts, taxonomy)
        unsure = [place for place, prediction in enumerate(predictions) if not self._is_sure(prediction, taxonomy)]
        answers = self.large.classify([texts[place] for place in unsure], taxonomy)
        if isinstance(self.margin, CertifiedStore) and unsure:
            self.margin.check_model(predictions[unsure[0]].source.model, answers, taxonomy)
        _replace(predictions, unsure, answers)
        return predictions

    def _is_sure(self, prediction: Prediction, taxonomy: Taxonomy) -> bool:
        if isinstance(self.margin, CertifiedStore):
            return self.margin.accepts(prediction, margin(prediction), taxonomy)
        return margin(prediction) >= self.margin


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

    A taxonomy of at most ``candidates`` labels goes to the large one directly. Otherwise ``Prediction.shortlist`` says
    how many labels the large one saw. Candidates keep the order of the taxonomy; texts with the same candidates share
    a batch.
    """

    small: Classifier
    large: Classifier
    candidates: int = CANDIDATES

    @property
    def name(self) -> str:
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
            offered = LabelsOffered(len(candidates.names), len(taxonomy.names))
            sources = [replace(one.source, taxonomy=taxonomy.versioned_name) for one in answers]
            answers = [
                replace(one, source=source, shortlist=offered) for one, source in zip(answers, sources, strict=True)
            ]
            _replace(predictions, places, answers)
        return predictions

    def _candidates(self, scored: Prediction, taxonomy: Taxonomy) -> Taxonomy:
        best = set(sorted(scored.scores, key=lambda name: -scored.scores[name])[: self.candidates])
        labels = tuple(label for label in taxonomy.predictable if label.name in best)
        return _variant(Candidates, taxonomy, labels)


def label_permutations(taxonomy: Taxonomy, number: int, seed: int = 0) -> list[Taxonomy]:
    """The taxonomy in its own order and in ``number - 1`` random ones, the same for the same seed."""
    generator = random.Random(seed)
    permutations = [taxonomy]
    while len(permutations) < number:
        labels = list(taxonomy.labels)
        generator.shuffle(labels)
        permutations.append(_variant(Variant, taxonomy, tuple(labels)))
    return permutations


@dataclass(frozen=True)
class OrderEnsemble:
    """Majority vote per label over label permutations, at ``number`` times the cost; of a single label, the most votes.

    Scores are means over the permutations, or shares of votes where the inner classifier gives no scores.
    """

    inner: Classifier
    number: int
    seed: int = 0

    @property
    def name(self) -> str:
        return self.inner.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; a text that fails under one permutation fails."""
        texts = checked_texts(texts)
        rounds = [self.inner.classify(texts, order) for order in label_permutations(taxonomy, self.number, self.seed)]
        return [_majority([answers[place] for answers in rounds], taxonomy) for place in range(len(texts))]


def _variant(kind: type[Variant], taxonomy: Taxonomy, labels: tuple[Label, ...]) -> Taxonomy:
    if type(taxonomy) is not Taxonomy:  # a variant keeps its ``whole``, and a hierarchy its levels
        return replace(taxonomy, labels=labels)
    shape = {field.name: getattr(taxonomy, field.name) for field in fields(taxonomy)}
    return kind(**{**shape, "labels": labels}, whole=taxonomy.versioned_name)


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

    Where no margin fulfils this, it is infinite: only texts with every label are not sent to the large one. The
    predictions are those of both classifiers for the same validation texts.
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
    return [len(set(one.labels) & set(names)) for one, names in zip(predictions, truth, strict=True)]


def _micro_f1(hits: int, predicted: int, true: int) -> float:
    return 2 * hits / max(1, predicted + true)


@dataclass(frozen=True)
class OrderSensitivity:
    """How decisions about labels differ between permutations."""

    decisions: int  # number of pairs of a text and a label
    ever: float  # share of pairs that are not the same under every permutation
    minority: float  # mean share of permutations that differ from a pair's majority
    failed: int  # number of texts with a problem under some permutation; they are not counted


def order_sensitivity(
    classifier: Classifier, texts: Sequence[str | Text], taxonomy: Taxonomy, number: int, seed: int = 0
) -> OrderSensitivity:
    """Classify the texts under ``number`` permutations and compare the decisions."""
    rounds = [classifier.classify(texts, order) for order in label_permutations(taxonomy, number, seed)]
    answered = [place for place in range(len(texts)) if not any(answers[place].problem for answers in rounds)]
    votes = [sum(name in answers[place].labels for answers in rounds) for place in answered for name in taxonomy.names]
    against = [min(count, number - count) for count in votes]
    decisions = max(1, len(votes))
    ever = sum(count > 0 for count in against) / decisions
    return OrderSensitivity(len(votes), ever, sum(against) / number / decisions, len(texts) - len(answered))


def _majority(answers: Sequence[Prediction], taxonomy: Taxonomy) -> Prediction:
    usage = total_usage([answer.usage for answer in answers])
    source = replace(answers[0].source, taxonomy=taxonomy.versioned_name)
    if problem := next((answer.problem for answer in answers if answer.problem), None):
        return Prediction((), source, problem=problem, usage=usage)
    votes = Counter(name for answer in answers for name in answer.labels)
    scored = all(answer.scores.keys() >= set(taxonomy.names) for answer in answers)
    scores = {
        name: sum(answer.scores[name] if scored else name in answer.labels for answer in answers) / len(answers)
        for name in taxonomy.names
    }
    ranked = sorted(taxonomy.names, key=lambda name: (-votes[name], -scores[name]))
    chosen = [name for name in ranked if 2 * votes[name] > len(answers)][: taxonomy.max_labels]
    none = not votes if taxonomy.allow_none == OUT_OF_SCOPE else taxonomy.allow_none
    if none and not taxonomy.multi:  # "none" is one of the alternatives, and the most votes win
        none = votes[ranked[0]] < sum(not answer.labels for answer in answers)
    labels = tuple(chosen or ([] if none else ranked[:1]))
    score_type = answers[0].score_type if scored else "probability"
    cached = all(answer.cached for answer in answers)
    kept = {name: scores[name] for name in ranked}
    return Prediction(labels, source, kept, usage=usage, cached=cached, score_type=score_type)
