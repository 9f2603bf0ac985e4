"""Tuning by texts without labels, on made-up vectors."""

import numpy as np
import pytest
from numpy.typing import NDArray

from llm.embedded.text_tuning import train

Vectors = NDArray[np.float32]


def groups(counts: tuple[int, ...], seed: int = 0) -> tuple[Vectors, NDArray[np.int64]]:
    """Unit vectors around a middle for each label, and their labels."""
    random = np.random.default_rng(seed)
    middles = random.normal(size=(len(counts), 384))
    true = np.repeat(np.arange(len(counts)), counts)
    vectors = middles[true] + 2.0 * random.normal(size=(len(true), 384))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), true


def unsure(true: NDArray[np.int64], labels: int, preferred: float, seed: int = 1) -> NDArray[np.float64]:
    """Shares of a classifier that knows a little, and prefers the first label."""
    random = np.random.default_rng(seed)
    logits = 1.0 * np.eye(labels)[true] + random.normal(size=(len(true), labels))
    logits[:, 0] += preferred
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)


def right(shares: NDArray[np.float64], true: NDArray[np.int64]) -> float:
    return float((shares.argmax(axis=1) == true).mean())


@pytest.mark.parametrize("counts", [(100, 100, 100, 100), (250, 90, 40, 20)], ids=["even", "uneven"])
def test_a_classifier_that_knows_a_little_learns_which_texts_belong_together(counts: tuple[int, ...]) -> None:
    texts, true = groups(counts)
    shares = unsure(true, len(counts), preferred=0.5)
    vectors, offsets = train(texts[::2], shares[::2])
    after = np.log(shares[1::2]) + texts[1::2] @ vectors.T + offsets
    assert right(shares[1::2], true[1::2]) < 0.65
    assert right(after, true[1::2]) > right(shares[1::2], true[1::2]) + 0.15


def test_texts_without_groups_change_few_answers() -> None:
    random = np.random.default_rng(2)
    texts = random.normal(size=(400, 384))
    texts = (texts / np.linalg.norm(texts, axis=1, keepdims=True)).astype(np.float32)
    shares = unsure(random.integers(0, 3, 400), 3, preferred=0)
    vectors, offsets = train(texts[::2], shares[::2])
    after = np.log(shares[1::2]) + texts[1::2] @ vectors.T + offsets
    assert np.mean(after.argmax(axis=1) == shares[1::2].argmax(axis=1)) > 0.9


def test_the_order_of_texts_and_labels_does_not_matter() -> None:
    texts, true = groups((60, 50, 40))
    shares = unsure(true, 3, preferred=0.5)
    vectors, offsets = train(texts, shares)
    order, labels = np.random.default_rng(3).permutation(len(texts)), [2, 0, 1]
    other_vectors, other_offsets = train(texts[order], shares[order][:, labels])
    np.testing.assert_allclose(other_vectors, vectors[labels], atol=1e-4)
    np.testing.assert_allclose(other_offsets, offsets[labels], atol=1e-3)


def test_a_label_that_no_text_has_is_possible_afterwards() -> None:
    texts, true = groups((80, 80, 0))
    shares = unsure(true, 3, preferred=0.0)
    vectors, offsets = train(texts, shares)
    assert np.isfinite(vectors).all()
    assert offsets.min() > -10
