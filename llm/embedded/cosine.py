"""Zero-shot classification by the cosine between MiniLM vectors of texts and label descriptions; no training.

``eval/RESULTS.md`` has its quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llm.classifier import AnswerSource, Prediction, no_text
from llm.embedded.label_vectors import LABEL_CACHE_BYTES, TextEncoder, described, sentence
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts
from similarity.lru import LRUCache

if TYPE_CHECKING:
    from similarity.encoders.tokens import Vectors

# Minimum z-score of a chosen label's similarity among the similarities of the text.
# On tmdb's validation split .7 gives micro-F1 .409 with 4.1 labels a text, 1.0 gives .398 with 3.0; chosen for brevity.
_MIN_Z_SCORE = 1.0
# Minimum cosine of a chosen label where "none" is an answer. The best label of unrelated texts mostly has .05 to .2, of
# related ones .2 to .7: a coarse guard.
_MIN_COSINE = 0.2


@dataclass(frozen=True)
class CosineClassifier:
    """Compares a text's vector with the vectors of the labels' names and descriptions.

    Scores are cosine similarities, not probabilities, best first. At least one label is chosen unless the taxonomy
    allows none.
    """

    encoder: TextEncoder
    _labels: LabelVectorCache = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_labels", LabelVectorCache(self.encoder))

    @property
    def name(self) -> str:
        """``embedded/`` and the encoder's name."""
        return f"embedded/{self.encoder.name}"

    @property
    def decode_rule(self) -> str:
        """How scores become labels, in words."""
        return f"{_MIN_Z_SCORE:g} standard deviation above the text's mean, at most max_labels, the best one at least"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; labels come best first, with a score for every label of the taxonomy."""
        originals = checked_texts(texts)
        readable = [text for text in originals if not text.empty]
        source = AnswerSource(self.name, taxonomy.versioned_name)
        rows = iter(self._similarities(readable, taxonomy)) if readable else iter(())
        return [
            Prediction((), source, problem=no_text(text)) if text.empty else _decode(next(rows), taxonomy, source)
            for text in originals
        ]

    def _similarities(self, texts: Sequence[Text], taxonomy: Taxonomy) -> list[list[float]]:
        vectors = self.encoder.encode([sentence(text) for text in texts])
        rows: list[list[float]] = (vectors @ self._labels.of(taxonomy).T).tolist()
        return rows


class LabelVectorCache:
    """Vectors of labels, cached by taxonomy, so that labels are not encoded for every request.

    Args:
        encoder: encodes the labels.
        max_bytes: of the cached vectors; the least recently used taxonomies are dropped.
    """

    def __init__(self, encoder: TextEncoder, max_bytes: int = LABEL_CACHE_BYTES) -> None:
        self._encoder = encoder
        self._cache: LRUCache[str, Vectors] = LRUCache(max_bytes, lambda vectors: vectors.nbytes)

    def of(self, taxonomy: Taxonomy) -> Vectors:
        """Vectors of the predictable labels, shape (labels, dimension)."""
        vectors = self._cache.get(taxonomy.digest)
        if vectors is None:
            vectors = self._encoder.encode([described(label) for label in taxonomy.predictable])
            self._cache.put(taxonomy.digest, vectors)
        return vectors


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
