"""The systems of an evaluation, for a report: the ``RunResults`` and metrics of each folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.results import RunResults, run_folders
from eval.run import ORDER_FILE
from eval.run_metrics import METRICS_FILE, intervals
from prompts.errors import InvalidDataset

Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]
# How a text may be shown to a model, to find out what it knows by heart: a folder's name ends in one of these.
VARIANTS = ("title+plot", "plot", "masked", "title")


@dataclass(frozen=True)
class SystemResults:
    """What one system answered, and the figures of it. Matrices have the shape (texts, labels).

    As in ``metrics.json``, only texts count whose true labels are all known; ``set_aside`` counts the others.
    """

    name: str
    metrics: Mapping[str, float]
    run: RunResults
    order: Mapping[str, Any] | None = None
    set_aside: int = 0

    def figure(self, *names: str) -> float | None:
        """The first of these metrics that ``metrics.json`` has."""
        return next((self.metrics[name] for name in names if name in self.metrics), None)

    @property
    def variant(self) -> str:
        """How the texts were shown (one of ``VARIANTS``), empty where the name does not say."""
        end = self.name.rpartition("@")[2]
        return end if "@" in self.name and end in VARIANTS else ""

    @property
    def base(self) -> str:
        """The name without its variant."""
        return self.name.removesuffix(f"@{self.variant}") if self.variant else self.name

    @property
    def trivial(self) -> bool:
        """Whether it is a rule that looks at no text."""
        return self.name.partition(":")[0] in TRIVIAL

    @property
    def prompted(self) -> bool:
        """Whether a language model was asked."""
        return any(row.source.prompt or row.source.strategy for row in self.run.rows)

    @property
    def scored(self) -> bool:
        """Whether there is any score."""
        return bool(np.isfinite(self.run.scores).any())

    @property
    def probable(self) -> bool:
        """Whether its scores lie between 0 and 1, as probabilities do."""
        scores = self.run.scores
        return self.scored and float(np.nanmin(scores)) >= 0 and float(np.nanmax(scores)) <= 1


@dataclass(frozen=True)
class Evaluation:
    """Systems that answered the same texts under the same taxonomy, best micro-F1 first."""

    folder: Path
    systems: tuple[SystemResults, ...]
    vocabulary: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def compared(self) -> tuple[SystemResults, ...]:
        """Systems that saw the texts as they are; all, where there are none but variants."""
        return tuple(system for system in self.systems if not system.variant) or self.systems

    def place(self, system: SystemResults) -> int | None:
        """Number of a system's colour: negative for trivial rules, which are grey, and None for variants."""
        if system not in self.compared:
            return None
        alike = [other for other in self.compared if other.trivial == system.trivial]
        return -1 - alike.index(system) if system.trivial else alike.index(system)

    def intervals(self) -> dict[str, Mapping[str, tuple[float, float]]]:
        """95% intervals of the headline metrics, by system and metric."""
        found = {system.name: intervals(system.run) for system in self.systems}
        return {name: {metric: (one.low, one.high) for metric, one in some.items()} for name, some in found.items()}

    @property
    def widest(self) -> SystemResults:
        """The system that answered most texts."""
        return max(self.compared, key=lambda system: len(system.run.rows))

    @property
    def single(self) -> bool:
        """Whether every text has one true label, and no system gives more."""
        most = max(int(system.run.predicted.sum(axis=1).max(initial=0)) for system in self.systems)
        return most <= 1 and bool((self.widest.run.true.sum(axis=1) == 1).all())


def read(out: Path) -> Evaluation:
    """Read the folders of an evaluation; ``out`` may also be the folder of one system.

    Raises:
        InvalidDataset: nothing there, a file that is not what it should be, or systems that cannot be compared.
    """
    found = _named_apart([_system(folder) for folder in run_folders(out)])
    vocabulary = _same_vocabulary(found)
    _same_truth(found)
    found = [replace(system, run=system.run.with_labels(vocabulary)) for system in found]
    systems = sorted(found, key=lambda system: (-(system.figure("micro-F1", "accuracy") or 0.0), system.name))
    return Evaluation(out, tuple(systems), vocabulary, tuple(_doubts(found)))


def _system(folder: Path) -> SystemResults:
    every, metrics = RunResults.read(folder), _json(folder / METRICS_FILE)
    name, end = every.system, folder.name.rpartition("@")[2]
    if "@" in folder.name and end in VARIANTS and not name.endswith(f"@{end}"):
        name = f"{name}@{end}"
    numbers = {key: float(value) for key, value in metrics.items() if isinstance(value, int | float)}
    return SystemResults(name, numbers, every.known(), _json(folder / ORDER_FILE) or None, int((~every.complete).sum()))


def _json(path: Path) -> dict[str, Any]:
    """An object from a file; empty where there is no such file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InvalidDataset(f"{path} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidDataset(f"{path} should hold an object, not a {type(found).__name__}")
    return found


def _named_apart(systems: list[SystemResults]) -> list[SystemResults]:
    twice = [name for name, count in Counter(system.name for system in systems).items() if count > 1]
    if twice:
        raise InvalidDataset(f"two folders hold a system called {twice[0]!r}; keep one of them")
    return systems


def _same_vocabulary(systems: Sequence[SystemResults]) -> tuple[str, ...]:
    vocabulary = systems[0].run.labels
    if any(set(system.run.labels) != set(vocabulary) for system in systems):
        names = ", ".join(system.name for system in systems)
        raise InvalidDataset(f"{names} answered under different taxonomies; report them apart")
    return vocabulary


def _same_truth(systems: Sequence[SystemResults]) -> None:
    seen: dict[str, tuple[str, frozenset[str]]] = {}
    for system in systems:
        for answer in system.run.rows:
            first, truth = seen.setdefault(answer.id, (system.name, frozenset(answer.truth)))
            if truth != frozenset(answer.truth):
                raise InvalidDataset(f"{first} and {system.name} have different true labels for {answer.id!r}")


def _doubts(systems: Sequence[SystemResults]) -> Iterator[str]:
    """What a reader must know before comparing figures."""
    every = {answer.id for system in systems for answer in system.run.rows}
    for system in sorted(systems, key=lambda system: system.name):
        own = {answer.id for answer in system.run.rows}
        if own != every:
            yield f"{system.name} answered {len(own):,} of {len(every):,} texts; its figures are of those alone."
        if system.set_aside:
            yield f"{system.name}: {system.set_aside:,} texts whose true labels may be incomplete stand in no figure."
        if not system.metrics:
            yield f"{system.name} has no metrics.json: its run is unfinished, or waits for `--rescore`."


TRIVIAL = {"prior", "random"}
