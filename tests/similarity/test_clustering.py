"""Clusters of vectors and their keywords: found again where they are planted, the same for the same texts."""

from collections.abc import Sequence

import numpy as np
import pytest

from similarity.clustering import cluster
from similarity.keywords import keywords


def planted(groups: int, each: int, noise: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around random directions, and the group of each."""
    generator = np.random.default_rng(7)
    centres = generator.normal(size=(groups, 32))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    members = np.repeat(np.arange(groups), each)
    vectors = centres[members] + noise * generator.normal(size=(groups * each, 32))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), members


@pytest.mark.parametrize("groups", [3, 5, 8])
def test_planted_groups_and_their_number_are_found(groups: int) -> None:
    vectors, members = planted(groups, 20)
    found = cluster(vectors, range(2, 12))
    assert len(found.centres) == groups
    pairs = set(zip(found.members.tolist(), members.tolist(), strict=True))
    assert len(pairs) == groups  # one cluster per group, and the reverse
    assert found.separation > 0.5


def test_the_same_vectors_give_the_same_clusters() -> None:
    vectors, _ = planted(6, 15, noise=0.4)
    first, second = cluster(vectors, range(3, 10)), cluster(vectors, range(3, 10))
    assert np.array_equal(first.members, second.members)
    assert np.array_equal(first.centres, second.centres)


def test_vectors_that_are_all_the_same_are_no_error() -> None:
    vectors = np.full((8, 4), 0.5, np.float32)
    found = cluster(vectors, [2])
    assert found.members.shape == (8,)
    assert np.isfinite(found.separation)


TEXTS = ["The printer jams.", "Our printer needs toner.", "The invoice is wrong.", "Send the invoice again, please."]


def same(terms: Sequence[str]) -> np.ndarray:
    return np.tile(np.array([1.0, 0.0], np.float32), (len(terms), 1))


def test_keywords_are_frequent_in_their_cluster_and_rare_elsewhere() -> None:
    centres = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    found = keywords(TEXTS, [0, 0, 1, 1], centres, same)
    assert [terms[0] for terms in found] == ["printer", "invoice"]
    assert all("the" not in terms for terms in found)


def test_the_meaning_decides_between_terms_of_the_same_frequency() -> None:
    def near_toner(terms: Sequence[str]) -> np.ndarray:
        return np.array([[1.0, 0.0] if term == "toner" else [0.2, 0.9] for term in terms], np.float32)

    texts = ["printer toner", "toner and printer", "invoice", "invoice"]
    (first, _) = keywords(texts, [0, 0, 1, 1], np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), near_toner)
    assert first[0] == "toner"


def test_texts_without_words_have_no_keywords() -> None:
    assert keywords(["1 2", "3 4"], [0, 0], np.ones((1, 2), np.float32), same) == [[]]
