"""How much an answer hangs on the order in which the labels are listed, and an average that hangs on it less."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm.classifier import Classifier, Prediction, total_usage
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts


def label_permutations(taxonomy: Taxonomy, number: int, seed: int = 0) -> list[Taxonomy]:
    """The taxonomy in its own order and in random ones, ``number`` in all, the same for the same seed."""
    chosen = random.Random(seed)
    shuffled = [taxonomy]
    while len(shuffled) < number:
        labels = list(taxonomy.labels)
        chosen.shuffle(labels)
        shuffled.append(replace(taxonomy, labels=tuple(labels)))
    return shuffled


@dataclass(frozen=True)
class OrderEnsemble:
    """Asks once per order and takes the majority for every label; costs that many times as much.

    Scores are the means over the orders where the inner classifier gives scores, else the shares of the votes.
    """

    inner: Classifier
    number: int
    seed: int = 0

    @property
    def name(self) -> str:
        """The inner classifier's name."""
        return self.inner.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; a text that fails under one order fails."""
        texts = checked_texts(texts)
        rounds = [self.inner.classify(texts, order) for order in label_permutations(taxonomy, self.number, self.seed)]
        return [_majority([one[place] for one in rounds], taxonomy) for place in range(len(texts))]


@dataclass(frozen=True)
class OrderSensitivity:
    """How decisions about labels differ between orders.

    Attributes:
        decisions: pairs of a text and a label.
        ever: share of them that are not the same under every order.
        minority: mean share of orders that go against the majority of a pair.
        failed: texts left out because they had a problem under some order.
    """

    decisions: int
    ever: float
    minority: float
    failed: int


def order_sensitivity(
    classifier: Classifier, texts: Sequence[str | Text], taxonomy: Taxonomy, number: int, seed: int = 0
) -> OrderSensitivity:
    """Ask about the texts under so many orders and count the decisions that flip."""
    rounds = [classifier.classify(texts, order) for order in label_permutations(taxonomy, number, seed)]
    whole = [place for place in range(len(texts)) if not any(one[place].problem for one in rounds)]
    given = [sum(name in one[place].labels for one in rounds) for place in whole for name in taxonomy.names]
    against = [min(times, number - times) for times in given]
    decisions = max(1, len(given))
    ever = sum(count > 0 for count in against) / decisions
    return OrderSensitivity(len(given), ever, sum(against) / number / decisions, len(texts) - len(whole))


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
    kind = answers[0].score_type if scored else "probability"
    return Prediction(labels, source, {name: scores[name] for name in ranked}, usage=usage, score_type=kind)
