"""What a public benchmark consists of: data sets in task groups, a metric, and the figures that others published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.datasets import LoadedFamily
from eval.metrics import Metric
from prompts.errors import UnknownName


@dataclass(frozen=True)
class PublishedModel:
    """Published figures of a model: values of the benchmark's metric by data set."""

    name: str
    kind: str
    parameters: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class BenchmarkData:
    """One data set of a benchmark; ``notes`` are sentences about how its texts are counted."""

    family: LoadedFamily
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PublicBenchmark:
    """A public benchmark; the command ``main.py benchmark NAME`` runs systems over it.

    Attributes:
        name: of the command, and of the files of its results.
        title: as its authors write it.
        groups: names of the data sets by task group. The mean is over data sets, not over groups.
        metric_name: name of ``metric`` in tables; ``metric_about`` defines it.
        metric: as the benchmark computes it.
        read: reads one data set from a folder; ``InvalidDataset`` where it is missing or damaged.
        download: downloads the data sets of these names, and returns the folder; ``InvalidSetting`` where it cannot.
        published: reads the published figures.
        rules: sentences about the protocol, for the page of results.
        source: where data, protocol and published figures are from, with their licence.
    """

    name: str
    title: str
    groups: Mapping[str, Sequence[str]]
    metric_name: str
    metric_about: str
    metric: Metric
    read: Callable[[Path, str], BenchmarkData]
    download: Callable[[Sequence[str]], Path]
    published: Callable[[], Sequence[PublishedModel]]
    rules: Sequence[str]
    source: str

    @property
    def data_sets(self) -> list[str]:
        """Names of all data sets, group by group."""
        return [name for group in self.groups.values() for name in group]

    def chosen(self, names: Iterable[str]) -> list[str]:
        """The data sets of these names, which may be names of groups; all where there is no name.

        Raises:
            UnknownName: neither a data set nor a group.
        """
        wanted = set[str]()
        for name in names:
            if name not in self.groups and name not in self.data_sets:
                raise UnknownName("data set", name, [*self.groups, *self.data_sets])
            wanted.update(self.groups.get(name, [name]))
        return [name for name in self.data_sets if name in wanted or not wanted]
