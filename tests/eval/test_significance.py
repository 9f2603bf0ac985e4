"""Intervals and tests: known answers, what they say of chance alone, and what of a real difference."""

from collections.abc import Mapping

import numpy as np
import pytest

from eval.metrics import METRICS, RANKING, Labels, Metric
from eval.significance import (
    Sums,
    bootstrap,
    bootstrap_average_precision,
    bootstrap_counts,
    group_numbers,
    holm,
    interval,
    randomisation_test,
)

MICRO = {"micro-F1": METRICS["micro-F1"]}
EXACT = {"subset accuracy": METRICS["subset accuracy"]}


def answers(texts: int, right: float, seed: int) -> tuple[Labels, Labels]:
    """Always the same truths, and decisions that are right with a given probability."""
    true = np.random.default_rng(7).random((texts, 4)) < 0.4
    return true, true ^ (np.random.default_rng(seed).random(true.shape) >= right)


def sums(metrics: Mapping[str, Metric], right: float, seed: int, texts: int = 200, size: int = 1) -> Sums:
    return Sums.of(metrics, *answers(texts, right, seed), np.arange(texts) // size)


def test_sums_over_groups_give_every_metric_as_it_is() -> None:
    true, found = answers(60, 0.7, 1)
    totals = Sums.of(METRICS, true, found, np.arange(60) // 3).totals()
    assert totals == pytest.approx({name: metric(true, found) for name, metric in METRICS.items()})


def test_a_resample_is_the_metric_over_the_texts_that_were_drawn() -> None:
    true, found = answers(20, 0.7, 1)
    groups = np.arange(20) // 2
    scores = np.random.default_rng(3).random(true.shape)
    drawn = bootstrap(Sums.of(METRICS, true, found, groups), 5, seed=9)
    precisions = bootstrap_average_precision(true, scores, groups, 5, seed=9)
    for at, counts in enumerate(np.concatenate(list(bootstrap_counts(10, 5, seed=9))).astype(int)):
        chosen = np.repeat(np.arange(20), counts[groups])
        for name, metric in METRICS.items():
            assert drawn[name][at] == pytest.approx(metric(true[chosen], found[chosen])), name
        assert precisions[at] == pytest.approx(RANKING["macro-AP"](true[chosen], scores[chosen]))


def test_every_resample_draws_as_many_groups_as_there_are() -> None:
    drawn = np.concatenate(list(bootstrap_counts(7, 500, seed=0)))
    assert drawn.shape == (500, 7)
    assert (drawn.sum(axis=1) == 7).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(7), abs=0.15)


def test_the_interval_of_a_share_is_the_one_of_theory() -> None:
    true = np.ones((400, 1), dtype=bool)
    found = (np.arange(400) < 100)[:, None]
    drawn = bootstrap(Sums.of(EXACT, true, found, np.arange(400)))["subset accuracy"]
    around = interval(0.25, drawn)
    half = 1.96 * (0.25 * 0.75 / 400) ** 0.5
    assert (around.low, around.high) == pytest.approx((0.25 - half, 0.25 + half), abs=0.006)


def test_texts_that_depend_on_each_other_widen_the_interval() -> None:
    true, found = (np.repeat(matrix, 4, axis=0) for matrix in answers(100, 0.7, 1))

    def width(groups: np.ndarray[tuple[int], np.dtype[np.intp]]) -> float:
        around = interval(0, bootstrap(Sums.of(MICRO, true, found, groups))["micro-F1"])
        return around.high - around.low

    assert width(np.arange(400) // 4) == pytest.approx(2 * width(np.arange(400)), rel=0.15)


def test_intervals_hold_the_true_figure_about_as_often_as_they_promise() -> None:
    random = np.random.default_rng(11)
    true, held = np.ones((80, 1), dtype=bool), 0
    for seed in range(200):
        found = random.random((80, 1)) < 0.6
        around = interval(0, bootstrap(Sums.of(EXACT, true, found, np.arange(80)), 400, seed)["subset accuracy"])
        held += around.low <= 0.6 <= around.high
    assert 180 <= held <= 198


def test_chance_alone_gives_every_p_equally_often() -> None:
    chances = np.array(
        [
            randomisation_test(sums(MICRO, 0.7, 2 * seed, 100), sums(MICRO, 0.7, 2 * seed + 1, 100), 400, seed)[
                "micro-F1"
            ]
            for seed in range(200)
        ]
    )
    shares = [(chances <= level).mean() for level in (0.05, 0.25, 0.5, 0.75)]
    assert shares == pytest.approx([0.05, 0.25, 0.5, 0.75], abs=0.09)
    assert shares[0] <= 0.09


def test_a_clear_difference_is_found() -> None:
    chances = randomisation_test(sums(METRICS, 0.75, 1), sums(METRICS, 0.9, 2))
    assert chances["micro-F1"] == chances["Hamming"] == 1 / 10_001


def test_p_is_exact_where_it_can_be_counted() -> None:
    true = np.ones((6, 1), dtype=bool)
    worse, better = (Sums.of(EXACT, true, found, np.arange(6)) for found in (~true, true))
    # Only all swapped and none swapped are as extreme: 2 of 64.
    assert randomisation_test(worse, better, 20_000)["subset accuracy"] == pytest.approx(2 / 64, abs=0.004)


def test_who_is_named_first_does_not_matter() -> None:
    one, other = sums(MICRO, 0.8, 1), sums(MICRO, 0.83, 2)
    assert randomisation_test(one, other) == pytest.approx(randomisation_test(other, one))


def test_equal_runs_do_not_differ() -> None:
    assert randomisation_test(sums(MICRO, 0.8, 1), sums(MICRO, 0.8, 1))["micro-F1"] == 1


def test_swapping_groups_is_more_careful_than_swapping_texts() -> None:
    true, found = (np.repeat(matrix, 5, axis=0) for matrix in answers(60, 0.8, 1))
    other = np.repeat(answers(60, 0.86, 2)[1], 5, axis=0)

    def p(groups: np.ndarray[tuple[int], np.dtype[np.intp]]) -> float:
        first, second = (Sums.of(MICRO, true, labels, groups) for labels in (found, other))
        return randomisation_test(first, second)["micro-F1"]

    assert p(np.arange(300) // 5) > 5 * p(np.arange(300))


def test_one_seed_is_one_outcome_and_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    table = sums(MICRO, 0.8, 1, 50)
    whole = bootstrap(table, 100, seed=3)["micro-F1"]
    monkeypatch.setattr("eval.significance._BLOCK", 50 * 7)
    assert bootstrap(table, 100, seed=3)["micro-F1"].tolist() == whole.tolist()
    assert bootstrap(table, 100, seed=4)["micro-F1"].tolist() != whole.tolist()


def test_holm_is_what_the_hand_gets() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1, "b": 1}


def test_groups_are_numbered_by_name() -> None:
    assert group_numbers(["x", "y", "x"]).tolist() == [0, 1, 0]
