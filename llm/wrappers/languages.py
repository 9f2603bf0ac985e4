"""Texts in other languages than English go to another classifier than English ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from llm.classifier import Classifier, Prediction
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts
from similarity.encoders.minilm import language_warnings
from similarity.encoders.tokens import cut

_PREFIX = "embedded/"
Pair = tuple[Text, Taxonomy]
Item = TypeVar("Item")


class PairClassifier(Classifier, Protocol):
    """A classifier that also labels pairs of a text and a taxonomy in one pass."""

    @property
    def decode_rule(self) -> str:
        """How scores become labels, in words."""

    def predict(self, pairs: Sequence[Pair]) -> list[Prediction]:
        """One prediction per pair of a text, which is not empty, and a taxonomy, in order."""


@dataclass(frozen=True)
class ByLanguage:
    """The embedded classifier for English texts, a classifier of many languages for texts that it hardly reads.

    A text is one of the others where ``similarity.encoders.minilm.language_warnings`` has a warning for it. The source
    of a prediction names the model that answered. Each of the two gets its texts of a batch together.
    """

    english: PairClassifier
    others: PairClassifier

    @property
    def name(self) -> str:
        return f"{self.english.name}+{self.others.name.removeprefix(_PREFIX)}"

    @property
    def decode_rule(self) -> str:
        """How scores become labels, in words."""
        return f"{self.english.decode_rule}; other languages: {self.others.decode_rule}"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``."""
        return _joined(
            checked_texts(texts),
            lambda text: text,
            lambda own: self.english.classify(own, taxonomy),
            lambda own: self.others.classify(own, taxonomy),
        )

    def predict(self, pairs: Sequence[Pair]) -> list[Prediction]:
        """One prediction per pair of a text, which is not empty, and a taxonomy, in order."""
        return _joined(pairs, lambda pair: pair[0], self.english.predict, self.others.predict)


def _joined(
    items: Sequence[Item],
    text_of: Callable[[Item], Text],
    english: Callable[[Sequence[Item]], list[Prediction]],
    others: Callable[[Sequence[Item]], list[Prediction]],
) -> list[Prediction]:
    """The predictions of both classifiers in the order of the items."""
    foreign = [bool(language_warnings(text)) for text in cut([text_of(item).joined for item in items])]
    if not any(foreign):
        return english(items)
    parts = {False: english, True: others}
    found = {
        kind: iter(parts[kind]([item for item, own in zip(items, foreign, strict=True) if own == kind]))
        for kind in set(foreign)
    }
    return [next(found[kind]) for kind in foreign]
