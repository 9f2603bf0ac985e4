"""The results of a public benchmark: systems measured here beside published models, over the same data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from eval.public_benchmark import PublicBenchmark
from eval.report import suite_results
from eval.report.suite_results import COMMONEST, Draws, FamilyResults
from eval.run_metrics import resampled_metrics
from eval.significance import Interval, interval
from prompts.errors import InvalidDataset

MEASURED = "measured here"


@dataclass(frozen=True)
class BenchmarkRow:
    """A system or a published model: values by data set, and their mean; its interval where it was measured here."""

    name: str
    kind: str
    parameters: str
    values: Mapping[str, float]
    mean: float
    limits: Interval | None = None

    @property
    def measured(self) -> bool:
        """Whether it is a system that was measured here."""
        return self.limits is not None

    def mean_of(self, names: Sequence[str]) -> float:
        """The mean over some of the data sets."""
        return fmean(self.values[name] for name in names)


@dataclass(frozen=True)
class BenchmarkResults:
    """The runs in a folder over some data sets of a benchmark. ``notes`` say how texts of the data are counted."""

    benchmark: PublicBenchmark
    folder: Path
    families: tuple[FamilyResults, ...]
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The data sets, in the benchmark's order."""
        return [family.name for family in self.families]

    @cached_property
    def groups(self) -> Mapping[str, list[str]]:
        """The data sets of each task group that has one."""
        found = {group: [one for one in names if one in self.names] for group, names in self.benchmark.groups.items()}
        return {group: names for group, names in found.items() if names}

    @cached_property
    def rows(self) -> list[BenchmarkRow]:
        """Measured systems and published models, best mean first."""
        found = [*map(self._measured_row, self._complete), *self._published_rows()]
        return sorted(found, key=lambda row: (-row.mean, row.name))

    @property
    def measured(self) -> list[BenchmarkRow]:
        """The systems measured here, best first; the commonest label is one."""
        return [row for row in self.rows if row.measured]

    @property
    def systems(self) -> list[BenchmarkRow]:
        """The systems measured here without the commonest label, best first."""
        return [row for row in self.measured if row.name != COMMONEST]

    @property
    def published(self) -> list[BenchmarkRow]:
        """The published models, best first."""
        return [row for row in self.rows if not row.measured]

    def warnings(self) -> Iterator[str]:
        """What makes the values another thing than the benchmark's."""
        limits = {family.manifest("limit") for family in self.families} - {None}
        if limits:
            yield f"At most {max(limits)} texts per data set (--limit): the values are not those of the benchmark."
        if len(self.names) < len(self.benchmark.data_sets):
            total = len(self.benchmark.data_sets)
            yield f"{len(self.names)} of {total} data sets: all means, those of published models too, are over these."
        for name in sorted(self._systems - set(self._complete)):
            yield f"{name} is left out: it has not all texts of every data set."

    @cached_property
    def _systems(self) -> set[str]:
        return {system.name for family in self.families for system in family.runs.systems}

    @cached_property
    def _complete(self) -> list[str]:
        """The systems with a row for each text of each data set."""
        finished = [
            {system.name for system in family.runs.systems if len(system.run) == family.texts}
            for family in self.families
        ]
        return sorted(set.intersection(*finished))

    def _measured_row(self, system: str) -> BenchmarkRow:
        draws = {family.name: self._draws(family, system) for family in self.families}
        mean = fmean(value for value, _ in draws.values())
        limits = interval(mean, np.mean([resampled for _, resampled in draws.values()], axis=0))
        kind = "one label for every text" if system == COMMONEST else MEASURED
        return BenchmarkRow(system, kind, "", {name: value for name, (value, _) in draws.items()}, mean, limits)

    def _draws(self, family: FamilyResults, system: str) -> Draws:
        run = next(one.run for one in family.runs.systems if one.name == system)
        name = self.benchmark.metric_name
        return resampled_metrics(run, {name: self.benchmark.metric}, family.seed, ranking=False)[name]

    def _published_rows(self) -> Iterator[BenchmarkRow]:
        for model in self.benchmark.published():
            values = {name: model.values[name] for name in self.names}
            yield BenchmarkRow(model.name, model.kind, model.parameters, values, fmean(values.values()))


def read(benchmark: PublicBenchmark, folder: Path, names: Sequence[str], notes: Sequence[str]) -> BenchmarkResults:
    """The results in a folder over the data sets of these names.

    Raises:
        InvalidDataset: a run is damaged, or a data set has none.
    """
    by_name = {family.name: family for family in suite_results.read(folder).families}
    if missing := [name for name in names if name not in by_name]:
        raise InvalidDataset(f"{folder} has no run of {missing[0]}; run `main.py benchmark {benchmark.name}` first")
    return BenchmarkResults(benchmark, folder, tuple(by_name[name] for name in names), tuple(notes))


def as_json(results: BenchmarkResults) -> dict[str, Any]:
    """All rows with their values, and the numbers of texts and labels."""
    return {
        "benchmark": results.benchmark.title,
        "metric": results.benchmark.metric_name,
        "warnings": list(results.warnings()),
        "notes": list(results.notes),
        "source": results.benchmark.source,
        "data_sets": {one.name: {"texts": one.texts, "labels": len(one.runs.labels)} for one in results.families},
        "rows": [
            {
                "system": row.name,
                "kind": row.kind,
                "parameters": row.parameters or None,
                "measured": row.measured,
                "mean": round(row.mean, 6),
                "interval": [round(row.limits.low, 6), round(row.limits.high, 6)] if row.limits else None,
                "groups": {group: round(row.mean_of(names), 6) for group, names in results.groups.items()},
                "values": {name: round(value, 6) for name, value in row.values.items()},
            }
            for row in results.rows
        ],
    }
