"""What an estimator has learnt from its texts, and the small steps of learning it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.baselines.thresholds import Decoding
from eval.metrics.classification import Labels
from llm.classifier import Prediction
from marquee.sklearn.calibrators import Calibrator, Scores, same
from marquee.sklearn.targets import Target, classes_of, name_of
from prompts.answer_format import FewShotExample
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Taxonomy
from prompts.text import Text


@dataclass(frozen=True)
class FittedState:
    """Plain values, so that they can be copied and sent.

    Attributes:
        taxonomy: the taxonomy, in the shape of y.
        classes: its labels, sorted.
        shots: examples for a language model.
        calibrator: scores in, probabilities out.
        decoding: how probabilities become labels; None leaves that to the classifier.
    """

    taxonomy: Taxonomy
    classes: NDArray[Any]
    shots: tuple[FewShotExample, ...] = ()
    calibrator: Calibrator = same
    decoding: Decoding | None = None

    @classmethod
    def of(cls, given: Taxonomy | None, target: Target | None) -> FittedState:
        """Nothing learnt but the labels: those given, in the shape of the labels that texts have."""
        if target is not None:
            return cls(target.taxonomy(given), target.classes)
        assert given is not None, "either is there"
        return cls(given if given.multi else given.shaped(allow_none=False), classes_of(given))

    @property
    def multi(self) -> bool:
        """Whether a text may have several labels."""
        return self.taxonomy.multi

    @property
    def names(self) -> tuple[str, ...]:
        """The classes as names of the taxonomy."""
        return tuple(map(name_of, self.classes.tolist()))

    def scores(self, found: Sequence[Prediction]) -> Scores:
        """Scores as the classifier gave them, shape (texts, labels); a label that was not scored has 0.

        Raises:
            InvalidSetting: it gave none.
        """
        if any(one.labels and not one.scores for one in found):  # a list without labels has none to score
            how = found[0].source.strategy or found[0].source.model
            raise InvalidSetting(f"{how} gives no scores; choose another strategy, such as letters or yes_no")
        return np.array([[one.scores.get(name, 0.0) for name in self.names] for one in found], dtype=float)

    def probabilities(self, scores: Scores) -> Scores:
        """Calibrated scores; those of a single-label text sum to 1."""
        calibrated = self.calibrator(scores)
        if self.multi:
            return calibrated
        calibrated = np.where(calibrated.sum(axis=1, keepdims=True) > 0, calibrated, scores)
        total = calibrated.sum(axis=1, keepdims=True)
        even = np.full_like(calibrated, 1 / calibrated.shape[1])  # where nothing is likely, all is as likely
        return np.asarray(np.divide(calibrated, total, out=even, where=total > 0))

    def choose(self, probabilities: Scores) -> Labels:
        """The labels that probabilities give, shape (texts, labels)."""
        decoding = self.decoding or Decoding("best")
        return decoding.choose(probabilities, self.taxonomy.max_labels, self.taxonomy.allow_none)

    def given(self, found: Sequence[Prediction]) -> Labels:
        """The labels that the classifier gave by itself, shape (texts, labels)."""
        return np.array([[name in one.labels for name in self.names] for one in found], dtype=bool)


def examples(
    texts: Sequence[Text], target: Target, chosen: Sequence[int], taxonomy: Taxonomy
) -> tuple[FewShotExample, ...]:
    """The chosen texts with their labels, as a language model is shown them."""
    held = [[name for name, has in zip(target.names, target.matrix[place], strict=True) if has] for place in chosen]
    return tuple(
        FewShotExample(texts[place], taxonomy.in_order(names)) for place, names in zip(chosen, held, strict=True)
    )


def varied(matrix: Labels, number: int, random: np.random.RandomState) -> list[int]:
    """So many texts, in random order but for this: each next one has labels that those before it have least.

    Raises:
        InvalidDataset: there are not so many texts.
    """
    if number > len(matrix):
        raise InvalidDataset(f"{number} examples are to be shown, and there are {len(matrix)} texts")
    left, counts = list(random.permutation(len(matrix))), np.zeros(matrix.shape[1])
    chosen: list[int] = []
    for _ in range(number):
        best = min(left, key=lambda place: counts[matrix[place]].mean() if matrix[place].any() else np.inf)
        left.remove(best)
        counts += matrix[best]
        chosen.append(int(best))
    return chosen
