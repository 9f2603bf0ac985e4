"""Small parts for the tests of the estimator: a classifier without a model, and numbers told in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from llm.classifier import AnswerSource, Prediction, no_text
from marquee.sklearn import MarqueeClassifier
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts


@dataclass(frozen=True)
class Named:
    """Finds the labels that a text names; scores are probabilities that share 1 where one label is wanted.

    Attributes:
        sure: score of a label that is named; one that is not has a ninth of it.
    """

    sure: float = 0.9
    name: str = "named"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        return [self._prediction(text, taxonomy) for text in checked_texts(texts)]

    def _prediction(self, text: Text, taxonomy: Taxonomy) -> Prediction:
        source = AnswerSource(self.name, taxonomy.versioned_name)
        if text.empty:
            return Prediction((), source, problem=no_text(text))
        words = f"{text.title} {text.body}".lower()
        scores = {name: self.sure if name.lower() in words else self.sure / 9 for name in taxonomy.names}
        if not taxonomy.multi:
            scores = {name: score / sum(scores.values()) for name, score in scores.items()}
        ranked = sorted(scores, key=lambda name: -scores[name])
        chosen = [name for name in ranked if scores[name] >= 0.5][: taxonomy.max_labels]
        return Prediction(tuple(chosen or ([] if taxonomy.allow_none else ranked[:1])), source, scores)


class OfRows(MarqueeClassifier):
    """Takes rows of numbers, as scikit-learn's checks give them, and tells each in words.

    What is not about texts (parameters, copies, classes, shapes, errors) is checked through it.
    """

    def fit(self, X: Any, y: Any = None) -> OfRows:
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        super().fit(_told(validate_data(self, X)), y)
        return self

    def predict(self, X: Any) -> Any:
        self._state()
        return super().predict(_told(validate_data(self, X, reset=False)))

    def predict_proba(self, X: Any) -> Any:
        self._state()
        return super().predict_proba(_told(validate_data(self, X, reset=False)))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        return float(np.mean(self.predict(X) == y))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = tags.input_tags.string = False
        tags.input_tags.two_d_array = True
        return tags


def _told(X: Any) -> list[str]:
    return [" ".join(f"{value:.3f}" for value in row) for row in X]
