"""A classifier that leaves texts beyond a length unread, so that one of them costs its own answer and no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llm.classifier import AnswerSource, Classifier, Prediction, Problem
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts


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
