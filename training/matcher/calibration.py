"""Parts of the matcher's weights that are fitted after the neural training: calibration and word features.

- Zero-shot calibration: cosines of plain MiniLM to probabilities for taxonomies that are not about films, on the
  validation rows of ``data/sample/general.jsonl`` (taxonomies of three to twelve labels).
- Word features: a weight per word piece and label, by logistic regression on the training texts. Vectors and words are
  weighted on validation films, because the vectors are overconfident on training texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from eval.datasets import Example
from llm.embedded.cosine import COHORT, NONSENSE
from llm.embedded.label_phrases import label_phrases
from llm.embedded.weights import LabelEmbeddingCache, LabelEmbeddings, MatcherWeights, WordFeatures, counted, untrained
from prompts import registry
from prompts.taxonomy import Label, Taxonomy
from similarity.encoders.minilm import MiniLM
from similarity.encoders.tokens import tokenizer
from training.matcher.dataset import Concept, Item, items
from training.matcher.general_calibration import LeftOut, fitted_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from similarity.encoders.tokens import Vectors

    Array = NDArray[np.floating[Any]]

# Cosines to the nearest phrasing of training. Three quarters of the labels of a taxonomy are above .68 to .75 if they
# are unseen sub-genres, and above .25 to .58 if they are not about films.
_BOUNDS = {"near from": 0.75, "near to": 0.9, "film from": 0.66, "film to": 0.72}
_KINDS_WITH_WORDS = ("genres", "reviews")  # sub-genres have too few films for thirty thousand weights each
_MIN_TEXTS = 3  # of a word piece
_C = 2.0  # inverse regularisation strength; of 1, 2 and 5 the best on IMDb's validation films
_MISSING_WEIGHT = 0.5  # of genres missing from a truncated list: 1 would lower all probabilities, 0 would raise them


@dataclass(frozen=True)
class LabelledTexts:
    """Texts that share a taxonomy, and their labels."""

    taxonomy: Taxonomy
    texts: Sequence[str]
    labels: Sequence[Sequence[str]]


def general(folder: Path, split: str) -> list[LabelledTexts]:
    """The shipped texts of many kinds, by taxonomy."""
    rows = [json.loads(line) for line in (folder / "general.jsonl").read_text(encoding="utf-8").splitlines()]
    own = yaml.safe_load((folder / "general_taxonomies.yaml").read_text(encoding="utf-8"))
    found = []
    for name in dict.fromkeys(row["taxonomy"] for row in rows):
        selected = [row for row in rows if row["taxonomy"] == name and row["split"] == split]
        taxonomy = _taxonomy(name, own[name]) if name in own else registry.taxonomy(name)
        found.append(LabelledTexts(taxonomy, [row["text"] for row in selected], [row["labels"] for row in selected]))
    return found


def _taxonomy(name: str, entry: Mapping[str, Any]) -> Taxonomy:
    return Taxonomy(name, tuple(map(Label, entry["labels"])), entry["multi"], entry.get("max_labels", 1))


def with_zero_shot(weights: MatcherWeights, encoder: MiniLM, sets: Sequence[LabelledTexts]) -> MatcherWeights:
    """Add the mean text vector, and a general branch that is plain MiniLM with its calibration.

    ``general_run.train_general`` replaces this branch by a trained one.
    """
    vectors = [encoder.encode(one.texts) for one in sets]
    centre = np.concatenate(vectors).mean(axis=0)
    cohort = encoder.encode([*COHORT, *NONSENSE])
    left = [_left_out(one, found - centre, encoder, cohort) for one, found in zip(sets, vectors, strict=True)]
    numbers = {**weights.numbers, **fitted_numbers(left), **_BOUNDS}
    return replace(weights, centre=centre, general=untrained(centre), numbers=numbers)


def _left_out(one: LabelledTexts, texts: Vectors, encoder: MiniLM, cohort: Vectors) -> LeftOut:
    labels = one.taxonomy.predictable
    plain = np.sum([encoder.encode(side) for side in zip(*label_phrases(labels), strict=True)], axis=0)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    true = np.array([[name in names for name in one.taxonomy.names] for names in one.labels])
    return LeftOut(one.taxonomy.name, one.taxonomy.name, one.taxonomy.multi, texts, plain, true, cohort)


def with_words(
    weights: MatcherWeights,
    training: Sequence[Item],
    validation: Sequence[Example],
    concepts: Sequence[Concept],
    encoder: MiniLM,
) -> MatcherWeights:
    """Add word features, and the scales and biases that make probabilities of vectors and words together.

    The weights have the zero-shot calibration. ``concepts`` are the labels in the order of the items' columns.
    """
    columns = [number for number, concept in enumerate(concepts) if concept.kind in _KINDS_WITH_WORDS]
    words, intercepts = _word_features(training, columns)
    known, places = _genres(weights, concepts, encoder)
    films = items(validation, concepts, tokenizer())
    texts = [example.text.body for example in validation]
    tuned = weights.of_text(MiniLM(weights.changes, eight_bits=True).encode(texts))
    vector_logits = (tuned @ known.trained.T) * known.scales + known.biases
    word_logits = words.logits(texts)[:, [columns.index(place) for place in places]] + intercepts[places]
    true = np.stack([film.true[places] for film in films])
    complete = np.array([example.complete for example in validation])
    counts = np.where(complete[:, None] | (true > 0), 1.0, _MISSING_WEIGHT)
    vector_scale, word_scale, shifts = _mixture(vector_logits, word_logits, true, counts)
    scales, biases = weights.scales.copy(), weights.biases.copy()
    scales[columns] *= vector_scale
    biases[columns] = vector_scale * biases[columns] + word_scale * intercepts[columns]
    biases[places] += shifts
    return replace(weights, scales=scales, biases=biases, words=replace(words, weights=words.weights * word_scale))


def _genres(weights: MatcherWeights, concepts: Sequence[Concept], encoder: MiniLM) -> tuple[LabelEmbeddings, list[int]]:
    """IMDb's taxonomy as the matcher embeds it in use, and the column of each of its labels."""
    labels: Sequence[Label] = registry.taxonomy("imdb").predictable
    place = {concept.name: number for number, concept in enumerate(concepts) if concept.kind == "genres"}
    return LabelEmbeddingCache(encoder, weights).of_labels(labels), [place[label.name] for label in labels]


def _word_features(texts: Sequence[Item], columns: Sequence[int]) -> tuple[WordFeatures, NDArray[np.float32]]:
    """Word weights for these columns, and the intercept of every label; 0 for labels without weights."""
    from sklearn.linear_model import LogisticRegression

    rarity = _idf([item.tokens for item in texts])
    matrix = _matrix([item.tokens for item in texts], rarity)
    true, weight = np.stack([item.true for item in texts]), np.stack([item.weight for item in texts])
    weights, intercepts = np.zeros((len(rarity), len(columns)), np.float32), np.zeros(true.shape[1], np.float32)
    for place, column in enumerate(columns):
        rows = np.flatnonzero(weight[:, column])
        if true[rows, column].all() or not true[rows, column].any():
            continue  # only one class
        shares = weight[rows, column] / weight[rows, column].max()
        fitted = LogisticRegression(C=_C, solver="liblinear", tol=1e-3)
        fitted.fit(matrix[rows], true[rows, column] > 0, sample_weight=shares)
        weights[:, place], intercepts[column] = fitted.coef_[0], fitted.intercept_[0]
    return WordFeatures(weights, rarity, np.array(columns, np.int64)), intercepts


def _idf(texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    counts = np.zeros(tokenizer().get_vocab_size())
    for tokens in texts:
        counts[np.unique(np.asarray(tokens, np.int64))] += 1
    idf = np.log((1 + len(texts)) / (1 + counts)) + 1
    return np.where(counts < _MIN_TEXTS, 0, idf).astype(np.float32)


def _matrix(texts: Sequence[Sequence[int]], rarity: NDArray[np.float32]) -> Any:
    from scipy.sparse import csr_matrix

    rows = [counted(tokens, rarity) for tokens in texts]
    ends = np.cumsum([0, *(len(pieces) for pieces, _ in rows)])
    pieces, values = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    return csr_matrix((values, pieces, ends), shape=(len(texts), len(rarity)))


def _mixture(vector_logits: Array, word_logits: Array, true: Array, counts: Array) -> tuple[float, float, Array]:
    """Scales of vectors and words for all labels, and a shift per label, by weighted cross-entropy.

    All arguments have the shape (texts, labels); ``true`` is 0 or 1, ``counts`` are the weights of the loss.
    """
    from scipy.optimize import minimize

    def loss(numbers: Array) -> tuple[float, Array]:
        logits = numbers[0] * vector_logits + numbers[1] * word_logits + numbers[2:]
        error = counts * (1 / (1 + np.exp(-logits)) - true) / len(true)
        entropy = (counts * (np.logaddexp(0, logits) - true * logits)).sum() / len(true)
        gradient = [[(error * vector_logits).sum(), (error * word_logits).sum()], error.sum(axis=0)]
        return float(entropy), np.concatenate(gradient)

    start = np.concatenate([[0.7, 0.4], np.zeros(true.shape[1])])
    found = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return float(found[0]), float(found[1]), found[2:]
