"""Two sources' labels of the same texts: how far they agree, which is as far as a system can be right by both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.datasets import Example
from eval.metrics.classification import EXACT, METRICS, f1, indicator
from eval.report.document import Cell, Head, ReportTable, Section, TableRow
from eval.report.metric_columns import share
from prompts.errors import InvalidDataset
from prompts.taxonomy import Taxonomy


@dataclass(frozen=True)
class Agreement:
    """What two sources say of the texts that both have; arrays have shape (labels,).

    Attributes:
        labels: those that both sources give at all, in taxonomy order.
        texts: how many both have.
        both: texts to which both give the label.
        first: texts to which the first alone does.
        second: texts to which the second alone does.
        f1: micro-F1 of the one held against the other; which of them is held to be true makes no difference.
        same: share of the texts with the very same labels.
    """

    labels: tuple[str, ...]
    texts: int
    both: NDArray[np.int_]
    first: NDArray[np.int_]
    second: NDArray[np.int_]
    f1: float
    same: float


def agreement(first: Sequence[Example], second: Sequence[Example], taxonomy: Taxonomy) -> Agreement:
    """Hold the labels of two sources against each other, text by text.

    Args:
        first: by one source.
        second: by another, under the same ids.
        taxonomy: the taxonomy of both. Labels that one of the two never gives do not count.

    Raises:
        InvalidDataset: no text stands in both.
    """
    theirs = {example.id: example.labels for example in second}
    shared = [example for example in first if example.id in theirs]
    if not shared:
        raise InvalidDataset("the two sources have no text in common; their ids must be the same")
    a = indicator([example.labels for example in shared], taxonomy)
    b = indicator([theirs[example.id] for example in shared], taxonomy)
    given = np.flatnonzero(a.any(axis=0) & b.any(axis=0))
    a, b = a[:, given], b[:, given]
    return Agreement(
        tuple(taxonomy.names[place] for place in given),
        len(shared),
        (a & b).sum(axis=0),
        (a & ~b).sum(axis=0),
        (~a & b).sum(axis=0),
        METRICS["micro-F1"](a, b),
        EXACT(a, b),
    )


def section(found: Agreement, first: str, second: str) -> Section:
    """The agreement as a chapter; the label that divides the sources most comes first.

    Args:
        found: what ``agreement`` gave.
        first: name of the first source.
        second: name of the second.
    """
    lead = (
        f"{first} and {second} give the same labels to {found.same:.0%} of {found.texts:,} texts; "
        f"micro-F1 of the one against the other: {share(found.f1)}."
    )
    each = f1(found.both.astype(float), found.first.astype(float), found.second.astype(float))
    order = np.argsort(each, kind="stable")
    rows = tuple(
        TableRow((
            Cell(found.labels[place]),
            *(Cell(f"{int(count[place]):,}") for count in (found.both, found.first, found.second)),
            Cell(share(float(each[place])), sort=float(each[place]), heat=round(10 * float(each[place]))),
        ))
        for place in order
    )  # fmt: skip
    heads = (
        Head("label", numeric=False), Head("both"), Head(f"only {first}"), Head(f"only {second}"), Head("F1"),
    )  # fmt: skip
    return Section("sources", "Agreement", lead, (ReportTable("Texts by who gives the label", heads, rows, "heat"),))
