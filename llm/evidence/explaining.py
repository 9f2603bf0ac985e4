"""Evidence for predictions: ``Explainer`` finds out which model answered, and has it explained.

It works on finished predictions, so labels and scores are the same with and without evidence, and a request without
evidence runs none of this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from llm.classifier import MOST_EXPLAINED, Classifier, Evidence, Prediction, Usage, total_usage
from llm.embedded.matcher import Matcher
from llm.evidence.embedded import evidence
from llm.evidence.quotes import Quote, Quoter, QuoteRequest
from llm.language_model import LanguageModel
from llm.request_context import CURRENT_REQUEST, waiting_problem
from llm.wrappers.admission import AdmissionControl, MicroBatched
from llm.wrappers.cache import Cached
from llm.wrappers.fusion import JOIN
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts
from similarity.errors import Rejected
from similarity.micro_batching import Admission

_BEYOND = f"only the first {MOST_EXPLAINED} labels are explained"
_NOT_RAISED = "no sentence or word by itself raises its score"


@dataclass(frozen=True)
class _Found:
    """What was found for one prediction; ``reasons`` say by label why a model has no evidence."""

    evidence: list[Evidence] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    usage: Usage = Usage()


class Explainer:
    """Adds evidence to the predictions of a classifier.

    Args:
        classifier: made the predictions; the embedded classifier and the language model are found in its wrappers.
    """

    def __init__(self, classifier: Classifier) -> None:
        parts = list(_parts(classifier))
        self._matcher = next((part for part in parts if isinstance(part, Matcher)), None)
        self._pending = next((part.admission for part in parts if isinstance(part, MicroBatched)), Admission(None))
        model = next((part for part in parts if isinstance(part, LanguageModel)), None)
        gate = next((part.admission for part in parts if isinstance(part, AdmissionControl)), Admission(None))
        cached = next((part for part in parts if isinstance(part, Cached)), None)
        self._quoter = Quoter(model.backend, gate, cached) if model else None

    def explain(
        self, texts: Sequence[str | Text], predictions: Sequence[Prediction], taxonomy: Taxonomy
    ) -> list[Prediction]:
        """The predictions with evidence, in order; one with a problem stays as it is."""
        pairs = list(zip(checked_texts(texts), predictions, strict=True))
        quoted = self._quoted(pairs, taxonomy)
        return [
            prediction if prediction.problem else _with_evidence(prediction, one, self._embedded(*pair, taxonomy))
            for pair, one, prediction in zip(pairs, quoted, predictions, strict=True)
        ]

    def _quoted(self, pairs: Sequence[tuple[Text, Prediction]], taxonomy: Taxonomy) -> list[_Found]:
        """Quotes for the predictions of the language model, requested together."""
        labels = {label.name: label for label in taxonomy.predictable}
        requests = [
            [QuoteRequest(text, labels[name]) for name in prediction.labels[:MOST_EXPLAINED]]
            if self._quoter and prediction.source.strategy
            else []
            for text, prediction in pairs
        ]
        wanted = [one for row in requests for one in row]
        quotes = iter(self._quoter.quotes(wanted) if self._quoter else ())
        return [_of_quotes(row, list(islice(quotes, len(row)))) for row in requests]

    def _embedded(self, text: Text, prediction: Prediction, taxonomy: Taxonomy) -> _Found:
        """The evidence of the embedded classifier, alone or as a part of a fusion."""
        labels, source = prediction.labels[:MOST_EXPLAINED], prediction.source
        if not self._matcher or source.model.rpartition(JOIN)[2] != self._matcher.name:
            unknown = f"{source.model} gives no evidence; the embedded classifier and language models do"
            return _Found(reasons=dict.fromkeys([] if source.strategy else labels, unknown))
        if stopped := CURRENT_REQUEST.get().stop_reason:
            return _Found(reasons=dict.fromkeys(labels, stopped.detail))
        try:
            with self._pending.admit():
                found = evidence(self._matcher, text, labels, taxonomy)
        except Rejected as error:
            return _Found(reasons=dict.fromkeys(labels, waiting_problem(error).detail))
        return _Found(found, dict.fromkeys(labels, _NOT_RAISED))


def _of_quotes(requests: Sequence[QuoteRequest], quotes: Sequence[Quote]) -> _Found:
    read = [(request.label.name, quote.evidence(request)) for request, quote in zip(requests, quotes, strict=True)]
    return _Found(
        [one for _, one in read if isinstance(one, Evidence)],
        {name: one for name, one in read if isinstance(one, str)},
        total_usage([quote.usage for quote in quotes]),
    )


def _with_evidence(prediction: Prediction, *parts: _Found) -> Prediction:
    """The prediction with its evidence by label, and a reason for every label without any."""
    reasons = dict.fromkeys(prediction.labels, _BEYOND)
    for part in reversed(parts):
        reasons |= part.reasons
    found = [one for name in prediction.labels for part in parts for one in part.evidence if one.label == name]
    explained = {one.label for one in found}
    return replace(
        prediction,
        evidence=tuple(found),
        unexplained={name: reason for name, reason in reasons.items() if name not in explained},
        usage=total_usage([prediction.usage, *(part.usage for part in parts)]),
    )


def _parts(classifier: Any) -> Iterator[Any]:
    """A classifier and those inside its wrappers, from the outside in."""
    yield classifier
    for value in getattr(classifier, "__dict__", {}).values():
        if hasattr(value, "classify"):
            yield from _parts(value)
