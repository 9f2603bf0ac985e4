"""The results of a suite, which is several families of texts: metrics by family and system, and means over families."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics import ACCURACY, METRICS, Numbers
from eval.report import evaluation
from eval.report.evaluation import Evaluation
from eval.rows import ROWS
from eval.run_metrics import resampled_metrics
from eval.significance import interval
from prompts.errors import InvalidDataset

COMMONEST = "commonest"  # the system that answers one label for every text
SUITE_FILE = "suite.json"
_RANKED = "macro-AP"

Draws = tuple[float, Numbers]  # a value, and the values of the resamples


@dataclass(frozen=True)
class FamilyResults:
    """One family: its runs, and the resampled metrics of every system. ``seed`` is the family's own."""

    name: str
    runs: Evaluation
    seed: int
    main: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "main", "accuracy" if self.runs.single else "micro-F1")

    @cached_property
    def draws(self) -> Mapping[str, Mapping[str, Draws]]:
        """By system and metric."""
        metrics = {name: {**METRICS, **ACCURACY}[name] for name in (self.main, "macro-F1")}
        return {
            system.name: resampled_metrics(system.run, metrics, self.seed, ranking=not self.runs.single)
            for system in self.runs.systems
        }

    @property
    def texts(self) -> int:
        return len(self.runs.reference.run)

    def manifest(self, name: str) -> Any:
        """An entry of the manifests, which is the same for all systems."""
        return self.runs.reference.run.manifest.get(name)


@dataclass(frozen=True)
class Suite:
    """The families of a folder."""

    folder: Path
    families: tuple[FamilyResults, ...]

    @cached_property
    def systems(self) -> tuple[str, ...]:
        """Names of the systems, without the commonest label."""
        names = {system.name for family in self.families for system in family.runs.systems}
        return tuple(sorted(names - {COMMONEST}))

    @cached_property
    def complete(self) -> tuple[FamilyResults, ...]:
        """The families that every system has finished."""
        return tuple(family for family in self.families if not set(self.systems) - family.draws.keys())

    def means(self) -> Iterator[tuple[str, str, int, Mapping[str, Draws]]]:
        """Means over complete families: which families, the metric, their number, and the values by system."""
        every = self.complete
        single, several = (tuple(one for one in every if one.runs.single is kind) for kind in (True, False))
        ranked = tuple(one for one in several if all(_RANKED in one.draws[name] for name in self.systems))
        groups: list[tuple[str, str, tuple[FamilyResults, ...], str | None]] = [
            ("all families", "accuracy or micro-F1", every if single and several else (), None),
            ("single-label families", "accuracy", single, None),
            ("multi-label families", "micro-F1", several, None),
            ("all families", "macro-F1", every, "macro-F1"),
            ("multi-label families", _RANKED, ranked, _RANKED),
        ]
        for group, metric, families, name in groups:
            found = {system: _mean(families, system, name) for system in (COMMONEST, *self.systems)}
            if families:
                yield group, metric, len(families), {system: mean for system, mean in found.items() if mean}


def read(folder: Path) -> Suite:
    """The suite in a folder, which has a folder of runs for each family; ``InvalidDataset`` if there is none."""
    folders = family_folders(folder)
    return Suite(folder, tuple(FamilyResults(one.name, evaluation.read(one), seed) for seed, one in enumerate(folders)))


def is_suite(folder: Path) -> bool:
    """Whether a folder has the results of a suite."""
    return (folder / SUITE_FILE).is_file()


def family_folders(folder: Path) -> list[Path]:
    """The folders of the families with runs; ``InvalidDataset`` if there is none."""
    found = sorted({path.parent.parent for path in folder.glob(f"*/*/{ROWS}")})
    if not found:
        raise InvalidDataset(f"{folder} has no run of a family; run `main.py evaluate --suite` with --out {folder}")
    return found


def as_json(suite: Suite) -> dict[str, Any]:
    """All values of the table: by family and by mean; with the limits of their 95% intervals."""
    families = [
        {
            "family": one.name,
            "texts": one.texts,
            "labels": len(one.runs.labels),
            "split": one.manifest("split"),
            "single_label": one.runs.single,
            "metric": one.main,
            "systems": {
                system.name: {name: _values(draws) for name, draws in one.draws[system.name].items()}
                | {"metrics": dict(system.metrics)}
                for system in one.runs.systems
            },
        }
        for one in suite.families
    ]
    means = [
        {"over": group, "families": count, "metric": metric, "systems": {one: _values(two) for one, two in by.items()}}
        for group, metric, count, by in suite.means()
    ]
    return {"families": families, "means": means}


def _mean(families: Sequence[FamilyResults], system: str, metric: str | None) -> Draws | None:
    """Mean of a system over families; of each family's main metric where ``metric`` is None."""
    found = [one.draws.get(system, {}).get(metric or one.main) for one in families]
    values = [draws for draws in found if draws]
    if not values or len(values) < len(families):
        return None
    return float(np.mean([value for value, _ in values])), np.mean([draws for _, draws in values], axis=0)


def _values(draws: Draws) -> dict[str, float]:
    return {name: round(value, 6) for name, value in vars(interval(*draws)).items()}
