"""Margins of a cascade for which a metric is certified, from a limited number of labels of an oracle.

The method is that of BARGAIN (Zeighami, Shankar and Parameswaran, Cut Costs, Not Accuracy, 2025): candidate margins
are tested from the highest on, and the first one that is not certified ends the search. So no correction for the
number of candidates is needed. Each test is a betting test (``eval.betting``), which may be looked at after every
label: labels are drawn until a margin is certified, and only of texts that the small classifier would answer alone.

The oracle answers the other texts, so they count as right. ``CascadeMetric`` defines what that means for each metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eval.betting import BETS, BettingTest, Numbers

Over = Literal["all", "answered"]
Labels = tuple[str, ...]
# From places in the table to the oracle's labels; None for a text that it cannot label, which counts as an error.
Oracle = Callable[[Sequence[int]], Sequence[Labels | None]]
CANDIDATES = 20


@dataclass(frozen=True)
class CascadeMetric:
    """A share of something that is right: 1 - sum of errors / sum of all.

    Attributes:
        errors: from the labels of the small classifier and of the oracle to the number of errors of a text.
        parts: the number of things of a text that could be right; at least its errors.
        single: whether ``parts`` is always 1, the text itself.
    """

    errors: Callable[[Labels, Labels], int]
    parts: Callable[[Labels, Labels], int]
    single: bool = False


METRICS: Mapping[str, CascadeMetric] = {
    "agreement": CascadeMetric(lambda small, oracle: int({*small} != {*oracle}), lambda small, oracle: 1, single=True),
    "precision": CascadeMetric(lambda small, oracle: len({*small} - {*oracle}), lambda small, oracle: len(small)),
    "recall": CascadeMetric(lambda small, oracle: len({*oracle} - {*small}), lambda small, oracle: len(oracle)),
}


@dataclass(frozen=True)
class Goal:
    """What to certify.

    Attributes:
        target: value that the metric has at least, above 0 and below 1.
        delta: probability that it has not, at most.
        metric: a name in ``METRICS``.
        over: ``all`` texts, or only those ``answered`` by the small classifier alone.
        table_only: certify for the texts of the table alone, and not also for others of their distribution.
    """

    target: float
    delta: float
    metric: str = "agreement"
    over: Over = "all"
    table_only: bool = False


@dataclass
class Labeller:
    """Requests labels of the oracle, each text once, and at most ``budget`` of them."""

    oracle: Oracle
    budget: int
    known: dict[int, Labels | None] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Number of labels that may still be requested."""
        return self.budget - len(self.known)

    def label(self, places: Sequence[int]) -> None:
        """Request the labels of texts whose labels are not known."""
        self.known.update(zip(places, self.oracle(places), strict=True))


@dataclass(frozen=True)
class Population:
    """Texts that share a margin.

    Attributes:
        places: their places in the table, in random order, shape (texts,).
        margins: their margins, shape (texts,).
        small: labels of the small classifier, by place in the table.
        most: most parts of a text.
        sure: parts that a text answered by the oracle has at least, all of them right.
        label: the label that they share; empty: all texts.
    """

    places: NDArray[np.intp]
    margins: Numbers
    small: Sequence[Labels]
    most: int
    sure: int
    label: str = ""

    def candidates(self, least: int) -> list[float]:
        """Margins above 0, the highest first, each with about a twentieth of the texts more than the last.

        The first one has at least ``least`` texts.
        """
        ordered = np.sort(self.margins)[::-1]
        sizes = np.ceil(np.arange(1, CANDIDATES + 1) * len(ordered) / CANDIDATES).astype(int)
        return [float(edge) for edge in dict.fromkeys(ordered[sizes[sizes >= least] - 1]) if edge > 0]

    def parts(self, metric: CascadeMetric, place: int, oracle: Labels | None) -> tuple[int, int]:
        """Errors and parts of a text."""
        if oracle is None:
            return self.most, self.most
        pair = self.small[place], oracle
        if self.label:
            return int(self.label not in oracle if not metric.single else metric.errors(*pair)), 1
        return metric.errors(*pair), metric.parts(*pair)


@dataclass(frozen=True)
class Certified:
    """The outcome for one population.

    Attributes:
        margin: the lowest margin that is certified; None: not even the highest one is.
        share: part of the texts at or above it.
        observed: the metric's value among the labelled texts at or above it; None without labels.
        stopped: why no lower margin is certified.
    """

    margin: float | None
    share: float
    observed: float | None
    stopped: str


def populations(
    small: Sequence[Labels], margins: Numbers, goal: Goal, most: int, none: bool, by_label: bool, seed: int = 0
) -> list[Population]:
    """The texts that share a margin: all of them, or those of each label of the small classifier, most texts first.

    Args:
        small: labels of the small classifier for each text of the table.
        margins: its margin for each text, shape (texts,).
        goal: what to certify.
        most: most labels of a text.
        none: whether the oracle may give a text no label.
        by_label: whether each label has a margin of its own.
        seed: of the order in which texts are drawn.
    """
    order = np.random.default_rng(seed).permutation(len(small))
    single = METRICS[goal.metric].single
    sure = int(goal.over == "all" and (single or not (none or by_label)))
    if not by_label:
        return [Population(order, margins[order], small, 1 if single else most, sure)]
    places: dict[str, list[int]] = {}
    for place in order.tolist():
        for name in small[place]:
            places.setdefault(name, []).append(place)
    ordered = sorted(places.items(), key=lambda one: (-len(one[1]), one[0]))
    return [Population(np.array(found), margins[found], small, 1, sure, name) for name, found in ordered]


def certify(population: Population, goal: Goal, labeller: Labeller, budget: int) -> Certified:
    """Find the lowest margin for which the goal is certified, with at most ``budget`` new labels.

    ``goal.delta`` is the risk of this population alone; several of them share theirs.
    """
    search = _Search(population, goal, labeller, labeller.left - min(budget, labeller.left))
    if len(population.places) < search.least:
        return Certified(None, 0.0, None, f"{len(population.places)} texts are too few; give {search.least} or more")
    found, stopped = None, "no text has a lower margin above 0"
    for edge in population.candidates(search.least):
        if stop := search.test(edge):
            stopped = stop
            break
        found = edge
    return search.outcome(found, stopped)


class _Search:
    """The tests of one population's candidates; ``reserved`` labels of the budget are for others."""

    def __init__(self, population: Population, goal: Goal, labeller: Labeller, reserved: int) -> None:
        self._population, self._goal, self._labeller, self._reserved = population, goal, labeller, reserved
        self._metric, self._limit = METRICS[goal.metric], 1 - goal.target
        self._needed = math.log(1 / goal.delta)
        size = len(population.places)
        self._losses = np.full(size, np.nan)  # of a labelled text that the small classifier answers
        self._errors, self._parts = np.zeros(size), np.zeros(size)
        self._sent = self._limit * (1 - population.sure / population.most)  # the loss of a text that it does not answer
        # Fewer texts than this may not suffice, even without errors; a candidate that fails ends the search.
        self.least = 1 if population.sure else math.ceil(2 * (self._needed + math.log(len(BETS))) / self._limit)
        self._take([place for place in population.places.tolist() if place in labeller.known])

    def test(self, edge: float) -> str:
        """Why a margin is not certified; empty if it is."""
        alone = self._population.margins >= edge
        test, against, done = self._test(), BettingTest(self._goal.target), 0
        while True:
            end = self._labelled(alone)
            values = np.where(alone, self._losses, self._sent)[done:end]
            if test.add(values).highest >= self._needed:
                return ""
            if end == len(alone):
                return "all texts are labelled, and the target is not reached at the next margin"
            if against.add(1 - values).highest >= self._needed:
                return "the target is missed at the next margin"
            done, waiting = end, self._next(test, alone, end)
            if not len(waiting):
                enough = self._labeller.left - self._reserved > int(np.isnan(self._losses[alone]).sum())
                return f"{'the texts are too few' if enough else 'the budget is too small'} for the next margin"
            self._label(waiting)

    def outcome(self, edge: float | None, stopped: str) -> Certified:
        """The result of a search that ended at this margin."""
        if edge is None:
            return Certified(None, 0.0, None, stopped)
        alone = self._population.margins >= edge
        drawn = np.flatnonzero(alone[: self._labelled(alone)])  # in random order; others have high margins
        parts = self._parts[drawn].sum()
        return Certified(
            edge, float(alone.mean()), float(1 - self._errors[drawn].sum() / parts) if parts else None, stopped
        )

    def _test(self) -> BettingTest:
        """Of the table, and of the distribution of its texts."""
        return BettingTest(self._limit, [len(self._losses)] if self._goal.table_only else [len(self._losses), None])

    def _labelled(self, alone: NDArray[np.bool_]) -> int:
        """Number of texts before the first one whose label is needed and not known."""
        waiting = np.flatnonzero(alone & np.isnan(self._losses))
        return int(waiting[0]) if len(waiting) else len(alone)

    def _next(self, test: BettingTest, alone: NDArray[np.bool_], start: int) -> NDArray[np.intp]:
        """The positions to label next: as many as certify the margin if all are right; none if that is too many."""
        waiting = start + np.flatnonzero(alone[start:] & np.isnan(self._losses[start:]))
        left = self._labeller.left - self._reserved
        end = int(waiting[left]) if len(waiting) > left else len(alone)
        losses = np.where(np.isnan(self._losses), 0.0, self._losses)
        hoped = np.where(alone, losses, self._sent)[start:end]
        count = test.reaches(self._needed, hoped) if len(hoped) else None
        return waiting[:0] if count is None else waiting[waiting < start + count]

    def _label(self, positions: NDArray[np.intp]) -> None:
        places = self._population.places[positions].tolist()
        self._labeller.label(places)
        self._set(positions, places)

    def _take(self, places: Sequence[int]) -> None:
        """Use labels that are known from other populations."""
        positions = np.flatnonzero(np.isin(self._population.places, places))
        self._set(positions, self._population.places[positions].tolist())

    def _set(self, positions: NDArray[np.intp], places: Sequence[int]) -> None:
        known = self._labeller.known
        pairs = [self._population.parts(self._metric, place, known[place]) for place in places]
        for position, (errors, parts) in zip(positions, pairs, strict=True):
            self._errors[position], self._parts[position] = errors, parts
            self._losses[position] = self._limit + (errors - self._limit * parts) / self._population.most
