"""Vectors of labels, cached by taxonomy: for the matcher, and for classification by their cosines to a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from llm.classifier import AnswerSource, Prediction, no_text
from llm.embedded.weights import MatcherWeights
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text, checked_texts
from similarity.lru import LRUCache

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

# Chosen on validation texts far from films, and of sub-genres that are not in the training data: share of the trained
# branch for a new label in a taxonomy of films, and the nearness above which this branch is used alone.
_FILM, _SEEN = 0.7, 0.6
_EXACTNESS = 40.0  # softmax scale over wordings: .1 of cosine is a factor of e to the 4th
# Size of a cache. A label takes 3.5 KB in ``LabelEmbeddingCache``, so this is about 18,000 labels.
LABEL_CACHE_BYTES = 64 * 2**20
# Minimum z-score of a chosen label's similarity among the similarities of the text.
# On tmdb's validation split .7 gives micro-F1 .409 with 4.1 labels a text, 1.0 gives .398 with 3.0; chosen for brevity.
_MIN_Z_SCORE = 1.0
# Minimum cosine of a chosen label where "none" is an answer. The best label of unrelated texts mostly has .05 to .2, of
# related ones .2 to .7: a coarse guard.
_MIN_COSINE = 0.2


class TextEncoder(Protocol):
    """Texts to unit vectors, shape (texts, dimension)."""

    name: str

    def encode(self, texts: Sequence[str]) -> Array: ...


@dataclass(frozen=True)
class LabelEmbeddings:
    """Embeddings and learned parameters of a taxonomy's labels; arrays have one row per label, in taxonomy order."""

    plain: Array  # unit vectors of the labels by plain MiniLM, shape (labels, 384)
    trained: Array  # ``plain`` plus the learned offsets of the nearest training labels, shape (labels, 384)
    scales: Array  # from cosines to logits, learned for the nearest training labels
    biases: Array  # added to those logits
    words: Array  # weights of the training labels with word features, shape (labels, columns of ``WordFeatures``)
    nearness: Array  # 0 to 1, similarity to the training labels
    share: Array  # 0 to 1, weight of the trained branch; the rest is the weight of the zero-shot branch (z-scores)
    alone: Array  # ``share`` of the label as the only one of its taxonomy


class LabelEmbeddingCache:
    """Embeddings of labels by plain MiniLM, cached by taxonomy, so that labels are not encoded for every request.

    The least recently used taxonomies are dropped beyond ``max_bytes`` of vectors.
    """

    def __init__(self, encoder: TextEncoder, weights: MatcherWeights, max_bytes: int = LABEL_CACHE_BYTES) -> None:
        self._encoder, self._weights = encoder, weights
        self._cache: LRUCache[str, LabelEmbeddings] = LRUCache(max_bytes, _bytes)

    def of(self, taxonomy: Taxonomy) -> LabelEmbeddings:
        return self._cache.get(taxonomy.digest) or self.of_each([taxonomy])[0]

    def of_each(self, taxonomies: Sequence[Taxonomy]) -> list[LabelEmbeddings]:
        """Embeddings of several taxonomies; labels that are not cached are encoded together, each once."""
        found = {digest: self._cache.get(digest) for digest in {taxonomy.digest for taxonomy in taxonomies}}
        missing = {one.digest: one.predictable for one in taxonomies if found[one.digest] is None}
        new = dict(zip(missing, self._embeddings(list(missing.values())), strict=True)) if missing else {}
        for digest, known in new.items():
            self._cache.put(digest, known)
        return [found[one.digest] or new[one.digest] for one in taxonomies]

    def of_labels(self, labels: Sequence[Label]) -> LabelEmbeddings:
        """Embeddings of these labels as one taxonomy; not cached."""
        return self._embeddings([labels])[0]

    def _embeddings(self, label_sets: Sequence[Sequence[Label]]) -> list[LabelEmbeddings]:
        learned, numbers = self._weights, self._weights.numbers
        plain = self._encoded([label for labels in label_sets for label in labels])
        cosines = plain @ learned.wordings.T
        nearest = cosines.max(axis=1)
        weights = np.exp(_EXACTNESS * (cosines - nearest[:, None]))
        shares = (
            weights @ (learned.labels[:, None] == np.arange(len(learned.biases))) / weights.sum(axis=1, keepdims=True)
        )
        nearness = _ramp(nearest, numbers["near from"], numbers["near to"])
        most = _FILM + (1 - _FILM) * np.minimum(1, nearness / _SEEN)
        alone = most * self._filmlike(nearest)
        together = LabelEmbeddings(
            plain, _unit(plain + shares @ learned.offsets), shares @ learned.scales, shares @ learned.biases,
            shares[:, learned.words.labels], nearness, alone, alone,
        )  # fmt: skip
        found, start = [], 0
        for labels in label_sets:
            part = slice(start, start := start + len(labels))
            own = LabelEmbeddings(*(getattr(together, one.name)[part].copy() for one in fields(LabelEmbeddings)))
            if len(labels) > 1:
                # The first quartile: one genre among topics does not make a taxonomy of films.
                typical = self._filmlike(np.quantile(nearest[part], 0.25))
                own = replace(own, share=np.asarray(most[part] * typical, np.float32))
            found.append(own)
        return found

    def _encoded(self, labels: Sequence[Label]) -> Array:
        """Unit vectors of the labels: of their names and of their descriptions, at equal weight."""
        words = dict.fromkeys(words for label in labels for words in (label.name, described(label)))
        place = {one: at for at, one in enumerate(words)}
        vectors = self._encoder.encode(list(words))
        names = vectors[[place[label.name] for label in labels]]
        return _unit(names + vectors[[place[described(label)] for label in labels]])

    def _filmlike(self, nearest: Array | np.float32) -> Array:
        numbers = self._weights.numbers
        return _ramp(nearest, numbers["film from"], numbers["film to"])


@dataclass(frozen=True)
class CosineClassifier:
    """Zero-shot by the cosines between a text's vector and those of the labels' names and descriptions; no training.

    Scores are cosine similarities, not probabilities, best first. At least one label is chosen unless the taxonomy
    allows none. ``eval/RESULTS.md`` has its quality. Up to ``max_bytes`` of label vectors are cached.
    """

    encoder: TextEncoder
    max_bytes: int = LABEL_CACHE_BYTES
    _labels: LRUCache[str, Array] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_labels", LRUCache(self.max_bytes, lambda vectors: vectors.nbytes))

    @property
    def name(self) -> str:
        return f"embedded/{self.encoder.name}"

    @property
    def decode_rule(self) -> str:
        """How scores become labels, in words."""
        return f"{_MIN_Z_SCORE:g} standard deviation above the text's mean, at most max_labels, the best one at least"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; labels come best first, with a score for every label of the taxonomy."""
        originals = checked_texts(texts)
        readable = [text.joined for text in originals if not text.empty]
        source = AnswerSource(self.name, taxonomy.versioned_name)
        rows = iter((self.encoder.encode(readable) @ self.label_vectors(taxonomy).T).tolist() if readable else ())
        return [
            Prediction((), source, problem=no_text(text)) if text.empty else _decode(next(rows), taxonomy, source)
            for text in originals
        ]

    def label_vectors(self, taxonomy: Taxonomy) -> Array:
        """Vectors of the predictable labels, shape (labels, dimension)."""
        vectors = self._labels.get(taxonomy.digest)
        if vectors is None:
            vectors = self.encoder.encode([described(label) for label in taxonomy.predictable])
            self._labels.put(taxonomy.digest, vectors)
        return vectors


def described(label: Label) -> str:
    """Name and description of a label as one string."""
    return f"{label.name}: {label.description}" if label.description else label.name


def joined(known: Sequence[LabelEmbeddings]) -> LabelEmbeddings:
    """Several taxonomies' labels as one, in order."""
    return LabelEmbeddings(
        *(np.concatenate([getattr(one, part.name) for one in known]) for part in fields(LabelEmbeddings))
    )


def _bytes(known: LabelEmbeddings) -> int:
    return sum(getattr(known, part.name).nbytes for part in fields(LabelEmbeddings))


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _ramp(value: Array | np.float32, start: float, end: float) -> Array:
    return np.asarray(np.clip((value - start) / (end - start), 0, 1), np.float32)


def _decode(similarities: Sequence[float], taxonomy: Taxonomy, source: AnswerSource) -> Prediction:
    pairs = zip(taxonomy.names, (round(value, 4) for value in similarities), strict=True)
    scores = dict(sorted(pairs, key=lambda pair: -pair[1]))
    ranked = list(scores)
    mean = sum(scores.values()) / len(scores)
    deviation = (sum((value - mean) ** 2 for value in scores.values()) / len(scores)) ** 0.5
    chosen = [name for name in ranked if scores[name] - mean >= _MIN_Z_SCORE * deviation][: taxonomy.max_labels]
    chosen = chosen or ranked[:1]  # few labels with similar scores may all be below the minimum
    if taxonomy.allow_none:
        chosen = [name for name in chosen if scores[name] >= _MIN_COSINE]
    return Prediction(tuple(chosen), source, scores, score_type="similarity")
