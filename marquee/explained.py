"""Systems whose answers have evidence: ``--explain`` of ``bulk`` and ``evaluate``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from eval.run import OpenedSystem, System
from llm.classifier import Classifier, Prediction
from llm.spending.costs import Preview, with_quotes
from marquee.answer_options import AnswerOptions, classify_with_options
from marquee.factory import RequestOptions
from prompts.taxonomy import Taxonomy
from prompts.text import Text


@dataclass(frozen=True)
class ExplainingClassifier:
    """The predictions of a classifier with their evidence, whose tokens are part of their usage.

    A service behind a client finds its own evidence.
    """

    classifier: Classifier

    @property
    def name(self) -> str:
        return self.classifier.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``."""
        answer = AnswerOptions(explain=True)
        found = classify_with_options(self.classifier, texts, taxonomy, RequestOptions(), answer)
        return [one.prediction for one in found]


def explained(system: System, taxonomy: Taxonomy) -> System:
    """The same system with evidence; rows with and without evidence belong to different runs."""

    def opened() -> OpenedSystem:
        found = system.open()
        return found._replace(classifier=ExplainingClassifier(found.classifier))

    previewed = partial(_with_quotes, system.preview, system, taxonomy) if system.preview else None
    return replace(system, setup={**system.setup, "explain": True}, open=opened, preview=previewed)


def _with_quotes(
    preview: Callable[[Sequence[Text]], Preview], system: System, taxonomy: Taxonomy, texts: Sequence[Text]
) -> Preview:
    return with_quotes(preview(texts), str(system.setup.get("model", "")), texts, taxonomy)
