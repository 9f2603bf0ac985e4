"""Which texts are picked: in doubt, different from each other, always the same ones, and better than random ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from marquee.review.picking import decision_threshold, doubt_of, pick

_CLUSTERS, _SIZE, _DIMENSION, _MOST = 20, 50, 32, 40
Floats = NDArray[np.float64]


def clustered(seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64], Floats, NDArray[np.bool_]]:
    """Vectors in clusters of very different sizes, their cluster, their doubt, and which answers are wrong.

    An answer with the doubt d is wrong with the probability d / 2, as a calibrated classifier of two labels.
    """
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(_CLUSTERS, _DIMENSION))
    shares = 1 / np.arange(1, _CLUSTERS + 1)
    cluster = draw.choice(_CLUSTERS, _CLUSTERS * _SIZE, p=shares / shares.sum())
    vectors = centres[cluster] + 0.3 * draw.normal(size=(len(cluster), _DIMENSION))
    doubts = draw.beta(0.6, 2, len(cluster))
    wrong = draw.random(len(cluster)) < doubts / 2
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), cluster, doubts, wrong


def test_picked_texts_have_more_errors_and_more_clusters_than_random_ones() -> None:
    gains = []
    for seed in range(20):
        vectors, cluster, doubts, wrong = clustered(seed)
        chosen = pick(doubts.tolist(), vectors, _MOST)
        drawn = np.random.default_rng(100 + seed).choice(len(doubts), _MOST, replace=False)
        gains.append([wrong[chosen].sum() - wrong[drawn].sum(), len({*cluster[chosen]}) - len({*cluster[drawn]})])
    errors, clusters = np.mean(gains, axis=0)
    assert errors > 5
    assert clusters > 3
    assert (np.array(gains) > 0).mean(axis=0).min() > 0.8


def test_diversity_covers_clusters_that_doubt_alone_leaves_out() -> None:
    vectors, cluster, _, _ = clustered(3)
    doubts = np.where(cluster == cluster[0], 0.9, 0.6).tolist()
    only_doubt = {*cluster[pick(doubts, vectors, _MOST, diversity=0)]}
    assert only_doubt == {cluster[0]}
    assert len({*cluster[pick(doubts, vectors, _MOST)]}) > 12


def test_the_choice_is_the_same_each_time_and_has_each_text_once() -> None:
    vectors, _, doubts, _ = clustered(7)
    first = pick(doubts.tolist(), vectors, _MOST)
    assert first == pick(doubts.tolist(), vectors, _MOST)
    assert len({*first}) == _MOST
    assert pick([0.5, 0.5, 0.5], np.eye(3, dtype=np.float32), 9) == [0, 1, 2]
    assert pick([], np.zeros((0, 3), np.float32), 9) == []


def test_texts_with_labels_that_no_chosen_one_has_come_first() -> None:
    vectors = np.eye(5, dtype=np.float32)
    vectors[2] = vectors[1]  # equal texts with different labels
    labels = [("a",), ("b",), ("c",), ("a",), ("a", "b")]
    assert pick([0.0] * 5, vectors, 2, 1.0, labels) == [4, 2], "two labels, then the only other one"
    assert pick([0.0] * 5, vectors, 5, 1.0, labels) == [4, 2, 0, 3, 1], "then the texts that differ most"


def test_the_most_doubtful_text_is_first() -> None:
    assert pick([0.1, 0.9, 0.3], np.eye(3, dtype=np.float32), 1) == [1]


@pytest.mark.parametrize(
    ("scores", "exclusive", "allow_none", "value", "why"),
    [
        ({"a": 0.5, "b": 0.4, "c": 0.1}, True, False, 0.9, "a 0.50 and b 0.40 are 0.10 apart"),
        ({"a": 0.45, "b": 0.1}, True, True, 1.0, "a 0.45 and none of the labels 0.45 are 0.00 apart"),
        ({"a": 1.0}, True, True, 0.0, "a 1.00 and none of the labels 0.00 are 1.00 apart"),
        ({"a": 0.99, "b": 0.24, "c": 0.01}, False, False, 0.8, "b 0.24 is near the threshold 0.30"),
        ({"a": 0.65}, True, False, 0.5, "a 0.65 is near the threshold 0.30"),
        ({}, True, False, 0.5, "the answer has no scores"),
    ],
)
def test_doubt_is_a_small_margin_or_a_score_near_the_threshold(
    scores: dict[str, float], exclusive: bool, allow_none: bool, value: float, why: str
) -> None:
    doubt = doubt_of(scores, exclusive, allow_none, threshold=0.3)
    assert doubt.value == pytest.approx(value)
    assert doubt.why == why


def test_the_threshold_is_found_from_answers() -> None:
    """Also where some answers are the best label below the threshold, and some have as many labels as are allowed."""
    draw = np.random.default_rng(0)
    answers: list[tuple[list[str], dict[str, float]]] = []
    for _ in range(300):
        scores = dict(zip("abcdef", draw.beta(0.5, 1.5, 6).tolist(), strict=True))
        ranked = sorted(scores, key=lambda name: -scores[name])
        answers.append(([name for name in ranked if scores[name] >= 0.32][:2] or ranked[:1], scores))
    assert decision_threshold(answers, most_labels=2) == pytest.approx(0.32, abs=0.01)
    assert decision_threshold([], most_labels=2) == 0.5
    assert decision_threshold([(["a"], {"a": 0.9})], most_labels=1) == 0.5
