"""How often the bound of a certified cascade holds, and how many calls it saves, beside two simpler ways.

Tables are drawn from the texts of a family, the embedded classifier is the small one, and the true labels are those of
the oracle. Each way has the same number of labels. ``naive`` takes the lowest margin whose metric reaches the target
among labelled texts that are drawn at random. ``hoeffding`` requires it of Hoeffding's bound, corrected for the number
of candidates. Without ``--data``, the texts are those of ``SYNTHETIC``::

    python -m benchmarks.cascade
    python -m benchmarks.cascade --data FOLDER
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import table
from eval.betting import Numbers
from eval.certified_cascade import METRICS, Goal, Labeller, Labels, Population, certify, populations
from eval.datasets.families import SuiteFamily, families
from llm.embedded.matcher import matcher
from llm.wrappers.combined import margin

_FAMILIES = ("agnews", "dbpedia14", "stackoverflow", "support_tickets_bitext", "goemotions")
_SYNTHETIC = 4_000  # texts of a pool


@dataclass(frozen=True)
class Pool:
    """A distribution of texts: margin, labels of the small classifier and of the oracle, of each text.

    Attributes:
        name: for the table.
        margins: shape (texts,).
        small: labels of the small classifier.
        oracle: labels of the oracle.
        most: most labels of a text.
        none: whether the oracle may give none.
    """

    name: str
    margins: Numbers
    small: Sequence[Labels]
    oracle: Sequence[Labels]
    most: int = 1
    none: bool = False

    def counts(self, metric: str) -> tuple[Numbers, Numbers, Numbers]:
        """Of each text: errors and parts of the small classifier's answer, and parts of the oracle's."""
        pairs, found = list(zip(self.small, self.oracle, strict=True)), METRICS[metric]
        return (
            np.array([found.errors(*pair) for pair in pairs], float),
            np.array([found.parts(*pair) for pair in pairs], float),
            np.array([found.parts(oracle, oracle) for oracle in self.oracle], float),
        )

    @cached_property
    def size(self) -> int:
        return len(self.margins)


@dataclass(frozen=True)
class Resample:
    """A table that is drawn from a pool, with replacement: ``chosen`` are the places in the pool."""

    pool: Pool
    goal: Goal
    counts: tuple[Numbers, Numbers, Numbers]
    chosen: NDArray[np.intp]
    budget: int
    seed: int

    @cached_property
    def margins(self) -> Numbers:
        return self.pool.margins[self.chosen]

    @cached_property
    def population(self) -> Population:
        small = [self.pool.small[place] for place in self.chosen.tolist()]
        return populations(small, self.margins, self.goal, self.pool.most, self.pool.none, False, self.seed)[0]

    def violated(self, edge: float, in_pool: bool) -> bool:
        """Whether the metric is below the target, in the table or in the pool."""
        places = np.arange(self.pool.size) if in_pool else self.chosen
        errors, parts, of_oracle = (values[places] for values in self.counts)
        alone = self.pool.margins[places] >= edge
        every = parts[alone].sum() + (of_oracle[~alone].sum() if self.goal.over == "all" else 0.0)
        return bool(errors[alone].sum() > (1 - self.goal.target) * every + 1e-9)


# From a table to its margin, infinite where there is none, and the places of the labels that were used.
Way = Callable[[Resample], tuple[float, Sequence[int]]]


def certified(drawn: Resample) -> tuple[float, Sequence[int]]:
    """The margin that ``main.py cascade --target`` finds."""
    oracle = drawn.pool.oracle
    labeller = Labeller(lambda places: [oracle[drawn.chosen[place]] for place in places], drawn.budget)
    found = certify(drawn.population, drawn.goal, labeller, drawn.budget)
    return math.inf if found.margin is None else found.margin, list(labeller.known)


def naive(drawn: Resample) -> tuple[float, Sequence[int]]:
    """The lowest margin whose metric reaches the target among the first texts, which are drawn at random."""
    return _lowest(drawn, 0.0)


def hoeffding(drawn: Resample) -> tuple[float, Sequence[int]]:
    """The lowest margin for which Hoeffding's bound reaches it, at a risk of delta for all candidates together."""
    candidates = len(drawn.population.candidates(1))
    return _lowest(drawn, math.sqrt(math.log(candidates / drawn.goal.delta) / (2 * drawn.budget)))


def _lowest(drawn: Resample, slack: float) -> tuple[float, Sequence[int]]:
    first = drawn.population.places[: drawn.budget]
    errors, parts, _ = (values[drawn.chosen[first]] for values in drawn.counts)
    limit, most = 1 - drawn.goal.target, drawn.population.most
    edges = np.array(drawn.population.candidates(1))
    alone = drawn.margins[first] >= edges[:, None]
    losses = np.where(alone, errors - limit * parts, -limit * drawn.population.sure) / most
    passed = edges[losses.mean(axis=1) + slack <= 0]
    return float(passed.min()) if len(passed) else math.inf, first.tolist()


@dataclass(frozen=True)
class Outcome:
    """Means over the resamples, from 0 to 1.

    Attributes:
        missed: part of the resamples whose table misses the target.
        missed_by_pool: part of those for whose margin the distribution misses it.
        calls: texts that the oracle labels, in the search or in the cascade.
    """

    missed: float
    missed_by_pool: float
    calls: float


def simulate(
    pool: Pool, goal: Goal, texts: int, budget: int, resamples: int, ways: Mapping[str, Way] | None = None
) -> dict[str, Outcome]:
    """Draw tables, and find their margins in each way."""
    generator, counts = np.random.default_rng(0), pool.counts(goal.metric)
    results: dict[str, list[tuple[bool, bool, float]]] = {name: [] for name in ways or WAYS}
    for seed in range(resamples):
        drawn = Resample(pool, goal, counts, generator.integers(0, pool.size, texts), budget, seed)
        for name, found in results.items():
            edge, labelled = (ways or WAYS)[name](drawn)
            called = drawn.margins < edge
            called[list(labelled)] = True
            found.append((drawn.violated(edge, False), drawn.violated(edge, True), float(called.mean())))
    return {name: Outcome(*np.mean(found, axis=0).tolist()) for name, found in results.items()}


def synthetic(name: str, right: Sequence[float]) -> Pool:
    """Texts of evenly distributed margins, of which the small classifier labels a part right that depends on them.

    Args:
        name: of the pool.
        right: that part for margins from 0 to 1, in equal steps.
    """
    margins = (np.arange(_SYNTHETIC) + 0.5) / _SYNTHETIC
    total = np.floor(np.cumsum(np.interp(margins, np.linspace(0, 1, len(right)), right)))
    hits = np.diff(total, prepend=0) > 0
    return Pool(name, margins, [("a",)] * _SYNTHETIC, [("a",) if hit else ("b",) for hit in hits])


def _pool(family: SuiteFamily, split: str) -> Pool:
    """The texts of a family, labelled by the embedded classifier; the oracle has the true labels."""
    loaded = family.load(split).dataset
    examples, taxonomy = loaded.examples, loaded.taxonomy
    predictions = matcher().classify([one.text for one in examples], taxonomy)
    oracle = [one.labels for one in examples]
    most = max([taxonomy.max_labels, *map(len, oracle)]) if taxonomy.multi else 1
    return Pool(
        family.name, np.array([margin(one) for one in predictions]), [one.labels for one in predictions], oracle, most,
        bool(taxonomy.allow_none),
    )  # fmt: skip


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="Folder of families.")
@click.option("--families", "names", default=",".join(_FAMILIES), show_default=True, help="Names, with commas between.")
@click.option("--split", default="validation", show_default=True, help="Split of the texts.")
@click.option("--metric", type=click.Choice(list(METRICS)), default="agreement", show_default=True)
@click.option("--target", type=float, default=0.9, show_default=True)
@click.option("--delta", type=float, default=0.05, show_default=True)
@click.option("--table-only", is_flag=True, help="Certify for the texts of the tables alone.")
@click.option("--texts", default=2_000, show_default=True, help="Texts of a table.")
@click.option("--budget", default=400, show_default=True, help="Labels, at most.")
@click.option("--resamples", default=1_000, show_default=True)
def main(
    data: Path | None, names: str, split: str, metric: str, target: float, delta: float, table_only: bool, texts: int,
    budget: int, resamples: int,
) -> None:  # fmt: skip
    """Print how often each way misses the target, and the part of the texts that the oracle labels."""
    goal, rows = Goal(target, delta, metric, table_only=table_only), []
    for pool in (_pool(family, split) for family in families(data, names.split(","))) if data else SYNTHETIC.values():
        errors, parts, _ = pool.counts(metric)
        every = errors.sum() / max(1.0, parts.sum())
        for way, found in simulate(pool, goal, texts, budget, resamples).items():
            shares = (every, found.missed, found.missed_by_pool, found.calls)
            rows.append((pool.name, way, *(f"{share:.1%}" for share in shares)))
    click.echo(f"{metric} of at least {target:g}, delta {delta:g}")
    click.echo(f"{resamples:,} tables of {texts:,} texts, at most {budget} labels of each")
    click.echo(table(("texts", "way", "wrong alone", "missed", "missed in the pool", "calls"), rows))


SYNTHETIC: Mapping[str, Pool] = {
    pool.name: pool
    for pool in (
        synthetic("calibrated", [0.5, 1.0]),
        synthetic("near the target", [0.898, 0.898]),
        synthetic("sure and wrong", [0.95, 0.95, 0.5]),
        synthetic("steps", [0.2, 0.2, 0.9, 0.97, 0.97]),
    )
}
WAYS: Mapping[str, Way] = {"certified": certified, "naive": naive, "hoeffding": hoeffding}


if __name__ == "__main__":
    main()
