"""Drift of a service's answers: the latest ones of each taxonomy against a reference distribution.

A reference is one JSON file per taxonomy, ``NAME.json``. ``main.py drift TABLE --save NAME`` writes it from a table of
answers. It has counts and no texts.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompts.errors import InvalidDataset, InvalidSetting, UnknownName
from prompts.files import make_folder, read_json, write_text_atomically

if TYPE_CHECKING:
    from eval.drift import DriftTable
    from llm.classifier import Prediction
    from prompts.taxonomy import Taxonomy

WINDOW = 1_000  # latest answers that are compared
LEAST = 200  # answers from which on they are: with fewer, chance moves the index by more than a moderate drift
_EVERY = 20  # answers between two computations
_DECILES = 10


@dataclass(frozen=True)
class DriftReference:
    """Distribution of the answers of one taxonomy.

    Attributes:
        taxonomy: name and digest.
        rows: number of answers.
        labels: answers with each label, and with none.
        edges: deciles of the confidence, the highest score of an answer; empty where answers have no scores. The first
            one is the bound of low confidence.
        confidences: answers by bin; an edge belongs to the bin above it.
    """

    taxonomy: str
    rows: int
    labels: Mapping[str, int]
    edges: tuple[float, ...]
    confidences: tuple[int, ...]


@dataclass(frozen=True)
class DriftFigures:
    """The latest answers against the reference; None for a part that one of them lacks.

    Attributes:
        labels: population stability index of the labels.
        confidence: the same of the confidence.
        low_confidence: share of answers below the reference's first decile: 0.1 without drift.
    """

    labels: float
    confidence: float | None
    low_confidence: float | None


class DriftWindow:
    """The latest answers of one taxonomy, on any thread."""

    def __init__(self, reference: DriftReference, size: int = WINDOW, least: int = LEAST, every: int = _EVERY) -> None:
        self._reference, self._size, self._least, self._every = reference, size, least, every
        self._latest: deque[tuple[tuple[str, ...], int | None]] = deque()
        self._labels: Counter[str] = Counter()
        self._bins: Counter[int] = Counter()
        self._seen, self._lock = 0, threading.Lock()

    def add(self, prediction: Prediction) -> DriftFigures | None:
        """Count an answer; the figures, at every twentieth answer once there are enough of them."""
        with self._lock:
            self._count(self._entry(prediction), 1)
            self._seen += 1
            if self._seen % self._every or len(self._latest) < self._least:
                return None
            return self._figures()

    def _entry(self, prediction: Prediction) -> tuple[tuple[str, ...], int | None]:
        from eval.drift import NONE

        scores, edges = prediction.scores, self._reference.edges
        place = bisect_right(edges, max(scores.values())) if scores and edges else None
        return prediction.labels or (NONE,), place

    def _count(self, entry: tuple[tuple[str, ...], int | None], step: int) -> None:
        labels, place = entry
        self._labels.update(dict.fromkeys(labels, step))
        if place is not None:
            self._bins[place] += step
        if step > 0:
            self._latest.append(entry)
            if len(self._latest) > self._size:
                self._count(self._latest.popleft(), -1)

    def _figures(self) -> DriftFigures:
        names = sorted({*self._reference.labels, *(name for name, count in self._labels.items() if count)})
        labels = _index([self._reference.labels.get(name, 0) for name in names], [self._labels[name] for name in names])
        scored = sum(self._bins.values())
        if scored < self._least:
            return DriftFigures(labels, None, None)
        bins = [self._bins[place] for place in range(len(self._reference.confidences))]
        return DriftFigures(labels, _index(self._reference.confidences, bins), bins[0] / scored)


def _index(reference: Sequence[int], found: Sequence[int]) -> float:
    import numpy as np

    from eval.drift import population_stability_index

    return float(population_stability_index(np.asarray(reference, float), np.asarray(found, float)))


def reference_of(table: DriftTable, taxonomy: Taxonomy) -> DriftReference:
    """The distribution of a table's answers.

    Raises:
        InvalidDataset: the table has no labels, or too few rows.
        UnknownName: a label is not one of the taxonomy's.
    """
    import numpy as np

    from eval.drift import NONE

    rows = table.labels
    if not rows:
        raise InvalidDataset("the table has no column of labels; name it with --labels-field")
    if len(rows) < LEAST:
        raise InvalidDataset(f"the table has {len(rows)} answers; a reference needs {LEAST} or more")
    counts = Counter(name for labels in rows for name in set(labels) or {NONE})
    if unknown := next((name for name in counts if name not in {NONE, *taxonomy.names}), None):
        raise UnknownName("label", unknown, taxonomy.names)
    edges, bins = np.zeros(0), np.zeros(0, int)
    if table.confidences:
        values = np.asarray(table.confidences, float)
        edges = np.unique(np.quantile(values, np.arange(1, _DECILES) / _DECILES))
        bins = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return DriftReference(
        taxonomy.versioned_name, len(rows), dict(sorted(counts.items())), tuple(edges.tolist()), tuple(bins.tolist())
    )


def save_reference(reference: DriftReference, folder: Path) -> Path:
    """Write the reference; returns its file."""
    make_folder(folder)
    path = folder / f"{reference.taxonomy.partition('@')[0]}.json"
    write_text_atomically(path, json.dumps(asdict(reference), indent=2, ensure_ascii=False) + "\n")
    return path


def load_references(folder: Path) -> list[DriftReference]:
    """The references of a folder; none where there is no such folder.

    Raises:
        InvalidSetting: a file is damaged.
    """
    return [_read(path) for path in sorted(folder.glob("*.json"))]


def _read(path: Path) -> DriftReference:
    found: dict[str, Any] = read_json(path, InvalidSetting)
    try:
        reference = DriftReference(
            str(found["taxonomy"]), int(found["rows"]),
            {str(name): int(count) for name, count in found["labels"].items()},
            tuple(map(float, found["edges"])), tuple(map(int, found["confidences"])),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidSetting(f"{path} is no reference of drift ({error}); write it with main.py drift --save") from None
    if len(reference.confidences) != len(reference.edges) + bool(reference.edges):
        raise InvalidSetting(f"{path} is no reference of drift (edges and confidences do not fit); write it again")
    return reference
