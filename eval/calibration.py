"""Calibration on validation texts: logistic (Platt) fits, thresholds of strategies, and the margin of a cascade.

Logistic fits of another kind are elsewhere: ``llm.calibration.label_calibration`` and ``eval.baselines.thresholds``
shrink each label towards all labels, and ``training.matcher.calibration`` shares slopes among labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.datasets import Example
from eval.metrics import CALIBRATION, indicator
from llm.calibration.label_calibration import fit_lines
from llm.calibration.thresholds import LabelThreshold, ThresholdStore, batch_calibration, default, fit, micro_f1
from llm.classifier import Classifier, Prediction, Problem
from llm.language_model import LanguageModel
from llm.wrappers.combined import FittedMargin, fit_margin
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Taxonomy
from prompts.text import Text

Numbers = NDArray[np.float64]
_FOLDS, _LEAST_TEXTS = 5, 10  # of the cross-validation; fewer texts give no lines
_LEAST = 1e-6  # scores are clipped to [1e-6, 1 - 1e-6]


def log_odds(scores: NDArray[np.floating]) -> Numbers:
    """Log-odds of probabilities, same shape; finite also for 0 and 1."""
    clipped = np.clip(np.asarray(scores, np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(clipped / (1 - clipped)))


def platt_targets(truth: NDArray[np.bool_]) -> Numbers:
    """Targets strictly between 0 and 1, shape (texts,), so that few or uniform texts do not give certainty.

    Source: Platt, Probabilistic outputs for support vector machines, 1999.
    """
    positive = int(truth.sum())
    return np.where(truth, (positive + 1) / (positive + 2), 1 / (len(truth) - positive + 2))


def fit_logistic(features: NDArray[np.floating], targets: NDArray[Any], c: float = np.inf) -> tuple[Numbers, float]:
    """Slopes, shape (features,), and intercept of a logistic regression to targets that may be probabilities.

    ``features`` have shape (texts, features), ``targets`` (texts,); ``c`` is the inverse strength of the L2 penalty on
    the slopes, as in scikit-learn, and infinite for no penalty.
    """
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=c, max_iter=1_000)
    if targets.dtype == bool:
        regression.fit(features, targets)
    else:  # scikit-learn accepts classes only: each text counts as true and as false, weighted by its target
        classes = np.repeat([1, 0], len(targets))
        regression.fit(np.tile(features, (2, 1)), classes, np.concatenate([targets, 1 - targets]))
    return regression.coef_[0], float(regression.intercept_[0])


def labels_at_once(taxonomy: Taxonomy, beam: int) -> Taxonomy:
    """The labels that a model scores in one step: those for which thresholds, weights and margins are learned.

    Raises:
        InvalidSetting: a hierarchy is descended level by level, or answered above its leaves.
    """
    if not isinstance(taxonomy, Hierarchy):
        return taxonomy
    if beam or taxonomy.level:
        raise InvalidSetting(
            f"taxonomy {taxonomy.name!r} is a hierarchy, and what is learned is for the scores of all its leaves at "
            f"once; unset {f'MARQUEE_HIERARCHY_BEAM (now {beam})' if beam else f'level (now {taxonomy.level})'}"
        )
    return taxonomy.flat


@dataclass(frozen=True)
class Tuned:
    """A learned threshold, and the quality on the texts it was learned from, cross-validated.

    Attributes:
        threshold: the threshold, with a line per label where lines are not worse.
        texts: number of texts with a prediction.
        before: micro-F1 and ECE of one threshold for all labels.
        after: those of what was learned.
    """

    threshold: LabelThreshold
    texts: int
    before: Mapping[str, float]
    after: Mapping[str, float]


def tune_threshold(
    model: LanguageModel,
    taxonomy: Taxonomy,
    path: Path,
    examples: Sequence[Example],
    origin: str,
    around: Callable[[LanguageModel], Classifier] | None = None,
) -> Tuned:
    """Learn how a strategy's scores become labels from validation texts, and store it in ``path``.

    A line per label (``llm.calibration.label_calibration``) replaces the threshold for all labels unless its
    cross-validated micro-F1 is lower. ``origin`` names the texts in messages; ``around``
    wraps the model as in use (``Shortlist``).

    Raises:
        InvalidDataset: no text has a prediction.
    """
    raw, texts = _uncalibrated(model), [example.text for example in examples]
    predictions = (around(raw) if around else raw).classify(texts, taxonomy)
    _without_problems(predictions, origin)
    pairs = [(one, two) for one, two in zip(predictions, examples, strict=True) if not one.problem]
    offsets: Mapping[str, float] | Problem = {}
    if not any(one.shortlist for one, _ in pairs):
        offsets = replace(raw, bias=model.bias).bias_offsets(pairs[0][1].text, taxonomy)
    scored = _CalibrationTexts(
        [one.scores for one, _ in pairs], [two.labels for _, two in pairs], taxonomy, raw.mutually_exclusive(taxonomy),
        {} if isinstance(offsets, Problem) else offsets,
    )  # fmt: skip
    before = scored.cross_validated(_CalibrationTexts.one_threshold)
    enough = len(pairs) >= _LEAST_TEXTS
    after = scored.cross_validated(_CalibrationTexts.lines) if enough else before
    better = enough and after["micro-F1"] >= before["micro-F1"]
    # With one threshold, the service estimates the offsets against the bias itself.
    threshold = scored.lines() if better else replace(scored.one_threshold(), logit_offsets={})
    _store(raw, texts, taxonomy, path, threshold)
    return Tuned(threshold, len(pairs), before, after if better else before)


@dataclass(frozen=True)
class _CalibrationTexts:
    """Uncalibrated scores and true labels of texts; ``offsets`` correct the bias of the model without calibration."""

    scores: Sequence[Mapping[str, float]]
    truth: Sequence[Sequence[str]]
    taxonomy: Taxonomy
    exclusive: bool
    offsets: Mapping[str, float]

    def one_threshold(self) -> LabelThreshold:
        corrected = [LabelThreshold(0.0, self.offsets).adjusted(row, self.exclusive) for row in self.scores]
        return replace(fit(corrected, self.truth, self.taxonomy, self.exclusive), logit_offsets=self.offsets)

    def lines(self) -> LabelThreshold:
        return fit_lines(self.scores, self.truth, self.taxonomy, self.exclusive, self.offsets)

    def at(self, places: Sequence[int]) -> _CalibrationTexts:
        scores, truth = [self.scores[place] for place in places], [self.truth[place] for place in places]
        return replace(self, scores=scores, truth=truth)

    def cross_validated(self, learn: Callable[[_CalibrationTexts], LabelThreshold]) -> Mapping[str, float]:
        """Micro-F1 and ECE of what is learned from the texts of the other folds."""
        places = range(len(self.scores))
        folds = [learn(self.at([place for place in places if place % _FOLDS != fold])) for fold in range(_FOLDS)]
        learned = [folds[place % _FOLDS] for place in places]
        rows = [one.adjusted(row, self.exclusive) for one, row in zip(learned, self.scores, strict=True)]
        chosen = [one.choose(row, self.taxonomy, self.exclusive) for one, row in zip(learned, rows, strict=True)]
        columns = np.array([[row.get(name, 0.0) for name in self.taxonomy.names] for row in rows])
        ece = CALIBRATION["ECE"](indicator(self.truth, self.taxonomy), columns)
        return {"micro-F1": round(micro_f1(chosen, self.truth), 4), "ECE": round(ece, 4)}


def correct_bias(
    model: LanguageModel, taxonomy: Taxonomy, path: Path, texts: Sequence[Text], origin: str
) -> LabelThreshold:
    """Learn the model's label bias from its scores on unlabelled texts (batch calibration), and store the correction.

    Arguments and errors are those of ``tune_threshold``.
    """
    raw = _uncalibrated(model)
    mutually_exclusive = raw.mutually_exclusive(taxonomy)
    predictions = _without_problems(raw.classify(texts, taxonomy), origin)
    scores = [prediction.scores for prediction in predictions]
    threshold = batch_calibration(scores, mutually_exclusive, default(mutually_exclusive).threshold)
    _store(raw, texts, taxonomy, path, threshold)
    return threshold


def fit_cascade(
    small: Classifier, large: Classifier, taxonomy: Taxonomy, examples: Sequence[Example], loss: float
) -> FittedMargin:
    """The margin from which a small classifier's predictions are accepted, for a permitted loss of micro-F1.

    Raises:
        InvalidDataset: the large classifier has a prediction for no text.
    """
    texts = [example.text for example in examples]
    better = large.classify(texts, taxonomy)
    _without_problems(better, "the examples")
    return fit_margin(small.classify(texts, taxonomy), better, [example.labels for example in examples], loss)


def _uncalibrated(model: LanguageModel) -> LanguageModel:
    return replace(model, thresholds=ThresholdStore(), bias=None)


def _without_problems(predictions: list[Prediction], origin: str) -> list[Prediction]:
    usable = [prediction for prediction in predictions if not prediction.problem]
    if not usable:
        reason = predictions[0].problem.detail if predictions and predictions[0].problem else "it has no text"
        raise InvalidDataset(f"nothing to learn from {origin}: {reason}")
    return usable


def _store(
    model: LanguageModel, texts: Sequence[Text], taxonomy: Taxonomy, path: Path, threshold: LabelThreshold
) -> None:
    for key in {model.threshold_key(text, taxonomy) for text in texts}:
        ThresholdStore(path).put(key, threshold)
