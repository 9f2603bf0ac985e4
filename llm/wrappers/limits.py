"""A limit on the requests before a classifier: a request too many is rejected at once, with a time to retry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llm.classifier import AnswerSource, Classifier, Fingerprinting, Prediction, Problem
from llm.request_context import unread, waiting_problem
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts
from similarity.errors import Rejected
from similarity.micro_batching import Admission


@dataclass(frozen=True)
class AdmissionControl:
    """A classifier behind a gate.

    Attributes:
        inner: who answers.
        gate: shared by all classifiers that ask the same model.
    """

    inner: Fingerprinting
    gate: Admission

    @property
    def name(self) -> str:
        """The inner classifier's name."""
        return self.inner.name

    def fingerprint(self, text: Text, taxonomy: Taxonomy) -> str:
        """See ``Fingerprinting.fingerprint``."""
        return self.inner.fingerprint(text, taxonomy)

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; where the limit is reached, every text has the problem ``busy``."""
        texts = checked_texts(texts)
        if not texts:
            return []
        try:
            with self.gate.admit():
                return self.inner.classify(texts, taxonomy)
        except Rejected as error:
            return unread(waiting_problem(error), len(texts), self.name, taxonomy)


@dataclass(frozen=True)
class LengthLimited:
    """Gives texts that are too long the problem ``too_long`` and the others to the inner classifier.

    Attributes:
        inner: answers.
        chars: longest text, title included, in characters.
    """

    inner: Classifier
    chars: int

    @property
    def name(self) -> str:
        """The inner classifier's name."""
        return self.inner.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``."""
        originals = checked_texts(texts)
        short = [text for text in originals if self._length(text) <= self.chars]
        if len(short) == len(originals):
            return self.inner.classify(short, taxonomy)
        answers = iter(self.inner.classify(short, taxonomy) if short else [])
        return [
            next(answers) if self._length(text) <= self.chars else self._too_long(text, taxonomy) for text in originals
        ]

    def _too_long(self, text: Text, taxonomy: Taxonomy) -> Prediction:
        detail = f"the text has {self._length(text)} characters; at most {self.chars}"
        return Prediction((), AnswerSource(self.name, taxonomy.versioned_name), problem=Problem("too_long", detail))

    @staticmethod
    def _length(text: Text) -> int:
        return len(text.body) + len(text.title)
