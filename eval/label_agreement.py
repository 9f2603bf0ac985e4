"""Agreement of two label sources over the same texts: an upper bound for a system that is measured against both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.datasets import Example
from eval.metrics.classification import EXACT, METRICS, f1, indicator
from eval.report.document import Cell, Head, ReportTable, Section, TableRow, decimal
from prompts.errors import InvalidDataset
from prompts.taxonomy import Taxonomy


@dataclass(frozen=True)
class Agreement:
    """Labels of the texts that both sources have; arrays have shape (labels,).

    Attributes:
        labels: those that both sources use, in taxonomy order.
        texts: their number.
        both: texts with the label in both sources.
        first: texts with the label in the first source only.
        second: texts with the label in the second source only.
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


def section(found: Agreement, first: str, second: str) -> Section:
    """The agreement of two sources, by their names, as a section; the label with the lowest F1 comes first."""
    lead = (
        f"{first} and {second} give the same labels to {found.same:.0%} of {found.texts:,} texts; "
        f"micro-F1 of one against the other: {decimal(found.f1)}."
    )
    values = f1(found.both.astype(float), found.first.astype(float), found.second.astype(float))
    rows = []
    for place in np.argsort(values, kind="stable"):
        counts = [Cell(f"{int(count[place]):,}") for count in (found.both, found.first, found.second)]
        rows.append(TableRow((Cell(found.labels[place]), *counts, Cell.of(values[place], heat=True))))
    names = ("both", f"only {first}", f"only {second}", "F1")
    heads = (Head("label", numeric=False), *map(Head, names))
    return Section("agreement", "Agreement", lead, (ReportTable("Texts by source", heads, tuple(rows), "heat"),))
