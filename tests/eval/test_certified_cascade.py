"""Certified margins of a cascade: the bound holds as often as it says, and saves calls."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cascade import Pool, certified, hoeffding, naive, simulate
from eval.betting import BettingTest
from eval.certified_cascade import Goal

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
RESAMPLES, DELTA = 1_000, 0.1
# A rate of 0.1 gives more than this in one of a thousand sets of 1,000 resamples.
MOST = DELTA + 3.09 * math.sqrt(DELTA * (1 - DELTA) / RESAMPLES)


def pool(name: str, right: Sequence[float], seed: int = 0) -> Pool:
    """Texts of evenly distributed margins, of which the small classifier labels a part right that depends on them."""
    generator = np.random.default_rng(seed)
    margins = (np.arange(4_000) + 0.5) / 4_000
    hits = generator.random(4_000) < np.interp(margins, np.linspace(0, 1, len(right)), right)
    return Pool(name, margins, [("a",)] * 4_000, [("a",) if hit else ("b",) for hit in hits])


POOLS = {
    "calibrated": pool("calibrated", [0.5, 1.0]),
    "near the target": pool("near the target", [0.898, 0.898]),
    "sure and wrong": pool("sure and wrong", [0.95, 0.95, 0.5]),
    "steps": pool("steps", [0.2, 0.2, 0.9, 0.97, 0.97]),
}


def test_the_capital_reaches_its_level_as_seldom_as_ville_says() -> None:
    generator = np.random.default_rng(0)
    for population in (None, 300):
        reached = 0
        for _ in range(RESAMPLES):
            values = (generator.permutation(300) < 30).astype(float)  # a mean of exactly 0.1
            drawn = values if population else generator.choice(values, 300)
            reached += BettingTest(0.1, [population]).add(drawn).highest >= math.log(1 / DELTA)
        assert 0 < reached / RESAMPLES <= MOST


def test_the_capital_does_not_depend_on_how_values_are_divided() -> None:
    values = np.random.default_rng(1).random(200) * 0.2
    whole, parts = BettingTest(0.15, [None, 1_000]).add(values), BettingTest(0.15, [None, 1_000])
    foreseen = [parts.reaches(level := 2.0, values)]
    for part in np.split(values, [1, 50, 51]):
        parts.add(part)
    assert parts.highest == pytest.approx(whole.highest)
    (count,) = foreseen
    assert count is not None
    assert BettingTest(0.15, [None, 1_000]).add(values[: count - 1]).highest < level
    assert BettingTest(0.15, [None, 1_000]).add(values[:count]).highest >= level


@pytest.mark.parametrize("name", POOLS)
def test_the_bound_holds_as_often_as_it_says(name: str) -> None:
    found = simulate(POOLS[name], Goal(0.9, DELTA), 600, 150, RESAMPLES, {"certified": certified})["certified"]
    assert found.missed <= MOST
    assert found.missed_by_pool <= MOST


def test_a_naive_split_misses_the_target_and_a_fixed_bound_saves_less() -> None:
    ways = {"certified": certified, "naive": naive, "hoeffding": hoeffding}
    found = simulate(POOLS["steps"], Goal(0.9, DELTA), 1_000, 150, 200, ways)
    assert found["naive"].missed > 0.3 > MOST >= found["certified"].missed
    assert found["certified"].calls < found["hoeffding"].calls - 0.1
