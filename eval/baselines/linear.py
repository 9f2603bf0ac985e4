"""TF-IDF with naive Bayes, a linear support vector machine, or logistic regression: a weight per term and label.

All three answer alike (those weights, and a bias per label), so that they share everything but the fit. What
is not a log-odds by nature (the margin of the machine, the overconfident odds of Bayes) is made one by Platt's scaling
on validation texts, and the scaling goes into the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from eval.baselines.data import Probabilities, Split, TrainingData, shaped
from eval.baselines.tfidf import TfIdfSettings, TfIdfVectors
from eval.calibration import fit_logistic

Line = tuple[NDArray[np.floating], float]  # a weight per term, and the bias
FitLine = Callable[[Any, NDArray[np.bool_], float], Line]
_SMOOTHING = 0.1


@dataclass(frozen=True)
class LinearSettings(TfIdfSettings):
    """Settings of a linear model.

    Attributes:
        c: how little the weights are held back; unused by naive Bayes.
    """

    c: float = 1.0


@dataclass(frozen=True)
class Linear:
    """Terms to log-odds by one weight per term and label."""

    words: TfIdfVectors
    weights: NDArray[np.float32]
    biases: NDArray[np.float32]
    multi: bool
    scaling: Mapping[str, list[float]] = field(default_factory=dict)
    _turned: NDArray[np.float32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # terms first: a sparse text then reads whole rows
        object.__setattr__(self, "_turned", np.ascontiguousarray(self.weights.T))

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """See ``Scorer.probabilities``."""
        return shaped(self.words.vectors(texts) @ self._turned + self.biases, self.multi)

    def save(self, folder: Path) -> None:
        """See ``Scorer.save``."""
        self.words.save(folder)
        np.savez_compressed(folder / "weights.npz", weights=self.weights, biases=self.biases)

    def notes(self) -> dict[str, object]:
        """See ``Scorer.notes``."""
        return {"terms": self.weights.shape[1], **self.scaling}


def restore(folder: Path, labels: int, multi: bool) -> Linear:
    """What ``Linear.save`` wrote."""
    kept = np.load(folder / "weights.npz")
    return Linear(TfIdfVectors.restore(folder), kept["weights"], kept["biases"], multi)


def fit(material: TrainingData, settings: LinearSettings, line: FitLine) -> Linear:
    """One line per label, each from the training texts for which that label's truth is known."""
    words, weights, biases = _lines(material, settings, line)
    judged = material.validation.judged()
    scales, shifts = platt(words.vectors(judged.texts) @ weights.T + biases, judged.truth)
    return _scaled(material, words, weights, biases, {"scales": scales.tolist(), "shifts": shifts.tolist()})


def again(material: TrainingData, settings: LinearSettings, notes: Mapping[str, Any], line: FitLine) -> Linear:
    """New lines, made log-odds as those of an earlier training were."""
    scaling = {name: notes[name] for name in ("scales", "shifts")}
    return _scaled(material, *_lines(material, settings, line), scaling)


def _lines(material: TrainingData, settings: LinearSettings, line: FitLine) -> tuple[TfIdfVectors, Any, Any]:
    """Words, a weight per label and term, and a bias per label."""
    words = TfIdfVectors.fit(material.train.texts, TfIdfSettings(settings.ngrams, settings.min_count))
    vectors = words.vectors(material.train.texts)
    lines = [
        _fit_label(vectors, material.train, label, lambda some, truth: line(some, truth, settings.c))
        for label in material.track(range(len(material.taxonomy.names)), "labels")
    ]
    return words, np.stack([one for one, _ in lines]), np.array([bias for _, bias in lines])


def _scaled(
    material: TrainingData, words: TfIdfVectors, weights: Any, biases: Any, scaling: Mapping[str, list[float]]
) -> Linear:
    scales, shifts = np.array(scaling["scales"]), np.array(scaling["shifts"])
    weights, biases = weights * scales[:, None], biases * scales + shifts
    multi = material.taxonomy.multi
    return Linear(words, weights.astype(np.float32), biases.astype(np.float32), multi, scaling)


def platt(odds: NDArray[np.floating], truth: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and shift per label that make decision values log-odds; a label of one kind only stays as it is."""
    scales, shifts = np.ones(odds.shape[1]), np.zeros(odds.shape[1])
    for label in range(odds.shape[1]):
        if 0 < truth[:, label].sum() < len(truth):
            spread = odds[:, label].std() or 1.0
            (slope,), intercept = fit_logistic(odds[:, [label]] / spread, truth[:, label], c=1e3)
            if slope > 0:  # a label that was learnt the wrong way round on few texts is not turned over
                scales[label], shifts[label] = slope / spread, intercept
    return scales, shifts


def _fit_label(vectors: Any, split: Split, label: int, line: Callable[[Any, NDArray[np.bool_]], Line]) -> Line:
    known, truth = split.known[:, label], split.truth[:, label]
    if truth[known].all() or not truth[known].any():
        share = split.frequencies[label]
        return np.zeros(vectors.shape[1]), float(np.log(share / (1 - share)))
    return line(vectors if known.all() else vectors[np.flatnonzero(known)], truth[known])


def logistic_line(vectors: Any, truth: NDArray[np.bool_], c: float) -> Line:
    """Logistic regression with rare labels weighed up; ``platt`` takes back what that does to the odds."""
    fitted = LogisticRegression(C=c, solver="liblinear", class_weight="balanced").fit(vectors, truth)
    return fitted.coef_[0], float(fitted.intercept_[0])


def margin_line(vectors: Any, truth: NDArray[np.bool_], c: float) -> Line:
    """A linear support vector machine."""
    fitted = LinearSVC(C=c, class_weight="balanced").fit(vectors, truth)
    return fitted.coef_[0], float(fitted.intercept_[0])


def bayes_line(vectors: Any, truth: NDArray[np.bool_], c: float) -> Line:
    """Multinomial naive Bayes over TF-IDF weights, as log-odds."""
    inside, outside = (
        np.asarray(vectors[np.flatnonzero(side)].sum(axis=0))[0] + _SMOOTHING for side in (truth, ~truth)
    )
    weights = np.log(inside / inside.sum()) - np.log(outside / outside.sum())
    return weights, float(np.log(truth.sum() / (~truth).sum()))


LINES: Mapping[str, FitLine] = {"tfidf-nb": bayes_line, "tfidf-svm": margin_line, "tfidf-lr": logistic_line}
