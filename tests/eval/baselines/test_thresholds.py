"""Thresholds: what each rule gives, what tuning finds, and what rare labels may not do."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.baselines.thresholds import OBJECTIVES, RULES, Decoding, Objective, Rule, f1, tune
from eval.metrics import METRICS

SCORES = np.array([[0.9, 0.5, 0.2], [0.1, 0.3, 0.2], [0.8, 0.7, 0.6]])


def given_by(decoding: Decoding, most: int = 3, allow_none: bool = False) -> list[list[int]]:
    return [np.flatnonzero(row).tolist() for row in decoding.choose(SCORES, most, allow_none)]


def test_a_label_is_given_from_its_threshold_on_and_one_at_least() -> None:
    assert given_by(Decoding("global", (0.5, 0.5, 0.5))) == [[0, 1], [1], [0, 1, 2]]
    assert given_by(Decoding("global", (0.5, 0.5, 0.5)), allow_none=True) == [[0, 1], [], [0, 1, 2]]


def test_every_label_may_have_a_threshold_of_its_own() -> None:
    assert given_by(Decoding("per-label", (0.85, 0.7, 0.2))) == [[0, 2], [2], [1, 2]]


def test_where_too_many_pass_the_best_stay() -> None:
    assert given_by(Decoding("global", (0.5, 0.5, 0.5)), most=2) == [[0, 1], [1], [0, 1]]
    assert given_by(Decoding("per-label", (0.85, 0.1, 0.1)), most=1) == [[0], [1], [1]]


def test_top_k_and_best_count() -> None:
    assert given_by(Decoding("top-k", k=2)) == [[0, 1], [1, 2], [0, 1]]
    assert given_by(Decoding("top-k", k=2), most=1) == given_by(Decoding("best")) == [[0], [1], [0]]


def test_tuning_finds_the_cut_that_parts_true_from_false() -> None:
    truth = np.random.default_rng(0).random((400, 2)) < (0.5, 0.2)
    scores = np.where(truth, (0.9, 0.35), (0.6, 0.1))
    found = tune(scores, truth, "per-label", "macro", max_labels=2)
    assert f1(found.choose(scores, 2, allow_none=True), truth, "macro") == 1
    assert 0.6 < found.thresholds[0] <= 0.9
    assert 0.1 < found.thresholds[1] <= 0.35
    assert f1(tune(scores, truth, "global", "macro", 2).choose(scores, 2, True), truth, "macro") < 1


def test_k_is_tuned_too() -> None:
    scores = np.tile([0.6, 0.5, 0.1], (10, 1))
    truth = np.tile([True, True, False], (10, 1))
    assert tune(scores, truth, "top-k", "micro", max_labels=3).k == 2


def test_a_rare_label_keeps_close_to_the_common_threshold() -> None:
    """Two texts have the label and score .05, where four common labels are best cut much higher."""
    random = np.random.default_rng(0)
    common = random.random(500) < 0.5
    rare = np.zeros(500, dtype=bool)
    rare[:2] = True
    truth = np.stack([common] * 4 + [rare], axis=1)
    scores = np.where(truth, (0.8, 0.8, 0.8, 0.8, 0.05), (0.2, 0.2, 0.2, 0.2, 0.04))
    one = tune(scores, truth, "per-label", "macro", max_labels=5)
    many = tune(np.tile(scores, (300, 1)), np.tile(truth, (300, 1)), "per-label", "macro", max_labels=5)
    assert many.thresholds[4] < 0.08  # six hundred texts are to be believed
    assert one.thresholds[4] > 0.15


def test_micro_thresholds_do_not_lose_against_the_global_one() -> None:
    random = np.random.default_rng(3)
    truth = random.random((600, 5)) < (0.5, 0.3, 0.2, 0.1, 0.05)
    scores = np.clip(random.normal(0.3, 0.15, truth.shape) + 0.25 * truth, 0, 1)
    each, common = (tune(scores, truth, rule, "micro", max_labels=5) for rule in ("per-label", "global"))
    assert f1(each.choose(scores, 5), truth, "micro") >= f1(common.choose(scores, 5), truth, "micro") - 0.003


def test_a_label_whose_probabilities_are_too_low_has_its_threshold_where_they_are_right() -> None:
    random = np.random.default_rng(2)
    right = random.beta(0.6, 1.4, (4000, 2))
    truth = random.random(right.shape) < right
    scores = np.stack([right[:, 0], 1 / (1 + np.exp(1 - np.log(right[:, 1] / (1 - right[:, 1]))))], axis=1)
    first, second = tune(scores, truth, "per-label", "micro", max_labels=2).thresholds
    assert second / (1 - second) == pytest.approx(first / (1 - first) / np.e, rel=0.1)
    assert first == pytest.approx(f1(right > first, truth, "micro") / 2, abs=0.03)  # arXiv 1402.1892


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_fast_f1_is_the_one_that_is_reported(objective: Objective) -> None:
    random = np.random.default_rng(5)
    truth, predicted = random.random((40, 6)) < 0.2, random.random((40, 6)) < 0.3
    truth[:, 5] = predicted[:, 5] = False
    reported = [METRICS[f"{one}-F1"](truth, predicted) for one in ("micro", "macro") if objective in (one, "both")]
    assert f1(predicted, truth, objective) == pytest.approx(np.mean(reported))


def test_for_both_thresholds_lie_between_those_for_either() -> None:
    random = np.random.default_rng(6)
    right = random.beta((0.6, 0.3, 0.2), (1.4, 3.0, 4.0), (3000, 3))
    truth = random.random(right.shape) < right
    micro, macro, both = (np.array(tune(right, truth, "per-label", one, 3).thresholds) for one in OBJECTIVES)
    assert (np.minimum(micro, macro) < both).all()
    assert (both < np.maximum(micro, macro)).all()


def test_a_decoding_outlives_json() -> None:
    decoding = Decoding("per-label", (0.25, 0.5), objective="macro")
    assert Decoding.of_json(json.loads(json.dumps(decoding.as_json()))) == decoding


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("objective", OBJECTIVES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), texts=st.integers(1, 12), labels=st.integers(1, 5), most=st.integers(1, 4))
def test_whatever_is_tuned_keeps_the_bounds(
    rule: Rule, objective: Objective, seed: int, texts: int, labels: int, most: int
) -> None:
    random = np.random.default_rng(seed)
    scores, truth = random.random((texts, labels)).round(1), random.random((texts, labels)) < 0.4
    counts = tune(scores, truth, rule, objective, most).choose(scores, most).sum(axis=1)
    assert counts.min() >= 1
    assert counts.max() <= most
