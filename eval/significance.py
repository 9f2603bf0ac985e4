"""Statistical uncertainty: bootstrap intervals for one run, randomisation tests between two.

The unit of resampling is a group of texts (the versions of one film). Texts of one group are not independent;
resampling them separately would make intervals too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from eval.metrics import Labels, Metric, Numbers, weighted_macro_average_precision

Name = TypeVar("Name")
RESAMPLES = 2_000
SWAPS = 10_000
LEVEL = 0.95
_BLOCK = 2_000_000  # cells drawn at once: 16 MB, so 25,000 texts fit a small machine


@dataclass(frozen=True)
class Interval:
    """A value and the limits of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Sums:
    """Each group's contribution to the sums of several metrics.

    ``table`` has shape (groups, parts of all metrics); ``bounds`` are the columns of each metric.
    """

    metrics: Mapping[str, Metric]
    table: Numbers
    bounds: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, metrics: Mapping[str, Metric], true: Labels, predicted: Labels, groups: NDArray[np.intp]) -> Sums:
        """Sum the texts of every group; ``groups`` is each text's group number, shape (texts,)."""
        parts = [metric.parts(true, predicted) for metric in metrics.values()]
        ends = np.cumsum([part.shape[1] for part in parts]).tolist()
        joined = np.concatenate(parts, axis=1)
        table = np.zeros((groups.max() + 1, joined.shape[1]))
        np.add.at(table, groups, joined)
        return cls(metrics, table, dict(zip(metrics, zip([0, *ends[:-1]], ends, strict=True), strict=True)))

    def totals(self) -> dict[str, float]:
        """Every metric over all groups."""
        return {name: float(values[0]) for name, values in self.values(self.table.sum(axis=0)[None]).items()}

    def values(self, sums: Numbers) -> dict[str, Numbers]:
        """Every metric's values, shape (draws,), from sums of shape (draws, parts)."""
        return {name: metric.value(sums[:, slice(*self.bounds[name])]) for name, metric in self.metrics.items()}


def group_numbers(groups: Sequence[str]) -> NDArray[np.intp]:
    """Groups as numbers from 0."""
    return np.unique(np.asarray(groups), return_inverse=True)[1]


def bootstrap(sums: Sums, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Numbers]:
    """Every metric over resamples of the groups, drawn with replacement (Efron 1979; Koehn 2004); shape (resamples,).

    A seed draws the same groups for every table of the same number of groups. So two runs over the same texts are
    resampled in pairs, and their values may be subtracted.
    """
    drawn = [sums.values(counts @ sums.table) for counts in bootstrap_counts(len(sums.table), resamples, seed)]
    return {name: np.concatenate([block[name] for block in drawn]) for name in sums.metrics}


def bootstrap_average_precision(
    true: Labels, scores: Numbers, groups: NDArray[np.intp], resamples: int = RESAMPLES, seed: int = 0
) -> Numbers:
    """Macro average precision over the resamples that ``bootstrap`` draws, shape (resamples,)."""
    drawn = bootstrap_counts(int(groups.max()) + 1, resamples, seed)
    return np.concatenate([weighted_macro_average_precision(true, scores, counts[:, groups]) for counts in drawn])


def interval(value: float, resampled: Numbers, level: float = LEVEL) -> Interval:
    """The percentile interval of resampled values."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def randomisation_test(first: Sums, second: Sums, swaps: int = SWAPS, seed: int = 0) -> Mapping[str, float]:
    """p of every metric, by a two-sided paired approximate randomisation test (Noreen 1989; Yeh 2000).

    Each group's predictions are swapped between the runs with probability 1/2. p is the share of swaps whose difference
    is at least the observed one, as (count + 1) / (swaps + 1).
    """
    step = second.table - first.table
    differing = step[(step != 0).any(axis=1)]  # swapping equal groups changes nothing
    totals = first.table.sum(axis=0), second.table.sum(axis=0)
    observed = _differences(first, *(total[None] for total in totals))
    extreme = dict.fromkeys(first.metrics, 0)
    for swapped in _coins(len(differing), swaps, seed):
        moved = swapped @ differing
        for name, values in _differences(first, totals[0] + moved, totals[1] - moved).items():
            # The order of summation changes the last digits; the tolerance keeps ties equal.
            extreme[name] += int((np.abs(values) >= np.abs(observed[name]) - 1e-12).sum())
    return {name: (count + 1) / (swaps + 1) for name, count in extreme.items()}


def holm(p_values: Mapping[Name, float]) -> Mapping[Name, float]:
    """p values corrected for several tests (Holm 1979); each may be compared with the significance level itself."""
    adjusted: dict[Name, float] = {}
    highest = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda pair: pair[1])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def bootstrap_counts(groups: int, resamples: int, seed: int) -> Iterator[Numbers]:
    """How often each group is drawn in each resample: blocks of shape (resamples of the block, groups)."""
    random = np.random.default_rng(seed)
    for rows in _blocks(groups, resamples):
        cells = random.integers(0, groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
        yield np.bincount(cells.ravel(), minlength=rows * groups).reshape(rows, groups).astype(float)


def _coins(groups: int, swaps: int, seed: int) -> Iterator[Numbers]:
    """Fair coins, one per group: blocks of 0 and 1 of shape (swaps of the block, groups)."""
    random = np.random.default_rng(seed)
    for rows in _blocks(groups, swaps):
        yield random.integers(0, 2, size=(rows, groups), dtype=np.uint8).astype(float)


def _blocks(groups: int, total: int) -> Iterator[int]:
    rows = max(1, _BLOCK // max(1, groups))
    for start in range(0, total, rows):
        yield min(rows, total - start)


def _differences(sums: Sums, first: Numbers, second: Numbers) -> dict[str, Numbers]:
    before, after = sums.values(first), sums.values(second)
    return {name: after[name] - before[name] for name in sums.metrics}
