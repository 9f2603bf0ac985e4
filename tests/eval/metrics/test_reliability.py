"""Metrics of scores as probabilities."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from eval.metrics.classification import Labels, Numbers
from eval.metrics.reliability import BINS, CALIBRATION, brier, curve, ece

FEW = settings(deadline=None, max_examples=30)
COLUMN = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])), min_size=1, max_size=60)


def split(column: list[tuple[bool, float]]) -> tuple[Labels, Numbers]:
    return np.array([true for true, _ in column]), np.array([score for _, score in column])


def test_two_bins_are_what_the_hand_gets() -> None:
    found = curve(np.array([False, True, True, True]), np.array([0.1, 0.3, 0.6, 0.8]), bins=2)
    assert found.said.tolist() == pytest.approx([0.2, 0.7])
    assert found.came.tolist() == [0.5, 1.0]
    assert found.texts.tolist() == [2, 2]
    assert found.error == pytest.approx((0.3 + 0.3) / 2)


def test_bins_hold_the_same_number_of_texts_whatever_the_scores() -> None:
    scores = np.random.default_rng(1).random(15 * 20) ** 8
    assert curve(scores > 0.5, scores).texts.tolist() == [20] * BINS


def test_the_curve_is_scikit_learns_where_no_scores_are_equal() -> None:
    random = np.random.default_rng(2)
    scores = random.random(15 * 40 + 1)
    true = random.random(len(scores)) < scores
    came, said = calibration_curve(true, scores, n_bins=BINS, strategy="quantile")
    found = curve(true, scores)
    assert found.said == pytest.approx(said, abs=0.01)
    assert found.came == pytest.approx(came, abs=0.03)


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
    assert curve(true, scores).texts.sum() == len(column)


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
