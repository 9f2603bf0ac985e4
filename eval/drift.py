"""Drift between two tables: labels, confidence and text length, by the population stability index and a test.

The index of two distributions a and b over the same bins is the sum of (b - a) ln(b / a) (Siddiqi 2006, Credit Risk
Scorecards; it is the symmetric Kullback-Leibler divergence of Jeffreys 1946). By convention, .1 is a moderate change
and .25 a large one. The p value is that of a permutation test with the index as its statistic: the rows of both tables
are divided again at random. Rows count as independent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from eval.significance import holm
from prompts.errors import InvalidDataset

MODERATE, LARGE = 0.1, 0.25
NONE = "(none)"
PERMUTATIONS = 2_000
_ALPHA = 0.05
_BINS = 10
_PRIOR = 0.5  # added to the count of each bin, so that an empty one gives no infinite index
_MOST_NAMED = 5

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class DriftTable:
    """What drift is measured on; a part that a table lacks is None.

    Attributes:
        labels: the labels of each row.
        confidences: the highest score of each row.
        lengths: the characters of each text.
    """

    labels: Sequence[tuple[str, ...]] | None
    confidences: Sequence[float] | None
    lengths: Sequence[int] | None


@dataclass(frozen=True)
class DriftResult:
    """How much one part differs between two tables.

    Attributes:
        part: ``labels``, ``confidence`` or ``text length``.
        psi: population stability index.
        p: of the permutation test, Holm-corrected over the parts.
        changes: the largest changes, a sentence each.
        shares: share of A and of B by bin.
    """

    part: str
    psi: float
    p: float
    changes: tuple[str, ...]
    shares: Mapping[str, tuple[float, float]]

    @property
    def verdict(self) -> str:
        """``none``, ``small``, ``moderate`` or ``large``; ``none`` where chance explains the difference."""
        if self.p >= _ALPHA:
            return "none"
        return "large" if self.psi >= LARGE else "moderate" if self.psi >= MODERATE else "small"


def drift(a: DriftTable, b: DriftTable, seed: int = 0) -> list[DriftResult]:
    """The drift from A to B of every part that both tables have.

    Raises:
        InvalidDataset: a table is empty, or they have no part in common.
    """
    found: list[DriftResult] = []
    if a.labels and b.labels:
        found.append(_of_labels(a.labels, b.labels, seed))
    if a.confidences and b.confidences:
        found.append(_of_numbers("confidence", a.confidences, b.confidences, ".3f", seed))
    if a.lengths and b.lengths:
        found.append(_of_numbers("text length", a.lengths, b.lengths, ",.0f", seed))
    if not found:
        raise InvalidDataset("the tables have no labels, scores or texts in common; name the columns")
    p_values = holm({one.part: one.p for one in found})
    return [replace(one, p=p_values[one.part]) for one in found]


def population_stability_index(a: Numbers, b: Numbers) -> Numbers:
    """The index of counts, shape (…, bins) each; 0.5 is added to every count. Shape (…)."""
    first, second = ((one + _PRIOR) / (one + _PRIOR).sum(axis=-1, keepdims=True) for one in (a, b))
    return np.asarray(((second - first) * np.log(second / first)).sum(axis=-1))


def _of_labels(a: Sequence[tuple[str, ...]], b: Sequence[tuple[str, ...]], seed: int) -> DriftResult:
    """Rows without a label count as ``NONE``; a row with several labels counts for each of them."""
    first, second = (Counter(tuple(sorted(set(row))) or (NONE,) for row in rows) for rows in (a, b))
    sets = sorted({*first, *second})
    names = sorted({name for one in sets for name in one})
    member = np.array([[name in one for name in names] for one in sets], float)
    counts = [np.array([table[one] for one in sets]) for table in (first, second)]
    psi, p = _tested(counts[0], counts[1], member, seed)
    rows = len(a), len(b)
    shares = {
        name: (float(counts[0] @ column) / rows[0], float(counts[1] @ column) / rows[1])
        for name, column in zip(names, member.T, strict=True)
    }
    moved = sorted(shares, key=lambda name: -abs(shares[name][1] - shares[name][0]))[:_MOST_NAMED]
    return DriftResult("labels", psi, p, tuple(_of_share(name, *shares[name]) for name in moved), shares)


def _of_share(name: str, before: float, after: float) -> str:
    new = " (new in B)" if not before else " (gone in B)" if not after else ""
    return f"{name}: {before:.1%} of rows in A, {after:.1%} in B{new}"


def _of_numbers(part: str, a: Sequence[float], b: Sequence[float], form: str, seed: int) -> DriftResult:
    """Bins are the deciles of A."""
    first, second = np.asarray(a, float), np.asarray(b, float)
    edges = np.unique(np.quantile(first, np.arange(1, _BINS) / _BINS))
    counts = [
        np.bincount(np.searchsorted(edges, one, side="right"), minlength=len(edges) + 1) for one in (first, second)
    ]
    psi, p = _tested(counts[0], counts[1], np.eye(len(edges) + 1), seed)
    ends = ["", *(format(edge, form) for edge in edges), ""]
    names = [f"from {low} " * bool(low) + f"to {high}" * bool(high) for low, high in pairwise(ends)]
    shares = {
        name.strip() or "all": (float(x) / len(first), float(y) / len(second))
        for name, x, y in zip(names, counts[0], counts[1], strict=True)
    }
    return DriftResult(part, psi, p, (_of_quantiles(part, first, second, form),), shares)


def _of_quantiles(part: str, a: Numbers, b: Numbers, form: str) -> str:
    """The median, and the share below the first decile of A: texts of low confidence, or short ones."""
    low = float(np.quantile(a, 0.1))
    median = " in A, ".join(format(float(np.median(one)), form) for one in (a, b))
    return f"median {part} {median} in B; below {low:{form}}: {(a < low).mean():.1%} of A, {(b < low).mean():.1%} of B"


def _tested(a: NDArray[np.int_], b: NDArray[np.int_], member: Numbers, seed: int) -> tuple[float, float]:
    """The index and its p value, from counts of rows by kind, and the bins of each kind, shape (kinds, bins)."""
    observed = float(population_stability_index(a @ member, b @ member))
    both = a + b
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(
        both, int(a.sum()), PERMUTATIONS, method="marginals"
    )
    permuted = population_stability_index(drawn @ member, (both - drawn) @ member)
    return observed, float((1 + (permuted >= observed - 1e-12).sum()) / (1 + PERMUTATIONS))
