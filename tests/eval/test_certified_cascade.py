"""Certified margins of a cascade: the bound holds as often as it says, and saves calls."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cascade import SYNTHETIC, Pool, Resample, certified, hoeffding, naive, simulate
from eval.betting import BettingTest
from eval.certified_cascade import Goal, Labeller, Labels, certify, populations
from llm.embedded.matcher import Matcher
from llm.wrappers.combined import margin
from prompts import registry

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
RESAMPLES, DELTA = 1_000, 0.1
# A rate of 0.1 gives more than this in one of a thousand sets of 1,000 resamples.
MOST = DELTA + 3.09 * math.sqrt(DELTA * (1 - DELTA) / RESAMPLES)


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


def drawn_tables(pool: Pool, goal: Goal, count: int = RESAMPLES, texts: int = 240) -> list[Resample]:
    generator, counts = np.random.default_rng(2), pool.counts(goal.metric)
    chosen = generator.integers(0, pool.size, (count, texts))
    return [Resample(pool, goal, counts, row, 100, seed) for seed, row in enumerate(chosen)]


def lowest_margins(tables: Sequence[Resample], goal: Goal) -> tuple[list[float], list[float]]:
    """The margins that are found with a label for every text; no budget and no rule of stopping finds lower ones.

    The first ones are certified for the table alone, the second ones for the distribution, too.
    """
    drawn = [one.population for one in tables]
    limit, most, sure = 1 - goal.target, drawn[0].most, drawn[0].sure
    margins = np.array([one.margins for one in drawn])
    places = np.array([one.chosen[two.places] for one, two in zip(tables, drawn, strict=True)])
    errors, parts, _ = (values[places] for values in tables[0].counts)
    losses = limit + (errors - limit * parts) / most
    found, going = np.full((2, len(tables)), math.inf), np.ones((2, len(tables)), bool)
    for edges in zip_longest(*(one.candidates(1) for one in drawn), fillvalue=math.inf):
        values = np.where(margins >= np.array(edges)[:, None], losses, limit * (1 - sure / most))
        passed = [
            BettingTest(limit, [size] * len(tables)).add(values).each >= math.log(1 / goal.delta)
            for size in (margins.shape[1], None)
        ]
        going &= np.isfinite(edges) & np.array([passed[0], passed[0] & passed[1]])
        found = np.where(going, edges, found)
    return found[0].tolist(), found[1].tolist()


def holds(pool: Pool, goal: Goal) -> None:
    tables = drawn_tables(pool, goal)
    of_table, of_both = lowest_margins(tables, goal)
    assert np.isfinite(of_both).mean() > 0.1  # otherwise there is nothing to miss
    for edges, in_pool in ((of_table, False), (of_both, False), (of_both, True)):
        assert np.mean([one.violated(edge, in_pool) for one, edge in zip(tables, edges, strict=True)]) <= MOST


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_bound_holds_as_often_as_it_says(name: str) -> None:
    holds(SYNTHETIC[name], Goal(0.9, DELTA))


def test_the_bound_of_several_labels_holds_on_the_sample(embedded: Matcher) -> None:
    rows = [json.loads(line) for line in (SAMPLE / "films.jsonl").read_text(encoding="utf-8").splitlines()]
    taxonomy, truth = registry.taxonomy("tmdb"), [tuple(row["tmdb_genres"]) for row in rows]
    answers = embedded.classify([row["plot"] for row in rows], taxonomy)
    most = max(taxonomy.max_labels, *map(len, truth))
    films = Pool("films", np.array([margin(one) for one in answers]), [one.labels for one in answers], truth, most)
    holds(films, Goal(0.7, DELTA, "precision"))


@pytest.mark.parametrize("name", SYNTHETIC)
def test_a_budget_and_early_stops_never_find_a_lower_margin(name: str) -> None:
    goal = Goal(0.9, DELTA)
    tables = drawn_tables(SYNTHETIC[name], goal, 30)
    for one, lowest in zip(tables, lowest_margins(tables, goal)[1], strict=True):
        edge, labelled = certified(one)
        assert edge >= lowest
        assert len(set(labelled)) == len(labelled) <= 100


def test_a_naive_split_misses_the_target_and_a_fixed_bound_saves_less() -> None:
    goal = Goal(0.9, DELTA)
    near = simulate(SYNTHETIC["near the target"], goal, 400, 150, 60, {"certified": certified, "naive": naive})
    assert near["naive"].missed_by_pool > 0.25 > near["certified"].missed_by_pool
    steps = simulate(SYNTHETIC["steps"], goal, 1_000, 150, 30, {"certified": certified, "hoeffding": hoeffding})
    assert steps["certified"].calls < steps["hoeffding"].calls - 0.3


def test_each_label_has_its_margin_and_part_of_the_risk() -> None:
    generator = np.random.default_rng(3)
    small: list[Labels] = [("good",) if even else ("bad",) for even in np.arange(2_000) % 2]
    right = generator.random(2_000) < np.where(np.arange(2_000) % 2, 0.99, 0.6)
    oracle = [names if hit else ("other",) for names, hit in zip(small, right, strict=True)]
    goal = Goal(0.9, 0.05)
    labeller = Labeller(lambda places: [oracle[place] for place in places], 400)
    found = {
        one.label: certify(one, replace(goal, delta=0.025), labeller, 200)
        for one in populations(small, generator.random(2_000), goal, 1, False, by_label=True)
    }
    assert found["good"].share == 1.0
    assert found["bad"].share < 0.3
    assert len(labeller.known) <= 400


def test_texts_that_the_oracle_cannot_label_count_as_errors() -> None:
    small: list[Labels] = [("a",)] * 500
    labeller = Labeller(lambda places: [None] * len(places), 200)
    (population,) = populations(small, np.linspace(0.1, 1, 500), Goal(0.9, 0.1), 1, False, by_label=False)
    found = certify(population, Goal(0.9, 0.1), labeller, 200)
    assert found.share <= 0.1  # so few texts that the target is reached even if all of them are wrong
