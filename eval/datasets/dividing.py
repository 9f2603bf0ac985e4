"""Puts the rows of a data set on their sides, and keeps a test half that the data came with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from eval.datasets.example import Example
from eval.datasets.fields import Fields
from eval.datasets.loading import labelled
from eval.datasets.registry import records
from eval.datasets.split import assign
from eval.datasets.split_file import BARRED, Frozen, freeze
from prompts.errors import InvalidDataset
from prompts.taxonomy import Taxonomy


def divide(
    path: Path,
    taxonomy: Taxonomy,
    fields: Fields,
    shares: Mapping[str, float],
    seed: int,
    *,
    format: str | None = None,
    ignore_splits: bool = False,
    drop_unknown: bool = False,
) -> tuple[Frozen, list[Example]]:
    """A split of a data set, and its rows as examples on their sides.

    Where the data has a test half, it stays the test half, and train and validation share the rest as they would have;
    what belongs to a film of the test half then stands on the side ``barred``, which nobody reads.

    Args:
        path: the file or folder.
        taxonomy: taxonomy whose labels are balanced.
        fields: names of the columns.
        shares: side to share of the rows; they sum to 1.
        seed: of the order in which equals are dealt out.
        format: a name in ``FORMATS``; by default the first that fits.
        ignore_splits: ignore the splits that the data has.
        drop_unknown: labels that the taxonomy does not know do not count, instead of being refused.

    Raises:
        InvalidDataset: the data cannot be read, or has sides that are complete.
        InvalidSetting: shares that are not above 0 or do not sum to 1.
    """
    rows = records(path, fields, format).rows
    examples = labelled(rows, taxonomy, drop_unknown, Counter())
    given = {} if ignore_splits else _given(path, examples)
    free = [example for example in examples if example.id not in given]
    sides = given | assign(free, _rest(shares) if given else shares, seed)
    frozen = freeze(rows, sides, seed, shares, taxonomy.name)
    return frozen, [replace(example, split=sides[example.id]) for example in examples]


def _given(path: Path, examples: Sequence[Example]) -> dict[str, str]:
    """The side of the rows of a test half by their ids, and of the rows that must not stand beside it."""
    found = {example.split for example in examples} - {""}
    if not found:
        return {}
    if found - {"train", "test"} or "test" not in found:
        raise InvalidDataset(
            f"{path.name} has splits of its own ({', '.join(sorted(found))}); use them, or give --ignore-splits"
        )
    tested = {example.group for example in examples if example.split == "test"}
    return {
        example.id: "test" if example.split == "test" else BARRED for example in examples if example.group in tested
    }


def _rest(shares: Mapping[str, float]) -> dict[str, float]:
    """The shares of the sides beside test, of what test leaves."""
    rest = {name: share for name, share in shares.items() if name != "test"}
    return {name: share / sum(rest.values()) for name, share in rest.items()}
