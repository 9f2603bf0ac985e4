"""The card of a data set, as HTML and Markdown, and the agreement of two sources of labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log10
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from eval.datasets import Example, LoadedDataset
from eval.datasets.split import normal
from eval.metrics import EXACT, METRICS, f1, indicator
from eval.report import charts
from eval.report.document import Cell, ReportTable, Section, TableRow, decimal, heads
from eval.report.page import environment
from prompts.errors import InvalidDataset
from prompts.files import write_text_atomically
from prompts.taxonomy import Taxonomy

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_SPLITS = ("train", "validation", "test")
_BINS = 24


@dataclass(frozen=True)
class Lengths:
    """Lengths of texts.

    Attributes:
        unit: ``characters`` or ``words``.
        quantiles: one for each of ``QUANTILES``.
        counts: texts in each bin, shape (bins,); the last bin includes all longer texts.
        edges: of the bins, shape (bins + 1,); the last is the 99th percentile, rounded up.
    """

    unit: str
    mean: float
    quantiles: tuple[float, ...]
    counts: tuple[int, ...]
    edges: tuple[int, ...]


@dataclass(frozen=True)
class Duplicates:
    """Values that several examples share, and the number of these examples."""

    values: int
    examples: int


@dataclass(frozen=True)
class FrequencyPoint:
    """Labels, and share of the examples with a label, if labels with fewer than ``minimum`` examples are dropped."""

    minimum: int
    labels: int
    share: float


@dataclass(frozen=True)
class DatasetStatistics:
    """The content of a card.

    Attributes:
        taxonomy: name and digest.
        splits: examples by split, ``""`` for none; train, validation and test first.
        skipped: rows that are not examples, by reason; ``changed`` are those that were repaired.
        labels: examples by label and split, the most frequent label first.
        labels_per_text: examples by their number of labels.
        cooccurrence: examples with both labels, shape (labels, labels), in the order of ``labels``.
        descriptions: examples that share a description.
        films: examples that share title and year.
        split_groups: groups with examples in more than one split.
        truncated: examples with a text that is cut off, by split; ``incomplete`` are those with missing labels.
        frequency: the share of examples with a label by minimum label frequency.
    """

    name: str
    taxonomy: str
    digest: str
    splits: Mapping[str, int]
    skipped: Mapping[str, int]
    changed: Mapping[str, int]
    characters: Lengths
    words: Lengths
    labels: Mapping[str, Mapping[str, int]]
    labels_per_text: Mapping[int, int]
    cooccurrence: NDArray[np.int_]
    descriptions: Duplicates
    films: Duplicates
    split_groups: int
    truncated: Mapping[str, int]
    incomplete: Mapping[str, int]
    frequency: tuple[FrequencyPoint, ...]
    examples: int

    @property
    def warnings(self) -> list[str]:
        """What makes the data hard to use or to compare."""
        counts = [
            (self.split_groups, "groups of one film are in more than one split: results may be too high (leakage)"),
            (self.descriptions.examples, f"examples share {self.descriptions.values:,} descriptions"),
            (self.films.examples, f"examples share {self.films.values:,} pairs of title and year"),
            (sum(self.truncated.values()), "texts are cut off"),
            (sum(self.incomplete.values()), "examples have incomplete labels: a missing label is unknown, not false"),
        ]
        return [f"{count:,} {text}" for count, text in counts if count]


def describe(name: str, loaded: LoadedDataset) -> DatasetStatistics:
    """The statistics of a data set, all splits together."""
    examples = loaded.examples
    bodies = [example.text.body or example.text.title for example in examples]
    splits = _by_split(examples)
    counts = Counter(label for example in examples for label in example.labels)
    names = sorted(loaded.taxonomy.names, key=lambda label: (-counts[label], label))
    return DatasetStatistics(
        name=name,
        taxonomy=loaded.taxonomy.versioned_name,
        digest=loaded.digest,
        splits=splits,
        skipped=_sorted(loaded.skipped),
        changed=_sorted(loaded.changed),
        characters=lengths_of("characters", [len(body) for body in bodies]),
        words=lengths_of("words", [len(body.split()) for body in bodies]),
        labels={label: _by_split([one for one in examples if label in one.labels], splits) for label in names},
        labels_per_text=dict(sorted(Counter(len(example.labels) for example in examples).items())),
        cooccurrence=_cooccurrence(examples, names),
        descriptions=_duplicates(map(normal, bodies)),
        films=_duplicates(example.film for example in examples),
        split_groups=_split_groups(examples),
        truncated=_by_split([example for example in examples if example.truncated], splits),
        incomplete=_by_split([example for example in examples if not example.complete], splits),
        frequency=_frequency(examples, counts),
        examples=len(examples),
    )


def lengths_of(unit: str, lengths: Sequence[int], edges: Sequence[int] | None = None) -> Lengths:
    """Statistics of at least one length; ``edges`` are given to use the bins of other lengths."""
    step = max(1, ceil(np.quantile(lengths, 0.99) / _BINS))  # whole numbers, so that bins have equally many lengths
    edges = edges or [step * place for place in range(_BINS + 1)]
    counts, _ = np.histogram(np.minimum(lengths, edges[-1]), edges)
    quantiles = tuple(float(value) for value in np.quantile(lengths, QUANTILES))
    return Lengths(unit, float(np.mean(lengths)), quantiles, tuple(map(int, counts)), tuple(map(int, edges)))


def write(statistics: DatasetStatistics, page: Path) -> tuple[Path, Path]:
    """Write a card as HTML to ``page``, and as Markdown beside it; returns both paths."""
    markdown = page.with_suffix(".md")
    page = page.with_suffix(".html") if page == markdown else page
    for path, template in ((page, "data_card.html.jinja"), (markdown, "data_card.md.jinja")):
        write_text_atomically(path, _rendered(template, statistics))
    return page, markdown


def _by_split(examples: Sequence[Example], splits: Iterable[str] = ()) -> dict[str, int]:
    counts = Counter(example.split for example in examples)
    rank = {split: place for place, split in enumerate(_SPLITS)}
    return {name: counts[name] for name in sorted({*counts, *splits}, key=lambda name: (rank.get(name, 3), name))}


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])) if count}


def _cooccurrence(examples: Sequence[Example], names: Sequence[str]) -> NDArray[np.int_]:
    matrix = indicator([example.labels for example in examples], names).astype(int)
    return np.asarray(matrix.T @ matrix)


def _duplicates(keys: Iterable[str]) -> Duplicates:
    counts = [count for key, count in Counter(keys).items() if key and count > 1]
    return Duplicates(len(counts), sum(counts))


def _split_groups(examples: Sequence[Example]) -> int:
    splits: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        if example.group:
            splits[example.group].add(example.split)
    return sum(len(found) > 1 for found in splits.values())


def _frequency(examples: Sequence[Example], counts: Mapping[str, int]) -> tuple[FrequencyPoint, ...]:
    """One point for the count of each label: the rarest label that is not dropped."""
    highest = np.array([max((counts[label] for label in example.labels), default=0) for example in examples])
    return tuple(
        FrequencyPoint(least, sum(count >= least for count in counts.values()), float((highest >= least).mean()))
        for least in sorted({count for count in counts.values() if count})
    )


def _rendered(template: str, statistics: DatasetStatistics) -> str:
    jinja = environment()
    jinja.autoescape = template.endswith(".html.jinja")
    return jinja.get_template(template).render(
        data=statistics,
        charts=charts,
        frequency_chart=_frequency_chart(statistics.frequency),
        quantile_heads=[_head(share) for share in QUANTILES],
        label_rows=[(name, sum(counts.values())) for name, counts in statistics.labels.items()],
    )


def _frequency_chart(points: Sequence[FrequencyPoint]) -> Markup:
    """Share of the examples with a label, against the minimum label frequency on a logarithmic scale."""
    least, most = points[0].minimum, max(points[-1].minimum, points[0].minimum + 1)

    def across(minimum: int) -> float:
        return log10(minimum / least) / log10(most / least)

    ticks = [step * 10**power for power in range(int(log10(most)) + 1) for step in (1, 2, 5)]
    x_ticks = [(across(tick), f"{tick:,}") for tick in ticks if least <= tick <= most]
    y_ticks = [(share, f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1)]
    title = "Examples with a label against the minimum label frequency"
    frame = charts.Frame(charts.WIDTH, 214, title, x_ticks=x_ticks, y_ticks=y_ticks, left=44, right=24)
    tooltips = [
        f"at least {one.minimum:,} examples per label: {one.labels} labels, {one.share:.1%} of the examples"
        for one in points
    ]
    line = charts.Line("", 0, [(across(one.minimum), one.share) for one in points], [3.5] * len(points), tooltips)
    return charts.lines(frame, [line])


def _head(share: float) -> str:
    return {0.0: "shortest", 0.5: "median", 1.0: "longest"}.get(share, f"{share:.0%}")


@dataclass(frozen=True)
class Agreement:
    """Labels of the texts that both sources have.

    Attributes:
        labels: those that both sources use, in taxonomy order.
        both: texts with each label in both sources, shape (labels,); ``first`` and ``second`` are those of one only.
        f1: micro-F1 of one source against the other; it is symmetric.
        same: share of the texts with equal label sets.
    """

    labels: tuple[str, ...]
    texts: int
    both: NDArray[np.int_]
    first: NDArray[np.int_]
    second: NDArray[np.int_]
    f1: float
    same: float


def agreement(first: Sequence[Example], second: Sequence[Example], taxonomy: Taxonomy) -> Agreement:
    """Compare the labels of two sources with the same ids; labels that one source never uses do not count.

    Raises:
        InvalidDataset: no text is in both.
    """
    other = {example.id: example.labels for example in second}
    shared = [example for example in first if example.id in other]
    if not shared:
        raise InvalidDataset("the two sources have no text in common; their ids must be the same")
    a = indicator([example.labels for example in shared], taxonomy)
    b = indicator([other[example.id] for example in shared], taxonomy)
    used = np.flatnonzero(a.any(axis=0) & b.any(axis=0))
    a, b = a[:, used], b[:, used]
    return Agreement(
        tuple(taxonomy.names[place] for place in used),
        len(shared),
        (a & b).sum(axis=0),
        (a & ~b).sum(axis=0),
        (~a & b).sum(axis=0),
        METRICS["micro-F1"](a, b),
        EXACT(a, b),
    )


def agreement_section(found: Agreement, first: str, second: str) -> Section:
    """The agreement of two sources, by their names, as a section; the label with the lowest F1 comes first."""
    lead = (
        f"{first} and {second} give the same labels to {found.same:.0%} of {found.texts:,} texts; "
        f"micro-F1 of one against the other: {decimal(found.f1)}."
    )
    values = f1(found.both.astype(float), found.first.astype(float), found.second.astype(float))
    rows = []
    for place in np.argsort(values, kind="stable"):
        counts = [f"{int(count[place]):,}" for count in (found.both, found.first, found.second)]
        rows.append(TableRow.of(found.labels[place], *counts, Cell.of(values[place], heat=True)))
    columns = heads("label", "both", f"only {first}", f"only {second}", "F1")
    return Section("agreement", "Agreement", lead, (ReportTable("Texts by source", columns, tuple(rows), "heat"),))
