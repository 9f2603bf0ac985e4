"""The matcher's words: a weight for each word piece and label, and how they and the vectors are added up.

The weights come of logistic regression on the training texts. What the vectors say of those texts is better than what
they say of others, so that the two are weighed against each other on validation films.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.datasets import Example
from llm.embedded.label_vectors import LabelEmbeddingCache, LabelEmbeddings
from llm.embedded.weights import MatcherWeights, WordFeatures, counted
from prompts import registry
from prompts.taxonomy import Label
from similarity.encoders.minilm import MiniLM, tokenizer
from training.matcher.dataset import Item, items
from training.matcher.label_phrasings import Concept

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

_WORDED = ("genres", "reviews")  # sub-genres have too few films for thirty thousand weights each
_LEAST_TEXTS = 3  # that a piece should stand in
_C = 2.0  # how little the weights are held back; of 1, 2 and 5 the best on IMDb's validation films
# Of a list that was cut at three, a missing genre counts half when probabilities are put right: were it false, all of
# them would come out too low, and too high, were it unknown.
_CUT_LISTS_WEIGH = 0.5


def with_words(
    learnt: MatcherWeights,
    given: Sequence[Item],
    judged: Sequence[Example],
    concepts: Sequence[Concept],
    encoder: MiniLM,
) -> MatcherWeights:
    """What was learnt, with words, and with scales and biases that make probabilities of both together.

    Args:
        learnt: without words yet, but with what ``zero_shot_calibration`` adds.
        given: the training texts.
        judged: validation films.
        concepts: the labels, in the order of the items' columns.
        encoder: plain MiniLM.
    """
    columns = [number for number, concept in enumerate(concepts) if concept.kind in _WORDED]
    words, intercepts = _fitted(given, columns)
    known, places = _known(learnt, concepts, encoder)
    films = items(judged, concepts, tokenizer())
    texts = [example.text.body for example in judged]
    tuned = learnt.of_text(MiniLM(learnt.changes, eight_bits=True).encode(texts))
    said = (tuned @ known.taught.T) * known.scales + known.biases
    told = words.logits(texts)[:, [columns.index(place) for place in places]] + intercepts[places]
    true = np.stack([film.true[places] for film in films])
    complete = np.array([example.complete for example in judged])
    weights = np.where(complete[:, None] | (true > 0), 1.0, _CUT_LISTS_WEIGH)
    of_vectors, of_words, shifts = _weighed(said, told, true, weights)
    scales, biases = learnt.scales.copy(), learnt.biases.copy()
    scales[columns] *= of_vectors
    biases[columns] = of_vectors * biases[columns] + of_words * intercepts[columns]
    biases[places] += shifts
    return replace(learnt, scales=scales, biases=biases, words=replace(words, weights=words.weights * of_words))


def _known(learnt: MatcherWeights, concepts: Sequence[Concept], encoder: MiniLM) -> tuple[LabelEmbeddings, list[int]]:
    """IMDb's taxonomy as it is met in use, and which column each of its labels is."""
    labels: Sequence[Label] = registry.taxonomy("imdb").predictable
    place = {concept.name: number for number, concept in enumerate(concepts) if concept.kind == "genres"}
    return LabelEmbeddingCache(encoder, learnt).known(labels), [place[label.name] for label in labels]


def _fitted(given: Sequence[Item], columns: Sequence[int]) -> tuple[WordFeatures, NDArray[np.float32]]:
    """Weights for these columns, and every label's intercept, 0 where it has no weights."""
    from sklearn.linear_model import LogisticRegression

    rarity = _rarity([item.tokens for item in given])
    texts = _matrix([item.tokens for item in given], rarity)
    true, weight = np.stack([item.true for item in given]), np.stack([item.weight for item in given])
    weights, intercepts = np.zeros((len(rarity), len(columns)), np.float32), np.zeros(true.shape[1], np.float32)
    for place, column in enumerate(columns):
        rows = np.flatnonzero(weight[:, column])
        if true[rows, column].all() or not true[rows, column].any():
            continue  # nothing to tell apart
        shares = weight[rows, column] / weight[rows, column].max()
        fitted = LogisticRegression(C=_C, solver="liblinear", tol=1e-3)
        fitted.fit(texts[rows], true[rows, column] > 0, sample_weight=shares)
        weights[:, place], intercepts[column] = fitted.coef_[0], fitted.intercept_[0]
    return WordFeatures(weights, rarity, np.array(columns, np.int64)), intercepts


def _rarity(texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    having = np.zeros(tokenizer().get_vocab_size())
    for tokens in texts:
        having[np.unique(np.asarray(tokens, np.int64))] += 1
    rarity = np.log((1 + len(texts)) / (1 + having)) + 1
    return np.where(having < _LEAST_TEXTS, 0, rarity).astype(np.float32)


def _matrix(texts: Sequence[Sequence[int]], rarity: NDArray[np.float32]) -> Any:
    from scipy.sparse import csr_matrix

    rows = [counted(tokens, rarity) for tokens in texts]
    ends = np.cumsum([0, *(len(pieces) for pieces, _ in rows)])
    pieces, values = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    return csr_matrix((values, pieces, ends), shape=(len(texts), len(rarity)))


def _weighed(said: Array, told: Array, true: Array, weights: Array) -> tuple[float, float, Array]:
    """How much vectors and words count, for all labels, and what is added for each: by weighted cross-entropy.

    Args:
        said: logits by vectors, shape (texts, labels).
        told: logits by words, likewise.
        true: 1 where a label is a text's, likewise.
        weights: how much each of these counts, likewise.
    """
    from scipy.optimize import minimize

    def loss(numbers: Array) -> tuple[float, Array]:
        logits = numbers[0] * said + numbers[1] * told + numbers[2:]
        over = weights * (1 / (1 + np.exp(-logits)) - true) / len(true)
        entropy = (weights * (np.logaddexp(0, logits) - true * logits)).sum() / len(true)
        return float(entropy), np.concatenate([[(over * said).sum(), (over * told).sum()], over.sum(axis=0)])

    start = np.concatenate([[0.7, 0.4], np.zeros(said.shape[1])])
    found = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return float(found[0]), float(found[1]), found[2:]
