"""Label permutations: sensitivity of a classifier to the order of labels, and an ensemble over orders."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm.classifier import Classifier, Prediction, total_usage
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts


def label_permutations(taxonomy: Taxonomy, number: int, seed: int = 0) -> list[Taxonomy]:
    """The taxonomy in its own order and in ``number - 1`` random ones, the same for the same seed."""
    generator = random.Random(seed)
    permutations = [taxonomy]
    while len(permutations) < number:
        labels = list(taxonomy.labels)
        generator.shuffle(labels)
        permutations.append(replace(taxonomy, labels=tuple(labels)))
    return permutations


@dataclass(frozen=True)
class OrderEnsemble:
    """Majority vote per label over label permutations, at ``number`` times the cost.

    Scores are means over the permutations, or shares of votes where the inner classifier gives no scores.
    """

    inner: Classifier
    number: int
    seed: int = 0

    @property
    def name(self) -> str:
        """The inner classifier's name."""
        return self.inner.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; a text that fails under one permutation fails."""
        texts = checked_texts(texts)
        rounds = [self.inner.classify(texts, order) for order in label_permutations(taxonomy, self.number, self.seed)]
        return [_majority([answers[place] for answers in rounds], taxonomy) for place in range(len(texts))]


@dataclass(frozen=True)
class OrderSensitivity:
    """How decisions about labels differ between permutations.

    Attributes:
        decisions: number of pairs of a text and a label.
        ever: share of pairs that are not the same under every permutation.
        minority: mean share of permutations that differ from a pair's majority.
        failed: number of texts with a problem under some permutation; they are not counted.
    """

    decisions: int
    ever: float
    minority: float
    failed: int


def order_sensitivity(
    classifier: Classifier, texts: Sequence[str | Text], taxonomy: Taxonomy, number: int, seed: int = 0
) -> OrderSensitivity:
    """Classify the texts under ``number`` permutations and compare the decisions."""
    rounds = [classifier.classify(texts, order) for order in label_permutations(taxonomy, number, seed)]
    answered = [place for place in range(len(texts)) if not any(answers[place].problem for answers in rounds)]
    votes = [sum(name in answers[place].labels for answers in rounds) for place in answered for name in taxonomy.names]
    against = [min(count, number - count) for count in votes]
    decisions = max(1, len(votes))
    ever = sum(count > 0 for count in against) / decisions
    return OrderSensitivity(len(votes), ever, sum(against) / number / decisions, len(texts) - len(answered))


def _majority(answers: Sequence[Prediction], taxonomy: Taxonomy) -> Prediction:
    usage = total_usage([answer.usage for answer in answers])
    source = replace(answers[0].source, taxonomy=taxonomy.versioned_name)
    if problem := next((answer.problem for answer in answers if answer.problem), None):
        return Prediction((), source, problem=problem, usage=usage)
    votes = Counter(name for answer in answers for name in answer.labels)
    scored = all(answer.scores.keys() >= set(taxonomy.names) for answer in answers)
    scores = {
        name: sum(answer.scores[name] if scored else name in answer.labels for answer in answers) / len(answers)
        for name in taxonomy.names
    }
    ranked = sorted(taxonomy.names, key=lambda name: (-votes[name], -scores[name]))
    chosen = [name for name in ranked if 2 * votes[name] > len(answers)][: taxonomy.max_labels]
    labels = tuple(chosen or ([] if taxonomy.allow_none else ranked[:1]))
    score_type = answers[0].score_type if scored else "probability"
    return Prediction(labels, source, {name: scores[name] for name in ranked}, usage=usage, score_type=score_type)
