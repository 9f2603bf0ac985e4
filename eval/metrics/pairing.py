"""Brings two runs to the same texts and the same labels, or says why they cannot be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.results import RunResults
from prompts.errors import InvalidDataset


@dataclass(frozen=True)
class Pair:
    """Two runs with the same texts in the same order, the same labels in the same order, and all labels known.

    Attributes:
        a: the first, or old one.
        b: the second, or new one.
        notes: what a reader must know about the pairing, a sentence each.
    """

    a: RunResults
    b: RunResults
    notes: tuple[str, ...] = ()


def paired(a: RunResults, b: RunResults, common: bool = False) -> Pair:
    """Bring two runs to the same texts and labels.

    Args:
        a: the first; its order of texts and labels is kept.
        b: the second.
        common: leave out texts that only one of them has.

    Raises:
        InvalidDataset: other taxonomies, other texts (without ``common``), other true labels or groups for a text,
            or no text with all of its true labels known.
    """
    if set(a.labels) != set(b.labels):
        raise InvalidDataset(
            f"the runs answer from different vocabularies: {_only(a.labels, b.labels)}; "
            "evaluate both with the same taxonomy"
        )
    place = {name: row for row, name in enumerate(b.ids)}
    shared = [row for row, name in enumerate(a.ids) if name in place]
    notes = [*_texts(a, b, len(shared), common), *_told(a, b)]
    first = a.take(shared)
    second = b.with_labels(a.labels).take([place[name] for name in first.ids])
    _same_truth(first, second)
    return _known(first, second, notes)


def _known(a: RunResults, b: RunResults, notes: Sequence[str]) -> Pair:
    complete = a.complete & b.complete
    if not complete.any():
        raise InvalidDataset(
            f"no text has all of its true labels known in both {a.folder} and {b.folder}, so nothing can be measured; "
            "choose a split whose labels are complete"
        )
    first, second = (run.take(np.flatnonzero(complete).tolist()) for run in (a, b))
    left_out = int((~complete).sum())
    told = [f"left out, because their true labels are not all known: {left_out}"] if left_out else []
    return Pair(first, second, (*notes, *told))


def _texts(a: RunResults, b: RunResults, shared: int, common: bool) -> list[str]:
    if shared == len(a) == len(b):
        return []
    told = f"texts in both runs: {shared}, only in A: {len(a) - shared}, only in B: {len(b) - shared}"
    if not shared:
        raise InvalidDataset(f"the runs have no text in common: {a.folder} and {b.folder} are over different data")
    if not common:
        raise InvalidDataset(f"{told}; evaluate both over the same texts, or compare those in both with --common")
    return [f"{told}; compared over those in both"]


def _told(a: RunResults, b: RunResults) -> list[str]:
    """What about the runs does not forbid a comparison but belongs beside it."""
    meant = [(who, run, run.manifest.get("texts", len(run))) for who, run in (("A", a), ("B", b))]
    unfinished = [f"{who} holds {len(run)} of its {texts} texts" for who, run, texts in meant if len(run) < texts]
    notes = {
        "data": "the data files differ, though ids and true labels agree: the texts themselves may not be the same",
        "taxonomy": "the taxonomies have the same labels but differ otherwise (descriptions, aliases, shape)",
    }
    return unfinished + [note for key, note in notes.items() if _digest(a, key) != _digest(b, key)]


def _digest(run: RunResults, key: str) -> Any:
    part = run.manifest.get(key)
    return part.get("digest") if isinstance(part, Mapping) else None


def _same_truth(a: RunResults, b: RunResults) -> None:
    for row, name in enumerate(a.ids):
        if (a.true[row] != b.true[row]).any():
            raise InvalidDataset(
                f"text {name!r} has other true labels in B than in A: the runs are over different data"
            )
        if a.groups[row] != b.groups[row]:
            raise InvalidDataset(
                f"text {name!r} is of group {a.groups[row]!r} in A and {b.groups[row]!r} in B; evaluate both over the "
                "same data"
            )


def _only(a: Sequence[str], b: Sequence[str]) -> str:
    extra = [(who, sorted(set(own) - set(other))) for who, own, other in (("A", a, b), ("B", b, a))]
    return "; ".join(f"only {who} has {', '.join(names)}" for who, names in extra if names)
