"""The requests that a language model would receive within its wrappers (shortlist, descent, orders); none is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llm.backends.backend import Conversation
from llm.classifier import AnswerSource, Classifier, Prediction, Problem
from llm.language_model import LanguageModel
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts


@dataclass(frozen=True)
class Rehearsed:
    """The requests about one text and the labels of one taxonomy."""

    taxonomy: Taxonomy
    conversations: Sequence[Conversation]


@dataclass(frozen=True)
class Rehearsal:
    """A classifier in place of a language model that renders its requests.

    Attributes:
        model: renders the requests.
        answers: answers in its place, where further requests depend on the answers; None: each text gets a problem.
        requests: those that were rendered, in order.
    """

    model: LanguageModel
    answers: Classifier | None = None
    requests: list[Rehearsed] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.model.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``."""
        found = checked_texts(texts)
        self.requests.extend(
            Rehearsed(taxonomy, self.model.conversations(text, taxonomy)) for text in found if not text.empty
        )
        if self.answers:
            return self.answers.classify(found, taxonomy)
        source = AnswerSource(self.name, taxonomy.versioned_name)
        return [Prediction((), source, problem=Problem("unreadable", "nothing was sent"))] * len(found)
