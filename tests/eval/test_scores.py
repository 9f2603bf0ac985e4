"""Metrics of scores: ranking against scikit-learn, ties and weights included; calibration."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, label_ranking_average_precision_score

from eval.metrics import (
    BINS,
    CALIBRATION,
    RANKING,
    Labels,
    Numbers,
    average_precision,
    brier,
    ece,
    reliability_curve,
    weighted_macro_average_precision,
)

FEW = settings(deadline=None, max_examples=30)
COLUMN = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])), min_size=1, max_size=60)


def scored(seed: int, ties: bool) -> tuple[Labels, Numbers]:
    """Forty texts over five labels, each label true at least once."""
    random = np.random.default_rng(seed)
    true = random.random((40, 5)) < 0.3
    true[np.arange(5), np.arange(5)] = True
    scores = random.random((40, 5))
    return true, scores.round(1) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_scikit_learns(ties: bool) -> None:
    true, scores = scored(1, ties)
    assert RANKING["macro-AP"](true, scores) == pytest.approx(average_precision_score(true, scores, average="macro"))
    assert RANKING["micro-AP"](true, scores) == pytest.approx(average_precision_score(true, scores, average="micro"))


@pytest.mark.parametrize("ties", [False, True])
def test_the_average_precision_of_rankings_is_scikit_learns(ties: bool) -> None:
    true, scores = scored(5, ties)
    true[0], true[1] = False, True  # no label; all labels
    theirs = label_ranking_average_precision_score(true, scores)
    assert RANKING["LRAP"](true, scores) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_a_weight_counts_a_text_as_often_as_it_says(ties: bool) -> None:
    true, scores = scored(2, ties)
    counts = np.random.default_rng(3).integers(0, 3, (2, 40))
    counts[:, :5] += 1
    found = weighted_macro_average_precision(true, scores, counts.astype(float))
    for one, repeats in zip(found, counts, strict=True):
        theirs = average_precision_score(true.repeat(repeats, axis=0), scores.repeat(repeats, axis=0), average="macro")
        assert one == pytest.approx(theirs)


def test_a_label_that_no_text_bears_has_an_average_precision_of_0() -> None:
    assert average_precision(np.zeros(3, dtype=bool), np.arange(3.0), np.ones((2, 3))).tolist() == [0, 0]


def test_each_is_what_the_hand_gets() -> None:
    true = np.array([[True, False, True], [False, True, False]])
    scores = np.array([[0.9, 0.5, 0.1], [0.2, 0.8, 0.3]])
    assert RANKING["LRAP"](true, scores) == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    assert RANKING["coverage error"](true, scores) == pytest.approx((3 + 1) / 2)
    assert RANKING["ranking loss"](true, scores) == pytest.approx((1 / 2 + 0) / 2)
    assert RANKING["macro-AP"](true, scores) == pytest.approx((1 + 1 + 1 / 2) / 3)


def test_a_perfect_ranking_is_perfect() -> None:
    true, _ = scored(4, ties=False)
    scores = true.astype(float)
    best = {"coverage error": true.sum(axis=1).mean(), "ranking loss": 0.0}
    for name, metric in RANKING.items():
        assert metric(true, scores) == pytest.approx(best.get(name, 1.0)), name


def test_the_scale_of_the_scores_does_not_matter() -> None:
    true, scores = scored(5, ties=True)
    for name, metric in RANKING.items():
        assert metric(true, 3 * scores - 7) == pytest.approx(metric(true, scores)), name


def split(column: list[tuple[bool, float]]) -> tuple[Labels, Numbers]:
    return np.array([true for true, _ in column]), np.array([score for _, score in column])


def test_two_bins_are_what_the_hand_gets() -> None:
    found = reliability_curve(np.array([False, True, True, True]), np.array([0.1, 0.3, 0.6, 0.8]), bins=2)
    assert found.scores.tolist() == pytest.approx([0.2, 0.7])
    assert found.shares.tolist() == [0.5, 1.0]
    assert found.counts.tolist() == [2, 2]
    assert found.error == pytest.approx((0.3 + 0.3) / 2)


def test_bins_hold_the_same_number_of_texts_whatever_the_scores() -> None:
    scores = np.random.default_rng(1).random(15 * 20) ** 8
    assert reliability_curve(scores > 0.5, scores).counts.tolist() == [20] * BINS


def test_the_curve_is_scikit_learns_where_no_scores_are_equal() -> None:
    random = np.random.default_rng(2)
    scores = random.random(15 * 40 + 1)
    true = random.random(len(scores)) < scores
    came, said = calibration_curve(true, scores, n_bins=BINS, strategy="quantile")
    found = reliability_curve(true, scores)
    assert found.scores == pytest.approx(said, abs=0.01)
    assert found.shares == pytest.approx(came, abs=0.03)


@FEW
@given(COLUMN, st.randoms(use_true_random=False))
def test_the_order_of_the_texts_does_not_matter(column: list[tuple[bool, float]], random: Any) -> None:
    shuffled = random.sample(column, len(column))
    assert ece(*split(shuffled)) == pytest.approx(ece(*split(column)))


@FEW
@given(COLUMN)
def test_errors_lie_between_0_and_1_and_every_text_is_in_a_bin(column: list[tuple[bool, float]]) -> None:
    true, scores = split(column)
    assert 0 <= ece(true, scores) <= 1
    assert reliability_curve(true, scores).counts.sum() == len(column)


def test_scores_that_come_true_as_often_as_they_say_have_a_small_error_and_bold_ones_a_large_one() -> None:
    random = np.random.default_rng(3)
    scores = random.random(20_000)
    true = random.random(20_000) < scores
    assert ece(true, scores) < 0.02
    assert ece(true, (scores > 0.5).astype(float)) == pytest.approx(0.25, abs=0.02)


def test_the_macro_error_is_the_mean_of_the_labels() -> None:
    random = np.random.default_rng(4)
    true, scores = random.random((50, 2)) < 0.5, random.random((50, 2))
    labels = [ece(true[:, at], scores[:, at]) for at in (0, 1)]
    assert CALIBRATION["ECE"](true, scores) == pytest.approx(sum(labels) / 2)


def test_brier_is_scikit_learns_label_by_label() -> None:
    random = np.random.default_rng(5)
    true, scores = random.random((50, 3)) < 0.5, random.random((50, 3))
    assert brier(true, scores) == pytest.approx(
        np.mean([brier_score_loss(true[:, at], scores[:, at]) for at in range(3)])
    )


def test_certainty_that_is_right_has_no_error() -> None:
    true = np.eye(4, dtype=bool)
    for metric in CALIBRATION.values():
        assert metric(true, true.astype(float)) == 0
