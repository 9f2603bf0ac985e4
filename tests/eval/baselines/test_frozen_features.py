"""Vectors of recent texts are kept, and texts are encoded once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eval.baselines.frozen_features import RecentVectors
from similarity.encoders.minilm import MiniLM


class Counting:
    """MiniLM, and every text that it has encoded."""

    def __init__(self) -> None:
        self._encoder = MiniLM()
        self.name, self.encoded = self._encoder.name, list[str]()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.encoded += texts
        return self._encoder.encode(texts)


def test_a_text_is_encoded_once_and_its_vector_does_not_depend_on_the_batch() -> None:
    counting = Counting()
    recent = RecentVectors(counting)
    batches = (["a cat", "a much longer text about two dogs", "a cat"], ["a bird", "a cat"], [])
    for texts in batches:
        found = recent.encode(texts)
        assert found.shape == (len(texts), 384)
        assert np.array_equal(found, MiniLM().encode(texts))
    assert counting.encoded == ["a cat", "a much longer text about two dogs", "a bird"]


def test_the_least_recent_text_is_encoded_again_where_there_are_too_many() -> None:
    counting = Counting()
    recent = RecentVectors(counting, most=2)
    for text in ("one", "two", "one", "three", "one", "two"):
        assert recent.encode([text]).shape == (1, 384)
    assert counting.encoded == ["one", "two", "three", "two"]
