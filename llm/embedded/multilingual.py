"""Zero-shot classification in many languages, by the cosines of a multilingual sentence encoder.

The cosines of an encoder lie in a range of its own; those of e5 between 0.7 and 0.9. Three steps make them comparable
between texts, labels and encoders:

- the mean vector of ordinary sentences in 32 languages is subtracted from that of a text, because some labels are near
  every text;
- the mean of a taxonomy's labels is subtracted from each label, so that only their differences count;
- cosines are divided by the spread of the text's cosines to general topics (test normalisation of speaker
  verification, Auckenthaler et al. 2000, doi:10.1006/dspr.1999.0360).

``eval/RESULTS.md`` has the quality, ``eval/EXPERIMENTS.md`` what else was tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from llm.classifier import AnswerSource, Prediction, ScoreType, no_text
from llm.embedded.cosine import COHORT, LABEL_CACHE_BYTES, TextEncoder, described
from llm.embedded.neutral_sentences import SENTENCES
from llm.hierarchical import by_leaves
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text, checked_texts
from similarity.lru import LRUCache
from similarity.native import one_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

# A label's vector is the mean of these; single names are the worst for emotions.
_TEMPLATES = ("The topic is {}.", "This text expresses {}.", "The author feels {}.")
_TOPICS = COHORT[::4]  # all of them change nothing but the time of the first answer
# The constants were chosen on validation texts: SIB-200 (42 languages), BRIGHTER (eight languages) and twelve English
# families count a third each. multilingual-e5-small in four bits made the vectors.
_SLOPE, _PER_SPREAD, _LEAST_SLOPE = 1.26, 0.96, 0.3  # of one label per text; labels that are alike say less
_MULTI_SLOPE, _MULTI_PER_LOG_LABELS, _MULTI_OFFSET = 0.81, -0.95, -0.52  # of several labels per text
_ALONE_SLOPE, _ALONE_OFFSET = 0.47, -0.29  # of the only label of a taxonomy; true and false count the same
_THRESHOLD, _ALONE_THRESHOLD = 0.32, 0.5
_SHARE_OF_BEST = 0.7  # see ``llm.embedded.matcher``
# The best label of a text, less the mean of its three best topics, in standard deviations. Where "none" is an answer,
# 10 % of the texts that have a label are below, and 45 % of texts of other families in other languages.
_RIVALS, _IN_SCOPE = 3, -2.5
_DIGITS = 4  # of scores
_STEP = 10**-_DIGITS


@dataclass(frozen=True)
class _Labels:
    """A taxonomy's labels."""

    vectors: Array  # unit vectors, shape (labels, dimension)
    differences: Array  # unit vectors of their differences from their mean; those of a single label are 0
    slope: float  # from scores to logits, where one label is chosen


@dataclass(frozen=True)
class _Reference:
    """What scores are relative to: vectors of one encoder."""

    centre: Array  # mean of ordinary sentences, shape (dimension,)
    topics: Array  # unit vectors of general topics, shape (topics, dimension)
    topic_differences: Array  # unit vectors of their differences from their mean
    spread: float  # root mean square of these differences before they are scaled


@dataclass(frozen=True)
class MultilingualClassifier:
    """A probability per label: that it applies, or, in a taxonomy of single labels, that it is the one.

    Texts and labels may be in different languages. Label vectors are cached by taxonomy, up to ``max_bytes``.
    """

    encoder: TextEncoder
    max_bytes: int = LABEL_CACHE_BYTES
    _cache: LRUCache[str, _Labels] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        size = LRUCache[str, _Labels](self.max_bytes, lambda one: one.vectors.nbytes + one.differences.nbytes)
        object.__setattr__(self, "_cache", size)

    @property
    def name(self) -> str:
        return f"embedded/{self.encoder.name}"

    @property
    def decode_rule(self) -> str:
        """How scores become labels, in words."""
        return (
            f"probability of {_THRESHOLD:g} or {_SHARE_OF_BEST:g} of the best, of an only label {_ALONE_THRESHOLD:g}; "
            "at most max_labels; none where the text is out of scope"
        )

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; labels come best first, with a probability for every label."""
        if isinstance(taxonomy, Hierarchy):
            return by_leaves(self.classify, texts, taxonomy)
        originals = checked_texts(texts)
        source = AnswerSource(self.name, taxonomy.versioned_name)
        found = iter(self.predict([(text, taxonomy) for text in originals if not text.empty]))
        return [Prediction((), source, problem=no_text(text)) if text.empty else next(found) for text in originals]

    def predict(self, pairs: Sequence[tuple[Text, Taxonomy]]) -> list[Prediction]:
        """One prediction per pair of a text, which is not empty, and a taxonomy, in order.

        Each text is encoded once, however many pairs it is in.
        """
        if not pairs:
            return []
        places = {text: place for place, text in enumerate(dict.fromkeys(text for text, _ in pairs))}
        vectors = self.encoder.encode([text.joined for text in places])
        groups: dict[Taxonomy, list[int]] = {}
        for at, (_, taxonomy) in enumerate(pairs):
            groups.setdefault(taxonomy, []).append(at)
        found: dict[int, Prediction] = {}
        for taxonomy, members in groups.items():
            rows = vectors[[places[pairs[at][0]] for at in members]]
            found |= zip(members, self._decoded(rows, taxonomy), strict=True)
        return [found[at] for at in range(len(pairs))]

    def _decoded(self, vectors: Array, taxonomy: Taxonomy) -> list[Prediction]:
        source, known, reference = AnswerSource(self.name, taxonomy.versioned_name), self._of(taxonomy), self._reference
        with one_thread():
            texts = _unit(vectors - reference.centre)
            scores = _probabilities(texts, known, reference, taxonomy).tolist()
            open_ended = bool(taxonomy.allow_none) and len(known.vectors) > 1  # an only label has its threshold
            scoped = _in_scope(texts, known, reference) if open_ended else [True] * len(texts)
        return [_decode(row, taxonomy, source, bool(one)) for row, one in zip(scores, scoped, strict=True)]

    def _of(self, taxonomy: Taxonomy) -> _Labels:
        found = self._cache.get(taxonomy.digest)
        if found is None:
            found = self._encoded(taxonomy.predictable)
            self._cache.put(taxonomy.digest, found)
        return found

    def _encoded(self, labels: Sequence[Label]) -> _Labels:
        words = [template.format(described(label)) for template in _TEMPLATES for label in labels]
        each = self.encoder.encode(words).reshape(len(_TEMPLATES), len(labels), -1)
        vectors = _unit(each.sum(axis=0))
        differences = vectors - vectors.mean(axis=0)
        spread = max(_root_mean_square(differences) / self._reference.spread, 1e-6)
        slope = max(_LEAST_SLOPE, _SLOPE + _PER_SPREAD * math.log(spread))
        return _Labels(vectors, _unit(differences), slope)

    @cached_property
    def _reference(self) -> _Reference:
        topics = self.encoder.encode(_TOPICS)
        differences = topics - topics.mean(axis=0)
        centre = self.encoder.encode(SENTENCES).mean(axis=0)
        return _Reference(centre, topics, _unit(differences), _root_mean_square(differences))


def _probabilities(texts: Array, known: _Labels, reference: _Reference, taxonomy: Taxonomy) -> Array:
    """Probabilities of a taxonomy's labels, shape (texts, labels)."""
    if len(known.vectors) == 1:
        return _independent(_ALONE_SLOPE * _topic_scores(texts, known, reference)[0] + _ALONE_OFFSET)
    scores = texts @ known.differences.T
    scores -= scores.mean(axis=1, keepdims=True)
    scores /= np.maximum((texts @ reference.topic_differences.T).std(axis=1, keepdims=True), 1e-6)
    if taxonomy.multi:
        return _independent(
            _MULTI_SLOPE * scores + _MULTI_PER_LOG_LABELS * math.log(len(known.vectors)) + _MULTI_OFFSET
        )
    powers = np.exp(known.slope * (scores - scores.max(axis=1, keepdims=True)))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _topic_scores(texts: Array, known: _Labels, reference: _Reference) -> tuple[Array, Array]:
    """Cosines to labels and to topics, in standard deviations of the latter from their mean."""
    topics = texts @ reference.topics.T
    mean, spread = topics.mean(axis=1, keepdims=True), np.maximum(topics.std(axis=1, keepdims=True), 1e-6)
    return np.asarray((texts @ known.vectors.T - mean) / spread), np.asarray((topics - mean) / spread)


def _in_scope(texts: Array, known: _Labels, reference: _Reference) -> NDArray[np.bool_]:
    """Whether each text is about one of the labels, shape (texts,)."""
    labels, topics = _topic_scores(texts, known, reference)
    rivals = np.partition(topics, -_RIVALS, axis=1)[:, -_RIVALS:].mean(axis=1)
    return np.asarray(labels.max(axis=1) - rivals >= _IN_SCOPE)


def _decode(row: Sequence[float], taxonomy: Taxonomy, source: AnswerSource, in_scope: bool) -> Prediction:
    pairs = zip(taxonomy.names, (round(value, _DIGITS) for value in row), strict=True)
    scores = dict(sorted(pairs, key=lambda pair: -pair[1]))
    best = next(iter(scores.values()))
    alone = len(scores) == 1
    floor = _ALONE_THRESHOLD if alone else max(_STEP, min(_THRESHOLD, _SHARE_OF_BEST * best))
    chosen = [name for name, score in scores.items() if score >= floor and in_scope][: taxonomy.max_labels]
    if not chosen and not taxonomy.allow_none:
        chosen = list(scores)[:1]
    score_type: ScoreType = "probability" if taxonomy.multi or alone else "share"
    return Prediction(tuple(chosen), source, scores, score_type=score_type)


def _independent(logits: Array) -> Array:
    with np.errstate(over="ignore"):  # of logits below -88, whose probability is 0
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), np.float32)


def _root_mean_square(differences: Array) -> float:
    return float(np.sqrt((differences**2).sum(axis=1).mean()))
