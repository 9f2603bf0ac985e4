"""The state of a fitted estimator: calibration of scores, decision, and few-shot examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.baselines.thresholds import Decoding
from eval.calibration import fit_logistic, log_odds, platt_targets
from eval.metrics import Labels
from llm.calibration.thresholds import LabelThreshold, batch_calibration
from llm.classifier import Prediction
from marquee.sklearn.targets import Target, classes_of, name_of
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Taxonomy
from prompts.template import FewShotExample
from prompts.text import Text

Scores = NDArray[np.float64]
Calibrator = Callable[[Scores], Scores]  # of scores to probabilities, shape (texts, labels) or, for one label, (texts,)


def same(scores: Scores) -> Scores:
    """The scores as they are."""
    return scores


@dataclass(frozen=True)
class Shifted:
    """Removes the preferences that a model has for every text; see ``llm.calibration.thresholds.batch_calibration``.

    Attributes:
        decision: holds a shift per label, named by its column.
        mutually_exclusive: whether the scores of a text share a total of 1.
    """

    decision: LabelThreshold
    mutually_exclusive: bool

    def __call__(self, scores: Scores) -> Scores:
        rows = [self.decision.adjusted(_row(one), self.mutually_exclusive) for one in scores]
        return np.array([[row[str(column)] for column in range(scores.shape[1])] for row in rows])


@dataclass(frozen=True)
class PerLabel:
    """A curve for each label."""

    curves: tuple[Calibrator, ...]

    def __call__(self, scores: Scores) -> Scores:
        return np.stack([curve(column) for curve, column in zip(self.curves, scores.T, strict=True)], axis=1)


@dataclass(frozen=True)
class Sigmoid:
    """Platt scaling (Platt 1999): a line in the log-odds of the scores of one label."""

    slope: float
    intercept: float

    def __call__(self, scores: Scores) -> Scores:
        return np.asarray(1 / (1 + np.exp(-(self.slope * log_odds(scores) + self.intercept))))


def _batch(scores: Scores, truth: Labels | None, mutually_exclusive: bool) -> Calibrator:
    return Shifted(batch_calibration([_row(one) for one in scores], mutually_exclusive, 0.5), mutually_exclusive)


def _row(scores: Scores) -> dict[str, float]:
    return {str(column): float(score) for column, score in enumerate(scores)}


def _per_label(fit: Callable[[Scores, Labels], Calibrator]) -> Calibration:
    def calibration(scores: Scores, truth: Labels | None, mutually_exclusive: bool) -> Calibrator:
        if truth is None:
            raise InvalidDataset("this calibration needs labels; give y, or use calibration='batch'")
        return PerLabel(tuple(fit(scores[:, one], truth[:, one]) for one in range(scores.shape[1])))

    return calibration


def _sigmoid(scores: Scores, truth: Labels) -> Sigmoid:
    (slope,), intercept = fit_logistic(log_odds(scores)[:, None], platt_targets(truth))
    return Sigmoid(float(slope), intercept)


def _isotonic(scores: Scores, truth: Labels) -> Calibrator:
    from sklearn.isotonic import IsotonicRegression

    curve: Any = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(scores, truth.astype(float))
    predict: Calibrator = curve.predict
    return predict


# Fits a calibrator to scores, shape (texts, labels), and the true labels; the last argument as in ``Shifted``.
Calibration = Callable[[Scores, Labels | None, bool], Calibrator]
CALIBRATIONS: Mapping[str, Calibration] = {
    "batch": _batch,  # from any texts; labels are not used
    "sigmoid": _per_label(_sigmoid),  # for some dozens of labelled texts or more
    "isotonic": _per_label(_isotonic),  # for many hundreds of labelled texts
}


@dataclass(frozen=True)
class FittedState:
    """What ``fit`` learned; it can be pickled.

    Attributes:
        taxonomy: the taxonomy, in the shape of y.
        classes: its labels, sorted.
        examples: few-shot examples for a language model.
        calibrator: scores in, probabilities out.
        decoding: how probabilities become labels; None: the classifier decides.
    """

    taxonomy: Taxonomy
    classes: NDArray[Any]
    examples: tuple[FewShotExample, ...] = ()
    calibrator: Calibrator = same
    decoding: Decoding | None = None

    @classmethod
    def of(cls, given: Taxonomy | None, target: Target | None) -> FittedState:
        """The labels only: those of a taxonomy, or of y, for one or several labels per text as y has them."""
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
        """Scores of the classifier, shape (texts, labels); 0 for a label without a score.

        Raises:
            InvalidSetting: there are no scores.
        """
        if any(one.labels and not one.scores for one in found):  # an answer without labels may have no scores
            how = found[0].source.strategy or found[0].source.model
            raise InvalidSetting(f"{how} gives no scores; use another strategy, such as label_tokens or yes_no")
        return np.array([[one.scores.get(name, 0.0) for name in self.names] for one in found], dtype=float)

    def probabilities(self, scores: Scores) -> Scores:
        """Calibrated scores; those of a single-label text sum to 1."""
        calibrated = self.calibrator(scores)
        if self.multi:
            return calibrated
        calibrated = np.where(calibrated.sum(axis=1, keepdims=True) > 0, calibrated, scores)
        total = calibrated.sum(axis=1, keepdims=True)
        even = np.full_like(calibrated, 1 / calibrated.shape[1])
        return np.asarray(np.divide(calibrated, total, out=even, where=total > 0))

    def choose(self, probabilities: Scores) -> Labels:
        """The labels that the decision makes of probabilities, shape (texts, labels)."""
        decoding = self.decoding or Decoding("best")
        return decoding.choose(probabilities, self.taxonomy.max_labels, bool(self.taxonomy.allow_none))

    def given(self, found: Sequence[Prediction]) -> Labels:
        """The labels of the classifier itself, shape (texts, labels)."""
        return np.array([[name in one.labels for name in self.names] for one in found], dtype=bool)


def chosen_examples(
    texts: Sequence[Text], target: Target, chosen: Sequence[int], taxonomy: Taxonomy
) -> tuple[FewShotExample, ...]:
    """The chosen texts with their labels."""
    names = [[name for name, has in zip(target.names, target.matrix[place], strict=True) if has] for place in chosen]
    return tuple(FewShotExample(texts[place], taxonomy.in_order(own)) for place, own in zip(chosen, names, strict=True))


def varied(matrix: Labels, number: int, random: np.random.RandomState) -> list[int]:
    """Choose texts at random, each with the labels that are rarest among those before it.

    Raises:
        InvalidDataset: there are fewer texts than ``number``.
    """
    if number > len(matrix):
        raise InvalidDataset(f"{number} examples need {number} texts, and there are {len(matrix)}; lower few_shot")
    left, counts = list(random.permutation(len(matrix))), np.zeros(matrix.shape[1])
    chosen: list[int] = []
    for _ in range(number):
        best = min(left, key=lambda place: counts[matrix[place]].mean() if matrix[place].any() else np.inf)
        left.remove(best)
        counts += matrix[best]
        chosen.append(int(best))
    return chosen
