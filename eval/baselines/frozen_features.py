"""Frozen features of texts: vectors of plain MiniLM and of the embedded classifier, and its zero-shot scores.

A text is encoded once by each encoder that its labels need, also where its features and its zero-shot scores need both.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from eval.baselines.trained import Track
from eval.metrics import Labels, indicator
from eval.shared_vectors import SharedEncoder, plain_minilm
from llm.embedded.matcher import SHIPPED, Matcher, matcher
from prompts.files import digest_of
from prompts.taxonomy import Taxonomy
from similarity.encoders.tokens import cut

if TYPE_CHECKING:
    from llm.embedded.cosine import TextEncoder
    from similarity.encoders.tokens import Vectors
    from similarity.index.builder import IndexEncoder

_BATCH = 256
_HALF = np.float32(np.sqrt(0.5))  # two unit vectors become one


@dataclass(frozen=True)
class FrozenTexts:
    """Features of texts.

    Attributes:
        vectors: unit vectors, both encoders' side by side, shape (texts, 768).
        zero_shot: probability of each label by the embedded classifier, shape (texts, labels).
        answers: the labels that it gives, same shape; None where they are not needed.
    """

    vectors: NDArray[np.float32]
    zero_shot: NDArray[np.float64]
    answers: Labels | None = None


def encoded(texts: Sequence[str], taxonomy: Taxonomy) -> FrozenTexts:
    """The features of texts for the labels of a taxonomy."""
    model, read = _shared(), cut(texts)
    zero_shot = model.unrounded(read, taxonomy)  # first: it may encode labels, and the vectors of texts are kept then
    sides = model.encoder.encode(read), model.weights.of_text(model.tuned.encode(read))
    return FrozenTexts(_HALF * np.hstack(sides), zero_shot)


def encoded_with_answers(texts: Sequence[str], taxonomy: Taxonomy, track: Track) -> FrozenTexts:
    """The features of texts, and the labels that the embedded classifier gives them without examples."""
    parts = []
    for start in track(range(0, len(texts), _BATCH), "batches encoded"):
        some = cut(texts[start : start + _BATCH])
        features, answers = encoded(some, taxonomy), _shared().classify(some, taxonomy)
        labels = indicator([one.labels for one in answers], taxonomy)
        parts.append((features.vectors, features.zero_shot, labels))
    return FrozenTexts(*(np.concatenate(one) for one in zip(*parts, strict=True)))


@cache
def weights_digest() -> str:
    """Digest of the weights that the features depend on."""
    return digest_of(SHIPPED)


class LastBatch:
    """An encoder that keeps the vectors of the last texts of each thread, so that they are not encoded twice."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.name, self._encoder, self._last = encoder.name, encoder, threading.local()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1, float32, shape (texts, dimension)."""
        texts = tuple(texts)
        if getattr(self._last, "texts", None) != texts:
            self._last.texts, self._last.vectors = texts, self._encoder.encode(texts)
        found: Any = self._last.vectors
        return np.asarray(found, np.float32)


@cache
def _shared() -> Matcher:
    plain = matcher(encoder=plain_minilm())
    return Matcher(
        _shared_encoder(plain.encoder), _shared_encoder(plain.tuned), _shared_encoder(plain.general), plain.weights
    )


def _shared_encoder(encoder: TextEncoder) -> LastBatch:
    return LastBatch(SharedEncoder(cast("IndexEncoder", encoder)))
