"""Two classifiers, the second for what the first could not reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llm.classifier import Classifier, Prediction
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts

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
