"""How far chance alone may move a figure: intervals for one run, tests between two.

Whatever is resampled is a group of texts (the versions of one film), never a text: texts of one group are not
independent, and drawing them apart would make intervals too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.metrics.classification import Labels, Metric, Numbers
from eval.metrics.ranking import weighted_macro_average_precision

RESAMPLES = 2_000
SWAPS = 10_000
LEVEL = 0.95
# Cells of one block of draws: 16 MB, so that 25,000 texts fit a small machine.
_BLOCK = 2_000_000

Figures = Mapping[str, Numbers]


@dataclass(frozen=True)
class Interval:
    """A figure and the limits between which 95 of 100 resamples fall."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Sums:
    """What each group adds to the sums of several metrics: the one table that all resampling works from.

    Attributes:
        metrics: the metrics, by name.
        table: shape (groups, parts of all metrics side by side).
        bounds: the columns of each metric: first, and one past the last.
    """

    metrics: Mapping[str, Metric]
    table: Numbers
    bounds: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, metrics: Mapping[str, Metric], true: Labels, predicted: Labels, groups: NDArray[np.intp]) -> Sums:
        """Add up the texts of every group; ``groups`` holds each text's group number, shape (texts,)."""
        parts = [metric.parts(true, predicted) for metric in metrics.values()]
        ends = np.cumsum([part.shape[1] for part in parts]).tolist()
        side_by_side = np.concatenate(parts, axis=1)
        table = np.zeros((groups.max() + 1, side_by_side.shape[1]))
        np.add.at(table, groups, side_by_side)
        return cls(metrics, table, dict(zip(metrics, zip([0, *ends[:-1]], ends, strict=True), strict=True)))

    def totals(self) -> dict[str, float]:
        """Every metric over all groups, as they are."""
        return {name: float(found[0]) for name, found in self.figures(self.table.sum(axis=0)[None]).items()}

    def figures(self, sums: Numbers) -> Figures:
        """Every metric's figures, shape (draws,), from sums of shape (draws, parts)."""
        return {name: metric.value(sums[:, slice(*self.bounds[name])]) for name, metric in self.metrics.items()}


def numbered(groups: Sequence[str]) -> NDArray[np.intp]:
    """Groups as numbers from 0."""
    return np.unique(np.asarray(groups), return_inverse=True)[1]


def bootstrap(sums: Sums, resamples: int = RESAMPLES, seed: int = 0) -> Figures:
    """Every metric over resamples of the groups, drawn with replacement (Efron 1979; Koehn 2004 for language).

    One seed draws the same groups for every table with as many of them, so that two runs over the same texts are
    resampled in pairs and their figures may be subtracted.

    Returns:
        Figures of shape (resamples,) for every metric.
    """
    drawn = [sums.figures(counts @ sums.table) for counts in draws(len(sums.table), resamples, seed)]
    return _joined(drawn)


def bootstrap_average_precision(
    true: Labels, scores: Numbers, groups: NDArray[np.intp], resamples: int = RESAMPLES, seed: int = 0
) -> Numbers:
    """Macro average precision over the resamples that ``bootstrap`` draws, shape (resamples,)."""
    drawn = draws(int(groups.max()) + 1, resamples, seed)
    return np.concatenate([weighted_macro_average_precision(true, scores, counts[:, groups]) for counts in drawn])


def interval(value: float, resampled: Numbers, level: float = LEVEL) -> Interval:
    """The percentile interval of resampled figures around a figure."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def randomisation(first: Sums, second: Sums, swaps: int = SWAPS, seed: int = 0) -> Mapping[str, float]:
    """Paired approximate randomisation test of two runs over the same texts (Noreen 1989; Yeh 2000).

    If the runs differ by chance alone, who gave which answer does not matter: each group's answers are swapped between
    the runs with probability 1/2, and p is how often the difference is then as large as the one seen, in either
    direction, as (count + 1) / (swaps + 1). Two-sided.

    Returns:
        p for every metric.
    """
    step = second.table - first.table
    differing = step[(step != 0).any(axis=1)]  # swapping equal answers changes nothing
    totals = first.table.sum(axis=0), second.table.sum(axis=0)
    seen = _differences(first, *(total[None] for total in totals))
    extreme = dict.fromkeys(first.metrics, 0)
    for swapped in coins(len(differing), swaps, seed):
        moved = swapped @ differing
        for name, found in _differences(first, totals[0] + moved, totals[1] - moved).items():
            # Sums of fractions differ in their last digits with the order of adding; a tie is still a tie.
            extreme[name] += int((np.abs(found) >= np.abs(seen[name]) - 1e-12).sum())
    return {name: (count + 1) / (swaps + 1) for name, count in extreme.items()}


def holm(chances: Mapping[str, float]) -> Mapping[str, float]:
    """p values corrected for having tested several metrics (Holm 1979): each may be compared with the level itself."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, (name, chance) in enumerate(sorted(chances.items(), key=lambda pair: pair[1])):
        highest = max(highest, min(1.0, (len(chances) - rank) * chance))
        adjusted[name] = highest
    return {name: adjusted[name] for name in chances}


def draws(groups: int, resamples: int, seed: int) -> Iterator[Numbers]:
    """How often each group is drawn in each resample: blocks of shape (some resamples, groups)."""
    random = np.random.default_rng(seed)
    for rows in _blocks(groups, resamples):
        cells = random.integers(0, groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
        yield np.bincount(cells.ravel(), minlength=rows * groups).reshape(rows, groups).astype(float)


def coins(groups: int, swaps: int, seed: int) -> Iterator[Numbers]:
    """Fair coins, one a group: blocks of 0 and 1 of shape (some swaps, groups)."""
    random = np.random.default_rng(seed)
    for rows in _blocks(groups, swaps):
        yield random.integers(0, 2, size=(rows, groups), dtype=np.uint8).astype(float)


def _blocks(groups: int, total: int) -> Iterator[int]:
    rows = max(1, _BLOCK // max(1, groups))
    for start in range(0, total, rows):
        yield min(rows, total - start)


def _differences(sums: Sums, first: Numbers, second: Numbers) -> Figures:
    ahead, behind = sums.figures(second), sums.figures(first)
    return {name: ahead[name] - behind[name] for name in sums.metrics}


def _joined(drawn: Sequence[Figures]) -> Figures:
    return {name: np.concatenate([block[name] for block in drawn]) for name in drawn[0]}
