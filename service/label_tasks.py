"""What a request with options wants of one taxonomy: what the classifier gets, and how predictions become answers."""

from __future__ import annotations

from dataclasses import dataclass

from llm.classifier import Prediction
from marquee.answer_options import AnswerOptions, applied, without_effect
from marquee.factory import RequestOptions
from prompts.taxonomy import Taxonomy
from service.schemas.answer_parts import LookupAnswer
from service.schemas.classify import ClassifyAnswer


@dataclass(frozen=True)
class LabelTask:
    """One taxonomy of a request, with its options.

    Attributes:
        taxonomy: the labels, in the form of the request.
        options: what the request chooses of the classifier.
        answer: what it chooses of the finished answer.
        with_scores: whether the answer has scores.
        genres: whether the answer repeats its labels as genres.
        reports: whether the answer says what was applied.
    """

    taxonomy: Taxonomy
    options: RequestOptions
    answer: AnswerOptions
    with_scores: bool
    genres: bool
    reports: bool

    def taxonomy_for(self, model: str) -> Taxonomy:
        """The taxonomy that a classifier of this name gets."""
        return self.answer.taxonomy_for(self.taxonomy, model)

    def apply(self, prediction: Prediction) -> Prediction:
        """The prediction under ``taxonomy_for`` with the options of the answer."""
        return self.answer.apply(prediction, self.taxonomy)

    def answer_of(self, prediction: Prediction, lookup: LookupAnswer | None = None) -> ClassifyAnswer:
        """The answer of a prediction with the options of the answer."""
        notes = without_effect(self.options, self.answer, prediction)
        report = applied(self.options, self.answer, self.taxonomy, prediction) if self.reports else None
        return ClassifyAnswer.of(prediction, self.with_scores, lookup, self.genres, notes, report)
