"""What a data card tells, as figures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from eval.datasets import Example, LoadedDataset
from eval.datasets.grouping import normal
from eval.metrics.classification import indicator

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_SIDES = ("train", "validation", "test")
_BINS = 24


@dataclass(frozen=True)
class Lengths:
    """Lengths of texts: quantiles under ``QUANTILES``, their mean, and a histogram.

    Attributes:
        unit: what is counted.
        mean: over all texts.
        quantiles: one for each of ``QUANTILES``.
        counts: texts in each bin, shape (bins,); what is longer than the last edge is in the last bin.
        edges: of the bins, shape (bins + 1,); the last is the 99th percentile or a little more.
    """

    unit: str
    mean: float
    quantiles: tuple[float, ...]
    counts: tuple[int, ...]
    edges: tuple[int, ...]


@dataclass(frozen=True)
class Repeats:
    """Examples that share something: how many kinds are shared, and by how many examples."""

    kinds: int
    examples: int


@dataclass(frozen=True)
class FrequentLabels:
    """What is left where labels with fewer than ``minimum`` examples are dropped."""

    minimum: int
    labels: int
    share: float


@dataclass(frozen=True)
class Facts:
    """All figures of a card.

    Attributes:
        name: of the data.
        taxonomy: name and digest of the taxonomy.
        digest: of the data.
        splits: examples of each side, ``""`` for those on none; train, validation and test first.
        left_out: rows that became no example, by reason.
        changed: rows that were mended, by what was done.
        characters: lengths of the texts.
        words: the same in words.
        labels: examples of each label and side, the commonest label first.
        per_text: number of examples with so many labels.
        together: examples that have both labels, shape (labels, labels), in the order of ``labels``.
        descriptions: examples that share a description.
        films: examples that share title and year.
        astride: groups that stand on more than one side.
        truncated: examples whose text breaks off.
        incomplete: examples whose missing labels are unknown.
        kept: the curve of examples kept against a minimum label frequency.
        examples: all of them.
    """

    name: str
    taxonomy: str
    digest: str
    splits: Mapping[str, int]
    left_out: Mapping[str, int]
    changed: Mapping[str, int]
    characters: Lengths
    words: Lengths
    labels: Mapping[str, Mapping[str, int]]
    per_text: Mapping[int, int]
    together: NDArray[np.int_]
    descriptions: Repeats
    films: Repeats
    astride: int
    truncated: Mapping[str, int]
    incomplete: Mapping[str, int]
    kept: tuple[FrequentLabels, ...]
    examples: int


def facts(name: str, loaded: LoadedDataset) -> Facts:
    """The figures of a data set, all its splits together."""
    examples = loaded.examples
    bodies = [example.text.body or example.text.title for example in examples]
    splits = _by_side(examples)
    counts = Counter(label for example in examples for label in example.labels)
    names = sorted(loaded.taxonomy.names, key=lambda label: (-counts[label], label))
    return Facts(
        name=name,
        taxonomy=loaded.taxonomy.versioned_name,
        digest=loaded.digest,
        splits=splits,
        left_out=_counted(loaded.skipped),
        changed=_counted(loaded.changed),
        characters=lengths_of("characters", [len(body) for body in bodies]),
        words=lengths_of("words", [len(body.split()) for body in bodies]),
        labels={label: _by_side([one for one in examples if label in one.labels], splits) for label in names},
        per_text=dict(sorted(Counter(len(example.labels) for example in examples).items())),
        together=_together(loaded, names),
        descriptions=_repeats(map(normal, bodies)),
        films=_repeats(example.film for example in examples),
        astride=_astride(examples),
        truncated=_by_side([example for example in examples if example.truncated], splits),
        incomplete=_by_side([example for example in examples if not example.complete], splits),
        kept=_curve(examples, counts),
        examples=len(examples),
    )


def _by_side(examples: Sequence[Example], sides: Iterable[str] = ()) -> dict[str, int]:
    counts = Counter(example.split for example in examples)
    order = sorted({*counts, *sides}, key=lambda side: (_SIDES.index(side) if side in _SIDES else len(_SIDES), side))
    return {side: counts[side] for side in order}


def _counted(counts: Mapping[str, int]) -> dict[str, int]:
    return {what: count for what, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])) if count}


def lengths_of(unit: str, lengths: Sequence[int], edges: Sequence[int] | None = None) -> Lengths:
    """Lengths of texts, at least one; ``edges`` puts them into the bins of others."""
    step = max(1, ceil(np.quantile(lengths, 0.99) / _BINS))  # whole steps: others would comb whole numbers
    edges = edges or [step * place for place in range(_BINS + 1)]
    counts, _ = np.histogram(np.minimum(lengths, edges[-1]), edges)
    quantiles = tuple(float(value) for value in np.quantile(lengths, QUANTILES))
    return Lengths(unit, float(np.mean(lengths)), quantiles, tuple(map(int, counts)), tuple(map(int, edges)))


def _together(loaded: LoadedDataset, names: Sequence[str]) -> NDArray[np.int_]:
    matrix = indicator([example.labels for example in loaded.examples], loaded.taxonomy).astype(int)
    order = [loaded.taxonomy.names.index(name) for name in names]
    found: NDArray[np.int_] = (matrix.T @ matrix)[np.ix_(order, order)]
    return found


def _repeats(keys: Iterable[str]) -> Repeats:
    shared = [count for key, count in Counter(keys).items() if key and count > 1]
    return Repeats(len(shared), sum(shared))


def _astride(examples: Sequence[Example]) -> int:
    sides: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        if example.group:
            sides[example.group].add(example.split)
    return sum(len(found) > 1 for found in sides.values())


def _curve(examples: Sequence[Example], counts: Mapping[str, int]) -> tuple[FrequentLabels, ...]:
    """A point for every label: the share of examples that keep a label when it is the rarest that stays."""
    commonest = [max((counts[label] for label in example.labels), default=0) for example in examples]
    minima = sorted({count for count in counts.values() if count})
    return tuple(_at(minimum, commonest, counts.values()) for minimum in minima)


def _at(minimum: int, commonest: Sequence[int], counts: Iterable[int]) -> FrequentLabels:
    labels = sum(count >= minimum for count in counts)
    return FrequentLabels(minimum, labels, sum(count >= minimum for count in commonest) / max(1, len(commonest)))
