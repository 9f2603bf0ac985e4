"""A limit on the requests before a classifier: a request too many is rejected at once, with a time to retry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llm.classifier import Fingerprinting, Prediction
from llm.request_context import failed_predictions, waiting_problem
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
            return failed_predictions(waiting_problem(error), len(texts), self.name, taxonomy)
