"""An evaluation for a report: the results and metrics of every system in a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.compare import Comparison, compare_with_others
from eval.input_variants import VARIANTS
from eval.results import RunResults, run_folders
from eval.run import ORDER_FILE
from eval.run_metrics import METRICS_FILE, intervals
from prompts.errors import InvalidDataset
from prompts.files import read_json

Bounds = Mapping[str, tuple[float, float]]
TRIVIAL = {"commonest", "prior", "random"}


@dataclass(frozen=True)
class SystemResults:
    """Results and metrics of one system.

    ``run`` has the texts whose true labels are all known, as ``metrics.json``; ``incomplete`` is the number of others.
    ``order`` is the content of ``order.json``: how predictions depend on the order of the labels.
    """

    name: str
    metrics: Mapping[str, float]
    run: RunResults
    order: Mapping[str, Any] | None = None
    incomplete: int = 0

    def metric(self, *names: str) -> float | None:
        """The first of these metrics that ``metrics.json`` has."""
        return next((self.metrics[name] for name in names if name in self.metrics), None)

    @property
    def variant(self) -> str:
        """The input variant, which is the end of the name after ``@``; empty where there is none."""
        end = self.name.rpartition("@")[2]
        return end if "@" in self.name and end in VARIANTS else ""

    @property
    def base(self) -> str:
        """The name without its variant."""
        return self.name.removesuffix(f"@{self.variant}") if self.variant else self.name

    @property
    def trivial(self) -> bool:
        """Whether it is a dummy baseline that ignores the text."""
        return self.name.partition(":")[0] in TRIVIAL

    @property
    def prompted(self) -> bool:
        """Whether it is a language model."""
        return any(row.source.prompt or row.source.strategy for row in self.run.rows)

    @property
    def scored(self) -> bool:
        """Whether it has any scores."""
        return bool(np.isfinite(self.run.scores).any())

    @property
    def probable(self) -> bool:
        """Whether its scores are from 0 to 1, as probabilities are."""
        scores = self.run.scores
        return self.scored and float(np.nanmin(scores)) >= 0 and float(np.nanmax(scores)) <= 1


@dataclass(frozen=True)
class Evaluation:
    """Systems over the same texts and taxonomy, best micro-F1 first."""

    folder: Path
    systems: tuple[SystemResults, ...]
    labels: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def compared(self) -> tuple[SystemResults, ...]:
        """Systems that read the unchanged texts; all systems, where there are variants only."""
        return tuple(system for system in self.systems if not system.variant) or self.systems

    @property
    def nontrivial(self) -> tuple[SystemResults, ...]:
        """Compared systems without dummy baselines; all, where there are dummy baselines only."""
        return tuple(system for system in self.compared if not system.trivial) or self.compared

    def series(self, system: SystemResults) -> int | None:
        """Number of a system's colour: negative for dummy baselines, which are grey, and None for variants."""
        if system not in self.compared:
            return None
        alike = [other for other in self.compared if other.trivial == system.trivial]
        return -1 - alike.index(system) if system.trivial else alike.index(system)

    def intervals(self) -> dict[str, Bounds]:
        """95% intervals of the headline metrics, by system and metric."""
        return {
            system.name: {metric: (one.low, one.high) for metric, one in intervals(system.run).items()}
            for system in self.systems
        }

    def comparisons(self) -> list[Comparison]:
        """Paired tests of the best system, as B, against each other system that reads the texts, Holm-corrected.

        Systems without a text in common with the best one are left out.
        """
        best, *others = self.nontrivial
        ids = set(best.run.ids)
        return compare_with_others(best.run, [other.run for other in others if not ids.isdisjoint(other.run.ids)])

    @property
    def reference(self) -> SystemResults:
        """The system with most texts."""
        return max(self.compared, key=lambda system: len(system.run.rows))

    @property
    def support(self) -> NDArray[np.int_]:
        """Number of texts of each label, shape (labels,)."""
        return np.asarray(self.reference.run.true.sum(0))

    @property
    def by_support(self) -> list[int]:
        """Numbers of the labels that occur, the most frequent first."""
        return [int(label) for label in np.argsort(-self.support, kind="stable") if self.support[label]]

    @property
    def single(self) -> bool:
        """Whether every text has one true label, and no system predicts more."""
        most = max(int(system.run.predicted.sum(axis=1).max(initial=0)) for system in self.systems)
        return most <= 1 and bool((self.reference.run.true.sum(axis=1) == 1).all())

    def recorded(self, name: str) -> Mapping[str, Any]:
        """The object that the first manifest with this name has; empty where there is none."""
        values = [system.run.manifest.get(name) for system in self.systems]
        return next((value for value in values if isinstance(value, dict)), {})

    @property
    def taxonomy_name(self) -> str:
        """Name of the taxonomy; empty where no manifest has it."""
        return str(self.recorded("taxonomy").get("name", ""))


def read(out: Path) -> Evaluation:
    """The evaluation in a folder, or a single run; raises ``InvalidDataset`` if it is damaged or not comparable."""
    systems = [read_system(folder) for folder in run_folders(out)]
    _check_comparable(systems)
    labels = systems[0].run.labels
    systems = [replace(system, run=system.run.with_labels(labels)) for system in systems]
    ranked = sorted(systems, key=lambda system: (-(system.metric("micro-F1", "accuracy") or 0.0), system.name))
    return Evaluation(out, tuple(ranked), labels, tuple(_warnings(systems)))


def read_system(folder: Path) -> SystemResults:
    """Read the folder of one run; raises ``InvalidDataset`` where it is damaged."""
    run, metrics = RunResults.read(folder), _json(folder / METRICS_FILE)
    name, end = run.system, folder.name.rpartition("@")[2]
    if "@" in folder.name and end in VARIANTS and not name.endswith(f"@{end}"):
        name = f"{name}@{end}"
    numbers = {key: float(value) for key, value in metrics.items() if isinstance(value, int | float)}
    return SystemResults(name, numbers, run.known(), _json(folder / ORDER_FILE) or None, int((~run.complete).sum()))


def _json(path: Path) -> dict[str, Any]:
    """An object from a file; empty where there is no such file."""
    return read_json(path, InvalidDataset) if path.exists() else {}


def _check_comparable(systems: Sequence[SystemResults]) -> None:
    names = [system.name for system in systems]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InvalidDataset(f"two folders have a system named {twice[0]!r}; keep one of them")
    if any(set(system.run.labels) != set(systems[0].run.labels) for system in systems):
        raise InvalidDataset(f"{', '.join(names)} have different taxonomies; write one report for each taxonomy")
    seen: dict[str, tuple[str, frozenset[str]]] = {}
    for system in systems:
        for row in system.run.rows:
            first, truth = seen.setdefault(row.id, (system.name, frozenset(row.truth)))
            if truth != frozenset(row.truth):
                raise InvalidDataset(f"{first} and {system.name} have different true labels for {row.id!r}")


def _warnings(systems: Sequence[SystemResults]) -> Iterator[str]:
    """What makes metrics of the systems hard to compare."""
    every = {row.id for system in systems for row in system.run.rows}
    for system in sorted(systems, key=lambda system: system.name):
        own = {row.id for row in system.run.rows}
        if own != every:
            yield f"{system.name} has {len(own):,} of {len(every):,} texts; its metrics are over these texts only."
        if system.incomplete:
            yield f"{system.name}: {system.incomplete:,} texts with possibly incomplete true labels are not measured."
        if not system.metrics:
            yield f"{system.name} has no metrics.json: its run is unfinished, or needs `main.py evaluate --rescore`."
