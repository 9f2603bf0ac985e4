"""Calibration on validation texts: logistic (Platt) fits, thresholds of strategies, and the margin of a cascade.

Two logistic fits of another kind are elsewhere: ``eval.baselines.thresholds`` shrinks each label towards all labels,
and ``training.matcher.calibration`` shares slopes among labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.datasets import Example
from llm.classifier import Classifier, Prediction
from llm.language_model import LanguageModel
from llm.thresholds import LabelThreshold, ThresholdStore, batch_calibration, default, fit
from llm.wrappers.combined import FittedMargin, fit_margin
from prompts.errors import InvalidDataset
from prompts.taxonomy import Taxonomy
from prompts.text import Text

Numbers = NDArray[np.float64]
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


def tune_threshold(
    model: LanguageModel, taxonomy: Taxonomy, path: Path, examples: Sequence[Example], origin: str
) -> LabelThreshold:
    """Learn a threshold from a strategy's scores on validation texts, and store it in ``path``.

    ``origin`` names the texts in messages.

    Raises:
        InvalidDataset: no text has a prediction.
    """
    raw, texts = _uncalibrated(model), [example.text for example in examples]
    predictions = raw.classify(texts, taxonomy)
    _without_problems(predictions, origin)
    pairs = zip(predictions, examples, strict=True)
    scores, labels = zip(*((one.scores, example.labels) for one, example in pairs if not one.problem), strict=True)
    threshold = fit(scores, labels, taxonomy, raw.mutually_exclusive(taxonomy))
    _store(raw, texts, taxonomy, path, threshold)
    return threshold


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
