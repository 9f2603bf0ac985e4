"""TF-IDF baselines: naive Bayes, a linear SVM, logistic regression and k-nearest neighbours.

The three linear models share everything but the fit: a weight per term and label, and a bias per label. Their decision
values become log-odds by Platt scaling on validation texts, and the scaling is folded into the weights.

Nothing is pickled, because a pickle can run code when it is read: terms are JSON, numbers are NumPy arrays.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from eval.baselines.trained import Probabilities, Scorer, Split, TrainingData, from_log_odds
from eval.calibration import fit_logistic

_TERMS, _IDF, _WEIGHTS, _VECTORS, _LABELS = "vocabulary.json", "idf.npz", "weights.npz", "vectors.npz", "labels.npz"
_SMOOTHING = 0.1
_BATCH = 128
_PRIOR_WEIGHT = 0.1  # label frequencies vote like a neighbour of this cosine, for texts without similar ones

LinearModel = tuple[NDArray[np.floating], float]  # a weight per term, and the bias
FitLabel = Callable[[Any, NDArray[np.bool_], float], LinearModel]  # vectors, truth, c


@dataclass(frozen=True)
class TfIdfSettings:
    """Settings of the vectors: the maximum number of words in a term; terms of fewer training texts are ignored."""

    ngrams: int = 2
    min_count: int = 2


@dataclass(frozen=True)
class LinearSettings(TfIdfSettings):
    """Settings of a linear model: the inverse strength of the regularisation, unused by naive Bayes."""

    c: float = 1.0


@dataclass(frozen=True)
class KNNSettings(TfIdfSettings):
    """Settings of k-nearest neighbours: the number of training texts that vote, weighted by cosine."""

    ngrams: int = 1
    neighbours: int = 25


@dataclass(frozen=True)
class TfIdfVectors:
    """Texts to TF-IDF vectors of length 1, with sublinear counts and accents removed."""

    settings: TfIdfSettings
    vectoriser: TfidfVectorizer

    @classmethod
    def fit(cls, texts: Sequence[str], settings: TfIdfSettings) -> TfIdfVectors:
        """Collect the terms of the training texts."""
        plain = TfIdfSettings(settings.ngrams, settings.min_count)
        min_df = settings.min_count if len(texts) >= 1000 else 1  # a small data set has few repeated terms
        return cls(plain, _vectoriser(plain, min_df=min_df).fit(texts))

    @classmethod
    def restore(cls, folder: Path) -> TfIdfVectors:
        """Read what ``save`` wrote."""
        body = json.loads((folder / _TERMS).read_text(encoding="utf-8"))
        settings = TfIdfSettings(**body["settings"])
        vectoriser = _vectoriser(settings, vocabulary={term: place for place, term in enumerate(body["terms"])})
        vectoriser.idf_ = np.load(folder / _IDF)["idf"].astype(np.float64)
        return cls(settings, vectoriser)

    def save(self, folder: Path) -> None:
        """Write the terms and their weights."""
        body = {"settings": asdict(self.settings), "terms": self.vectoriser.get_feature_names_out().tolist()}
        (folder / _TERMS).write_text(json.dumps(body, ensure_ascii=False), encoding="utf-8")
        np.savez(folder / _IDF, idf=self.vectoriser.idf_)

    def vectors(self, texts: Sequence[str]) -> Any:
        """A SciPy CSR matrix of shape (texts, terms)."""
        return self.vectoriser.transform(texts)


def _vectoriser(settings: TfIdfSettings, **more: Any) -> TfidfVectorizer:
    return TfidfVectorizer(
        sublinear_tf=True,
        strip_accents="unicode",
        ngram_range=(1, settings.ngrams),
        token_pattern=r"(?u)\b\w+\b",
        dtype=np.float32,
        **more,
    )


@dataclass(frozen=True)
class Linear(Scorer):
    """TF-IDF vectors to log-odds, by weights of shape (labels, terms) and biases of shape (labels,).

    ``scaling`` has the Platt scales and shifts of each label, for the manifest.
    """

    words: TfIdfVectors
    weights: NDArray[np.float32]
    biases: NDArray[np.float32]
    multi: bool
    scaling: Mapping[str, list[float]] = field(default_factory=dict)
    _by_term: NDArray[np.float32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # a row per term: the product with a sparse text reads whole rows
        object.__setattr__(self, "_by_term", np.ascontiguousarray(self.weights.T))

    @classmethod
    def restore(cls, folder: Path, labels: int, multi: bool) -> Linear:
        arrays = np.load(folder / _WEIGHTS)
        return cls(TfIdfVectors.restore(folder), arrays["weights"], arrays["biases"], multi)

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        return from_log_odds(self.words.vectors(texts) @ self._by_term + self.biases, self.multi)

    def save(self, folder: Path) -> None:
        self.words.save(folder)
        np.savez_compressed(folder / _WEIGHTS, weights=self.weights, biases=self.biases)

    def train_info(self) -> dict[str, object]:
        return {"terms": self.weights.shape[1], **self.scaling}


def fit_linear(data: TrainingData, settings: LinearSettings, fit_label: FitLabel) -> Linear:
    """Fit a model per label, each to the training texts for which that label's truth is known."""
    words, weights, biases = _label_models(data, settings, fit_label)
    validation = data.validation.complete_rows()
    scales, shifts = platt(words.vectors(validation.texts) @ weights.T + biases, validation.truth)
    scaling = {"scales": scales.tolist(), "shifts": shifts.tolist()}
    return _scaled(words, weights, biases, data.taxonomy.multi, scaling)


def refit_linear(
    data: TrainingData, settings: LinearSettings, train_info: Mapping[str, Any], fit_label: FitLabel
) -> Linear:
    """Fit again with the Platt scaling of an earlier training."""
    scaling = {name: train_info[name] for name in ("scales", "shifts")}
    return _scaled(*_label_models(data, settings, fit_label), data.taxonomy.multi, scaling)


def _label_models(data: TrainingData, settings: LinearSettings, fit_label: FitLabel) -> tuple[TfIdfVectors, Any, Any]:
    """The vectors, weights of shape (labels, terms), and biases of shape (labels,)."""
    words = TfIdfVectors.fit(data.train.texts, settings)
    vectors = words.vectors(data.train.texts)
    models = [
        _label_model(vectors, data.train, label, fit_label, settings.c)
        for label in data.track(range(len(data.taxonomy.names)), "labels")
    ]
    return words, np.stack([weights for weights, _ in models]), np.array([bias for _, bias in models])


def _label_model(vectors: Any, split: Split, label: int, fit_label: FitLabel, c: float) -> LinearModel:
    known, truth = split.known[:, label], split.truth[:, label]
    if truth[known].all() or not truth[known].any():
        share = split.frequencies[label]
        return np.zeros(vectors.shape[1]), float(np.log(share / (1 - share)))
    return fit_label(vectors if known.all() else vectors[np.flatnonzero(known)], truth[known], c)


def _scaled(words: TfIdfVectors, weights: Any, biases: Any, multi: bool, scaling: Mapping[str, list[float]]) -> Linear:
    scales, shifts = np.array(scaling["scales"]), np.array(scaling["shifts"])
    weights, biases = weights * scales[:, None], biases * scales + shifts
    return Linear(words, weights.astype(np.float32), biases.astype(np.float32), multi, scaling)


def platt(odds: NDArray[np.floating], truth: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and shift per label from decision values to log-odds; 1 and 0 for a label that is always true or false."""
    scales, shifts = np.ones(odds.shape[1]), np.zeros(odds.shape[1])
    for label in range(odds.shape[1]):
        if 0 < truth[:, label].sum() < len(truth):
            spread = odds[:, label].std() or 1.0
            (slope,), intercept = fit_logistic(odds[:, [label]] / spread, truth[:, label], c=1e3)
            if slope > 0:  # a negative slope on few texts is noise
                scales[label], shifts[label] = slope / spread, intercept
    return scales, shifts


def _balanced(estimator: Any, c: float, vectors: Any, truth: NDArray[np.bool_], **settings: Any) -> LinearModel:
    """A linear model of scikit-learn with balanced classes; ``platt`` corrects the resulting odds."""
    fitted = estimator(C=c, class_weight="balanced", **settings).fit(vectors, truth)
    return fitted.coef_[0], float(fitted.intercept_[0])


def _naive_bayes(vectors: Any, truth: NDArray[np.bool_], c: float) -> LinearModel:
    """Log-odds of multinomial naive Bayes over TF-IDF weights."""
    inside, outside = (
        np.asarray(vectors[np.flatnonzero(side)].sum(axis=0))[0] + _SMOOTHING for side in (truth, ~truth)
    )
    weights = np.log(inside / inside.sum()) - np.log(outside / outside.sum())
    return weights, float(np.log(truth.sum() / (~truth).sum()))


LINEAR: Mapping[str, FitLabel] = {
    "tfidf-nb": _naive_bayes,
    "tfidf-svm": lambda vectors, truth, c: _balanced(LinearSVC, c, vectors, truth),
    "tfidf-lr": lambda vectors, truth, c: _balanced(LogisticRegression, c, vectors, truth, solver="liblinear"),
}


@dataclass(frozen=True)
class KNN(Scorer):
    """Vectors and labels of the training texts; the texts are not stored."""

    words: TfIdfVectors
    vectors: Any
    truth: NDArray[np.bool_]
    known: NDArray[np.bool_]
    frequencies: NDArray[np.float32]
    k: int

    @classmethod
    def fit(cls, data: TrainingData, settings: KNNSettings) -> KNN:
        train = data.train
        words = TfIdfVectors.fit(train.texts, settings)
        frequencies = train.frequencies / (1 if data.taxonomy.multi else train.frequencies.sum())
        k = min(settings.neighbours, len(train))
        return cls(words, words.vectors(train.texts), train.truth, train.known, frequencies.astype(np.float32), k)

    @classmethod
    def restore(cls, folder: Path, labels: int, multi: bool) -> KNN:
        arrays = np.load(folder / _LABELS)
        vectors = scipy.sparse.load_npz(folder / _VECTORS).tocsr()
        words = TfIdfVectors.restore(folder)
        return cls(words, vectors, arrays["truth"], arrays["known"], arrays["frequencies"], int(arrays["k"]))

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        queries = self.words.vectors(texts)
        parts = [self._vote(queries[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
        return np.concatenate(parts).astype(np.float32)

    def save(self, folder: Path) -> None:
        self.words.save(folder)
        scipy.sparse.save_npz(folder / _VECTORS, self.vectors)
        np.savez_compressed(
            folder / _LABELS, truth=self.truth, known=self.known, frequencies=self.frequencies, k=self.k
        )

    def train_info(self) -> dict[str, object]:
        return {"terms": self.vectors.shape[1]}

    def _vote(self, queries: Any) -> NDArray[np.floating]:
        cosines = (queries @ self.vectors.T).toarray()
        nearest = np.argpartition(-cosines, self.k - 1, axis=1)[:, : self.k]
        votes = np.take_along_axis(cosines, nearest, axis=1)[:, :, None]
        positive = (votes * self.truth[nearest]).sum(axis=1) + _PRIOR_WEIGHT * self.frequencies
        return np.asarray(positive / ((votes * self.known[nearest]).sum(axis=1) + _PRIOR_WEIGHT))
