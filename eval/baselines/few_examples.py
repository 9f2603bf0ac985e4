"""A classifier from a few examples per label: linear models over frozen vectors, corrected by the zero-shot answer.

Three scores per label, each learned from the examples or known without them:

- vectors: ridge regression over MiniLM's vector and that of the embedded classifier;
- words: ridge regression over TF-IDF of single words;
- zero-shot: the log-probability of the embedded classifier, which reads the names and descriptions of the labels.

Their weighted sum is a logit. Its weights are fitted by cross-validation (stacking: Wolpert 1992,
doi:10.1016/S0893-6080(05)80023-1). Three weights from a few dozen texts would overfit, so each is pulled towards a
default. A label without examples keeps its zero-shot probability.

``eval/EXPERIMENTS.md`` has what each score adds, and ``benchmarks/few_examples.py`` compares with SetFit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from eval.baselines.frozen_features import FrozenTexts, encoded, encoded_with_answers, weights_digest
from eval.baselines.stacking import Blend, Floats, LabelScores
from eval.baselines.tfidf import TfIdfSettings, TfIdfVectors
from eval.baselines.trained import Probabilities, Scorer, Split, Track, TrainingData, read_manifest, untracked
from eval.datasets import Example
from eval.datasets.split import assign, normal
from eval.metrics import Labels
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Taxonomy
from prompts.text import Text

_ARRAYS, _CHOSEN = "weights.npz", "chosen.json"
_WORDS = TfIdfSettings(ngrams=1)
_NAMES = ("vectors", "words", "zero-shot")
# Chosen on validation texts of six families; to choose the penalty by cross-validation was worse (eval/EXPERIMENTS.md).
_VECTOR_PENALTY, _WORD_PENALTY = 0.3, 1.0


@dataclass(frozen=True)
class FewExamplesSettings:
    """Settings: the number of parts of the cross-validation, each of which is predicted from the others."""

    folds: int = 5

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise InvalidSetting(f"folds is {self.folds}; give 2 or more")


@dataclass(frozen=True)
class FrozenHead(Scorer):
    """Linear models over frozen features of texts.

    Attributes:
        words: the terms and their weights in a text.
        of_vectors: coefficients and intercepts of the vectors, shape (dimension + 1, labels).
        of_words: the same of the terms, shape (terms + 1, labels).
        seen: whether a label has examples, shape (labels,).
        blend: how the scores become a logit.
    """

    taxonomy: Taxonomy
    words: TfIdfVectors
    of_vectors: Floats
    of_words: Floats
    seen: NDArray[np.bool_]
    blend: Blend

    @classmethod
    def restore(cls, folder: Path, labels: int, multi: bool) -> FrozenHead:
        chosen = json.loads((folder / _CHOSEN).read_text(encoding="utf-8"))
        if chosen.pop("features") != weights_digest():
            raise ValueError("it was fitted to the vectors of other weights than the shipped ones")
        blend = Blend(tuple(chosen["weights"]), chosen["offset"])
        arrays = np.load(folder / _ARRAYS)
        linear = arrays["of_vectors"].astype(np.float64), arrays["of_words"].astype(np.float64)
        return cls(read_manifest(folder)[1], TfIdfVectors.restore(folder), *linear, arrays["seen"], blend)

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        found = encoded(texts, self.taxonomy)
        vectors, words = _apply(found.vectors, self.of_vectors), _apply(self.words.vectors(texts), self.of_words)
        seen = np.broadcast_to(self.seen, found.zero_shot.shape)
        rows = LabelScores(vectors, words, found.zero_shot, seen, self.taxonomy.multi)
        return np.asarray(rows.probabilities(self.blend), np.float32)

    def save(self, folder: Path) -> None:
        self.words.save(folder)
        of_vectors, of_words = self.of_vectors.astype(np.float32), self.of_words.astype(np.float32)
        np.savez_compressed(folder / _ARRAYS, of_vectors=of_vectors, of_words=of_words, seen=self.seen)
        chosen = {**asdict(self.blend), "features": weights_digest()}
        (folder / _CHOSEN).write_text(json.dumps(chosen) + "\n", encoding="utf-8")

    def train_info(self) -> dict[str, object]:
        weights = {name: round(value, 4) for name, value in zip(_NAMES, self.blend.weights, strict=True)}
        without = [name for name, seen in zip(self.taxonomy.names, self.seen, strict=True) if not seen]
        return {"weights": weights, "labels without examples": without}


@dataclass(frozen=True)
class CrossValidated:
    """A fitted model, and for each of its texts the answer of a model that has not seen it.

    ``probabilities`` have shape (texts, labels); ``folds`` is the part of each text, shape (texts,). The probabilities
    of a part come from models and weights that were fitted without it. ``zero_shot`` are the labels that the embedded
    classifier gives without examples, shape (texts, labels).
    """

    head: FrozenHead
    probabilities: Probabilities
    folds: NDArray[np.intp]
    zero_shot: Labels


def fit(data: TrainingData, settings: FewExamplesSettings) -> FrozenHead:
    """Fit to the training texts; the validation texts are not used."""
    folds = folds_of_texts(data.train, settings, data.seed)
    return fit_cross_validated(data.train, data.taxonomy, folds, data.track).head


def fit_cross_validated(
    split: Split, taxonomy: Taxonomy, folds: NDArray[np.intp], track: Track = untracked
) -> CrossValidated:
    """Fit to all texts, with the weights of the three scores fitted to texts that the models have not seen.

    Raises:
        InvalidDataset: no text has a label.
    """
    if not split.truth.any():
        raise InvalidDataset("no text has a label; give some that have")
    features = encoded_with_answers(split.texts, taxonomy, track)
    learner = _Learner(split, taxonomy, features)
    unseen = learner.out_of_fold(folds)
    probabilities = np.empty(split.truth.shape)
    for fold in np.unique(folds):
        rows = folds == fold
        blend = unseen.take(~rows).fitted(split.truth[~rows], split.known[~rows])
        probabilities[rows] = unseen.take(rows).probabilities(blend)
    head = learner.head(unseen.fitted(split.truth, split.known))
    assert features.answers is not None
    return CrossValidated(head, np.asarray(probabilities, np.float32), folds, features.answers)


def folds_of(examples: Sequence[Example], settings: FewExamplesSettings, seed: int) -> NDArray[np.intp]:
    """The part of each example, shape (examples,): stratified by label, and examples of one group in one part."""
    parts = min(settings.folds, len(examples))
    if parts < 2:
        raise InvalidDataset("one text is too few to learn from; give two or more")
    grouped = [replace(one, group=one.group or one.id) for one in examples]
    split_of = assign(grouped, {str(part): 1 / parts for part in range(parts)}, seed)
    found = np.array([int(split_of[example.id]) for example in examples])
    if len(set(found.tolist())) < 2:
        raise InvalidDataset("all texts are equal; give two different ones or more")
    return found


def folds_of_texts(split: Split, settings: FewExamplesSettings, seed: int) -> NDArray[np.intp]:
    """The part of each text, shape (texts,); equal texts are in one part."""
    labels = [tuple(map(str, np.flatnonzero(row))) for row in split.truth]
    pairs = enumerate(zip(split.texts, labels, strict=True))
    examples = [Example(str(row), Text(text), own, group=normal(text)) for row, (text, own) in pairs]
    return folds_of(examples, settings, seed)


@dataclass(frozen=True)
class _Learner:
    """The training texts with their features."""

    split: Split
    taxonomy: Taxonomy
    features: FrozenTexts

    def out_of_fold(self, folds: NDArray[np.intp]) -> LabelScores:
        """The scores of every text by models of the other parts."""
        vectors, words = (np.zeros(self.split.truth.shape) for _ in range(2))
        seen = np.zeros(self.split.truth.shape, bool)
        for fold in np.unique(folds):
            inside, rows = folds != fold, folds == fold
            terms, of_words = self._of_words(inside)
            words[rows] = _apply(terms.vectors(self._texts(rows)), of_words)
            vectors[rows] = _apply(self.features.vectors[rows], self._of_vectors(inside))
            seen[rows] = self._seen(inside)
        return LabelScores(vectors, words, self.features.zero_shot, seen, self.taxonomy.multi)

    def head(self, blend: Blend) -> FrozenHead:
        """The models of all texts."""
        rows = np.ones(len(self.split), bool)
        terms, of_words = self._of_words(rows)
        of_vectors = self._of_vectors(rows)
        return FrozenHead(self.taxonomy, terms, of_vectors, of_words, self._seen(rows), blend)

    def _texts(self, rows: NDArray[np.bool_]) -> list[str]:
        return [self.split.texts[place] for place in np.flatnonzero(rows)]

    def _seen(self, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.asarray(self.split.truth[rows].any(axis=0))

    def _of_vectors(self, rows: NDArray[np.bool_]) -> Floats:
        return self._ridge(self.features.vectors[rows].astype(np.float64), rows, _VECTOR_PENALTY)

    def _of_words(self, rows: NDArray[np.bool_]) -> tuple[TfIdfVectors, Floats]:
        texts = self._texts(rows)
        if not any(character.isalnum() for text in texts for character in text):
            raise InvalidDataset("no text has a letter or a digit; give texts with words")
        terms = TfIdfVectors.fit(texts, _WORDS)
        return terms, self._ridge(terms.vectors(texts), rows, _WORD_PENALTY)

    def _ridge(self, inputs: Any, rows: NDArray[np.bool_], penalty: float) -> Floats:
        """Coefficients, and in the last row intercepts: labels with the same known rows are fitted together."""
        truth, known = self.split.truth[rows], self.split.known[rows]
        found = np.zeros((inputs.shape[1] + 1, truth.shape[1]))
        patterns, which = np.unique(known, axis=1, return_inverse=True)
        for number, pattern in enumerate(patterns.T):
            labels = np.flatnonzero(which.ravel() == number)
            if pattern.any():
                fitted = Ridge(alpha=penalty).fit(inputs[pattern], truth[np.ix_(pattern, labels)].astype(float))
                found[:-1, labels] = fitted.coef_.reshape(len(labels), -1).T  # one label has no second dimension
                found[-1, labels] = fitted.intercept_
        return found


def _apply(inputs: Any, linear: Floats) -> Floats:
    return np.asarray(inputs @ linear[:-1] + linear[-1])
