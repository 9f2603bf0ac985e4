"""Large taxonomies narrowed to the likeliest candidates before a language model is asked (arXiv 2502.08436)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm.classifier import Classifier, Prediction
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts


@dataclass(frozen=True)
class Shortlist:
    """Lets a small classifier choose candidates and a large one answer from them.

    A taxonomy of no more than ``candidates`` labels goes through whole. Texts with the same candidates are asked
    about together.

    Attributes:
        small: scores every label of the taxonomy.
        large: answers.
        candidates: how many labels it is shown.
    """

    small: Classifier
    large: Classifier
    candidates: int

    @property
    def name(self) -> str:
        """The large classifier's name."""
        return self.large.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; labels that were no candidates have no score."""
        texts = checked_texts(texts)
        if len(taxonomy.names) <= self.candidates:
            return self.large.classify(texts, taxonomy)
        scored = self.small.classify(texts, taxonomy)
        answers: list[Prediction] = list(scored)  # a text that the small one could not read keeps its problem
        groups: dict[Taxonomy, list[int]] = {}
        for place, found in enumerate(scored):
            if not found.problem:
                groups.setdefault(self._narrow(found, taxonomy), []).append(place)
        for narrow, places in groups.items():
            for place, found in zip(places, self.large.classify([texts[p] for p in places], narrow), strict=True):
                answers[place] = replace(found, source=replace(found.source, taxonomy=taxonomy.versioned_name))
        return answers

    def _narrow(self, found: Prediction, taxonomy: Taxonomy) -> Taxonomy:
        likely = set(sorted(found.scores, key=lambda name: -found.scores[name])[: self.candidates])
        return replace(taxonomy, labels=tuple(label for label in taxonomy.predictable if label.name in likely))
