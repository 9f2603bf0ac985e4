"""A trained baseline as a classifier, like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.baselines.data import Probabilities, Scorer, sentence
from eval.baselines.thresholds import Decoding
from llm.classifier import AnswerSource, Prediction, no_text
from prompts.errors import TaxonomyMismatch
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts


@dataclass(frozen=True)
class Trained:
    """Answers for the one taxonomy that it was trained for.

    Scores are probabilities, best first. The shape of an answer (how many labels, whether none will do) may be asked
    otherwise than it was trained; the labels may not.

    Attributes:
        kind: name of the baseline.
        taxonomy: what it was trained for.
        scorer: the weights.
        decoding: how probabilities become labels.
        manifest: where it comes from.
    """

    kind: str
    taxonomy: Taxonomy
    scorer: Scorer
    decoding: Decoding
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """``trained/`` and the kind."""
        return f"trained/{self.kind}"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``.

        Raises:
            TaxonomyMismatch: another taxonomy than that of the training.
        """
        self._refuse_other(taxonomy)
        source = AnswerSource(self.name, taxonomy.versioned_name)
        originals = checked_texts(texts)
        read = [sentence(text) for text in originals]
        filled = [text for text in read if text]
        answers = iter(self._answers(filled, taxonomy, source)) if filled else iter(())
        return [
            next(answers) if read_text else Prediction((), source, problem=no_text(text))
            for text, read_text in zip(originals, read, strict=True)
        ]

    def _answers(self, texts: Sequence[str], taxonomy: Taxonomy, source: AnswerSource) -> list[Prediction]:
        scores = self.scorer.probabilities(texts)
        chosen = self.decoding.choose(scores, taxonomy.max_labels, taxonomy.allow_none)
        return [_prediction(row, given, taxonomy, source) for row, given in zip(scores, chosen, strict=True)]

    def _refuse_other(self, taxonomy: Taxonomy) -> None:
        own = self.taxonomy
        alike = own.multi == taxonomy.multi and own.labels == taxonomy.labels and own.name == taxonomy.name
        if not alike:
            raise TaxonomyMismatch(
                f"{self.name} was trained for {own.versioned_name} and cannot answer for {taxonomy.versioned_name}; "
                "ask it for its own taxonomy, or train one for the other"
            )


def _prediction(
    scores: Probabilities, given: NDArray[np.bool_], taxonomy: Taxonomy, source: AnswerSource
) -> Prediction:
    order = (-scores).argsort(kind="stable")
    names = taxonomy.names
    labels = tuple(names[place] for place in order if given[place])
    return Prediction(labels, source, {names[place]: round(float(scores[place]), 6) for place in order})
