"""Learned parameters of the matcher: read from their file, word features, and embeddings of labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.embedded.cosine import LABEL_CACHE_BYTES, TextEncoder
from llm.embedded.label_phrases import label_phrases
from prompts.taxonomy import Label, Taxonomy
from similarity.encoders.tokens import cut, tokenizer
from similarity.lru import LRUCache
from similarity.native import one_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

# Of a file of weights: names of the parts of the film branch, and what those of the general one begin with.
PARTS = ("wordings", "offsets", "scales", "biases", "centre")
GENERAL = "general."
# Chosen on validation texts far from films, and of sub-genres that are not in the training data: share of the trained
# branch for a new label in a taxonomy of films, and the nearness above which this branch is used alone.
_FILM, _SEEN = 0.7, 0.6
_EXACTNESS = 40.0  # softmax scale over wordings: .1 of cosine is a factor of e to the 4th


@dataclass(frozen=True)
class WordFeatures:
    """A weight for each word piece and label, over TF-IDF (Spärck Jones 1972).

    In the vector of a plot, a decisive word ("sheriff", "android") is one of many. Word weights and vectors make errors
    on different texts, so their sum is better than each (``weights/matcher.v2.md``).

    """

    weights: Array  # added to a label's logit per piece, shape (pieces, labels)
    rarity: Array  # inverse document frequency of each piece; 0 for pieces that are rare in training, shape (pieces,)
    labels: NDArray[np.int64]  # training label of each column

    def logits(self, texts: Sequence[str]) -> Array:
        """Logits of the words of each text, shape (texts, labels)."""
        found = np.empty((len(texts), len(self.labels)), np.float32)
        for row, text in enumerate(cut(texts)):
            pieces, counts = counted(text.pieces, self.rarity)
            found[row] = counts @ self.weights[pieces]
        return found


@dataclass(frozen=True)
class GeneralWeights:
    """The learned parameters of the general branch: for labels that are not about films."""

    changes: Mapping[str, Array]  # added to MiniLM's weights, by their names
    tower: Mapping[str, Array]  # a hidden layer over plain label vectors, as ``MatcherWeights.tower``
    centre: Array  # subtracted from vectors of texts, shape (384,)

    def of_labels(self, plain: Array) -> Array:
        """Unit vectors of labels for comparison with texts, from those of plain MiniLM, shape (labels, 384)."""
        return residual(plain, self.tower)


@dataclass(frozen=True)
class MatcherWeights:
    """The learned parameters of a ``Matcher``."""

    name: str  # name of the matcher
    changes: Mapping[str, Array]  # added to MiniLM's weights, by their names
    wordings: Array  # unit vectors of the wordings of all training labels, shape (wordings, 384)
    labels: NDArray[np.int64]  # label of each wording, shape (wordings,)
    # A hidden layer over the tuned vectors of texts, added to them: ``hidden.weight`` of shape (hidden, 384),
    # ``hidden.bias``, ``out.weight`` of shape (384, hidden), ``out.bias``.
    tower: Mapping[str, Array]
    offsets: Array  # added to the vector of each training label, shape (labels, 384)
    scales: Array  # from the cosine to each training label to a logit, shape (labels,)
    biases: Array  # added to that logit, shape (labels,)
    words: WordFeatures  # word features of some of the labels
    centre: Array  # mean of plain MiniLM's vectors of texts of all kinds, shape (384,)
    general: GeneralWeights
    numbers: Mapping[str, float] = field(default_factory=dict)  # scales, biases and bounds; see ``Matcher``

    def of_text(self, vectors: Array) -> Array:
        """Unit vectors of texts for comparison with labels: fine-tuned vectors after the tower."""
        return residual(vectors, self.tower)


@dataclass(frozen=True)
class LabelEmbeddings:
    """Embeddings and learned parameters of a taxonomy's labels; arrays have one row per label, in taxonomy order."""

    plain: Array  # unit vectors of the labels by plain MiniLM, shape (labels, 384)
    general: Array  # unit vectors of the labels for the general branch, shape (labels, 384)
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
        plain = self._encoded(label_sets)
        with one_thread():
            return self._apart(label_sets, plain)

    def _apart(self, label_sets: Sequence[Sequence[Label]], plain: Array) -> list[LabelEmbeddings]:
        """The embeddings of each set, from the vectors of the labels of all sets, shape (labels, 384)."""
        learned, numbers = self._weights, self._weights.numbers
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
            plain, learned.general.of_labels(plain), _unit(plain + shares @ learned.offsets), shares @ learned.scales,
            shares @ learned.biases, shares[:, learned.words.labels], nearness, alone, alone,
        )  # fmt: skip
        found, start = [], 0
        for labels in label_sets:
            part = slice(start, start := start + len(labels))
            own = LabelEmbeddings(*(getattr(together, one.name)[part].copy() for one in fields(LabelEmbeddings)))
            if len(labels) > 1:
                # The first quartile: one genre among topics does not make a taxonomy of films.
                typical = self._filmlike(first_quartile(nearest[part]))
                own = replace(own, share=np.asarray(most[part] * typical, np.float32))
            found.append(own)
        return found

    def _encoded(self, label_sets: Sequence[Sequence[Label]]) -> Array:
        """Unit vectors of the labels: of their names and of their descriptions, at equal weight."""
        pairs = [pair for labels in label_sets for pair in label_phrases(labels)]
        words = dict.fromkeys(words for pair in pairs for words in pair)
        place = {one: at for at, one in enumerate(words)}
        vectors = self._encoder.encode(list(words))
        names, described = ([place[words] for words in side] for side in zip(*pairs, strict=True))
        return _unit(vectors[names] + vectors[described])

    def _filmlike(self, nearest: Array | np.float32) -> Array:
        numbers = self._weights.numbers
        return _ramp(nearest, numbers["film from"], numbers["film to"])


def first_quartile(values: Array) -> np.float32:
    """``np.quantile(values, 0.25)`` to the last digit; that imports ``numpy.ma``, a fiftieth of a cold start."""
    ordered, place = np.sort(values), (len(values) - 1) * 0.25
    low = int(place)
    below, above, share = ordered[low], ordered[min(low + 1, len(ordered) - 1)], np.float64(place - low)
    step = above - below
    return np.float32(below + step * share if share < 0.5 else above - step * (1 - share))


def residual(vectors: Array, tower: Mapping[str, Array]) -> Array:
    """Unit vectors: the given ones plus what a hidden layer with GELU (arXiv 1606.08415) adds to them."""
    before = vectors @ tower["hidden.weight"].T + tower["hidden.bias"]
    hidden = before * (1 + erf(before / np.float32(math.sqrt(2)))) / 2
    return _unit(np.asarray(vectors + hidden @ tower["out.weight"].T + tower["out.bias"], np.float32))


def erf(x: Array) -> Array:
    """Return the error function in float32, within 7e-7 (Abramowitz and Stegun 1964, 7.1.26); SciPy weighs 140 MB."""
    size = np.abs(x)
    t = 1 / (1 + np.float32(0.3275911) * size)
    powers = np.zeros_like(t)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        powers = t * (powers + np.float32(factor))
    return np.asarray(np.copysign(1 - powers * np.exp(-size * size), x), np.float32)


class StoredChanges(Mapping[str, "Array"]):
    """Changes of a model's weights as ``save`` stored them: a matrix is the product of two, computed when it is read.

    The 42 MB of a branch are then computed only where its model is loaded, and not kept.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._whole, self._left, self._right = (_under(prefix, tensors) for prefix in ("change.", "left.", "right."))

    def __getitem__(self, name: str) -> Array:
        if name in self._whole:
            return _single(self._whole[name])
        return np.asarray(_single(self._left[name]) @ _single(self._right[name]), np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter((*self._whole, *self._left))

    def __len__(self) -> int:
        return len(self._whole) + len(self._left)


def load(path: Path) -> MatcherWeights:
    """Read what ``save`` wrote.

    Raises:
        FileNotFoundError: there is no such file.
    """
    from safetensors import safe_open

    with safe_open(str(path), "np") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
        metadata = dict(file.metadata())
    numbers = {name: float(value) for name, value in metadata.items() if name != "name"}
    parts: dict[str, Any] = {name: _single(found[name]) for name in PARTS}
    weights = found["words.weights"].astype(np.float32) * _single(found["words.steps"])
    parts["words"] = WordFeatures(weights, _single(found["words.rarity"]), found["words.labels"])
    general = _under(GENERAL, found)
    parts["general"] = GeneralWeights(StoredChanges(general), _tower(general), _single(general["centre"]))
    changes, tower = StoredChanges(found), _tower(found)
    return MatcherWeights(metadata["name"], changes, labels=found["labels"], tower=tower, numbers=numbers, **parts)


def _tower(tensors: Mapping[str, NDArray[Any]]) -> dict[str, Array]:
    return {name: _single(one) for name, one in _under("tower.", tensors).items()}


def _single(tensor: NDArray[Any]) -> Array:
    """The numbers in float32, in which everything is computed; files have half of that."""
    return tensor.astype(np.float32)


def _under(prefix: str, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Tensors whose names start with a prefix, without it."""
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}


def untrained(centre: Array) -> GeneralWeights:
    """A general branch that is plain MiniLM; ``centre`` is the mean of its vectors of texts, shape (384,)."""
    width = len(centre)
    shapes = {"hidden.weight": (1, width), "hidden.bias": (1,), "out.weight": (width, 1), "out.bias": (width,)}
    return GeneralWeights({}, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, centre)


def no_words() -> WordFeatures:
    """Word features without labels."""
    pieces = tokenizer().get_vocab_size()
    return WordFeatures(np.zeros((pieces, 0), np.float32), np.zeros(pieces, np.float32), np.zeros(0, np.int64))


def counted(tokens: Sequence[int], rarity: Array) -> tuple[NDArray[Any], Array]:
    """The distinct pieces of a text and their TF-IDF values (logarithmic counts), as a unit vector."""
    pieces, counts = np.unique(np.asarray(tokens, np.int64), return_counts=True)
    weighed = ((1 + np.log(counts)) * rarity[pieces]).astype(np.float32)
    return pieces, weighed / max(float(np.linalg.norm(weighed)), 1e-9)


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
