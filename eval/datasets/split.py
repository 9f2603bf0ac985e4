"""Grouped, stratified splits, and the file that stores one.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011, ECML PKDD) over groups instead of single examples: a
group is never divided, and every split gets its share of every label.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from eval.datasets.example import Example
from eval.datasets.record import Record
from prompts import files
from prompts.errors import InvalidDataset, InvalidSetting

EXCLUDED = "barred"  # in split files: further rows of films of a given test split, which no split may use
_FORMAT = "marquee-split-1"
_DEFAULT = "train"
_ROWS = ""  # a label of every row: it balances the sizes of the splits, also for groups without labels


@dataclass
class _Split:
    """A split under construction, with the rows of each label that it lacks."""

    name: str
    missing: dict[str, float]

    def add(self, counts: Mapping[str, int]) -> None:
        for label, count in counts.items():
            self.missing[label] -= count


def assign(examples: Sequence[Example], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """The split of each example by its id, independent of the order of the examples.

    Args:
        examples: with ids and groups, with or without labels.
        shares: share of the rows of each split; they sum to 1.
        seed: of the order of groups of equal size.

    Raises:
        InvalidSetting: shares that are not above 0 or do not sum to 1.
    """
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise InvalidSetting(f"shares must be above 0 and sum to 1, not {dict(shares)}")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        counts[example.group].update((*example.labels, _ROWS))
    totals = sum(counts.values(), Counter[str]())
    splits = [_Split(name, {label: share * totals[label] for label in totals}) for name, share in shares.items()]
    split_of = _distributed(_shuffled(counts, seed), counts, totals, splits)
    return {example.id: split_of[example.group] for example in examples}


def _shuffled(counts: Mapping[str, Counter[str]], seed: int) -> list[str]:
    """Groups in random order, the largest first, because large groups get harder to place."""
    order = sorted(counts)
    random.Random(seed).shuffle(order)
    return sorted(order, key=lambda group: -counts[group][_ROWS])


def _distributed(
    order: Sequence[str], counts: Mapping[str, Counter[str]], totals: Counter[str], splits: Sequence[_Split]
) -> dict[str, str]:
    """Assign groups: the label with the fewest remaining rows first, to the split that lacks most of it."""
    remaining, found = Counter(totals), dict[str, str]()
    having: dict[str, list[str]] = defaultdict(list)
    for group in order:
        for label in counts[group]:
            having[label].append(group)
    while having:
        label = min(having, key=lambda name: (name == _ROWS, remaining[name], name))
        for group in having.pop(label):
            if group not in found:
                split = max(splits, key=lambda one: (one.missing[label], one.missing[_ROWS]))
                split.add(counts[group])
                remaining.subtract(counts[group])
                found[group] = split.name
    return found


@dataclass(frozen=True)
class SplitFile:
    """The split of every row, stored once and bound to its data by a digest.

    Attributes:
        data: digest of the rows.
        seed: of the split.
        shares: requested share of each split.
        sides: ids of every split but ``train``, which has the rest.
        taxonomy: name of the taxonomy whose labels were balanced.
    """

    data: str
    seed: int
    shares: Mapping[str, float]
    sides: Mapping[str, tuple[str, ...]]
    taxonomy: str

    @classmethod
    def of(
        cls, rows: Sequence[Record], splits: Mapping[str, str], seed: int, shares: Mapping[str, float], taxonomy: str
    ) -> SplitFile:
        """From ``splits``, the split of each row by its id."""
        ids: dict[str, list[str]] = defaultdict(list)
        for row in sorted(splits):
            ids[splits[row]].append(row)
        sides = {name: tuple(ids[name]) for name in sorted(ids) if name != _DEFAULT}
        return cls(digest_of(rows), seed, shares, sides, taxonomy)

    @classmethod
    def read(cls, path: Path) -> SplitFile:
        """Read what ``write`` wrote.

        Raises:
            InvalidDataset: no such file, another kind of file, or a split that was edited.
        """
        body = _json_of(path)
        try:
            sides = {name: tuple(ids) for name, ids in body["sides"].items()}
            found = cls(body["data"], body["seed"], body["shares"], sides, body["taxonomy"])
        except (KeyError, AttributeError, TypeError) as error:
            raise InvalidDataset(f"{path.name} is not a split of this program: {error} is missing") from None
        if found.digest != body.get("digest"):
            raise InvalidDataset(f"{path.name} was changed after it was written; make it again with `main.py split`")
        return found

    def write(self, path: Path) -> None:
        """Write the split as JSON."""
        body = {"format": _FORMAT, "digest": self.digest, **asdict(self)}
        files.write_text_atomically(path, json.dumps(body, ensure_ascii=False, indent=1) + "\n")

    @property
    def digest(self) -> str:
        """12 hex digits of the data and of the split of every row."""
        canonical = json.dumps([self.data, {name: sorted(ids) for name, ids in self.sides.items()}], sort_keys=True)
        return files.digest_of(canonical, 12)

    def applied(self, rows: Sequence[Record]) -> tuple[Record, ...]:
        """The rows with their splits.

        Raises:
            InvalidDataset: the rows differ from those that were split.
        """
        if (found := digest_of(rows)) != self.data:
            raise InvalidDataset(
                f"the split was made for other rows (digest {self.data}, here {found}): the data or the choice of its "
                "columns has changed; make the split again with `main.py split`"
            )
        split_of = {id: name for name, ids in self.sides.items() for id in ids}
        return tuple(replace(row, split=split_of.get(row.id, _DEFAULT)) for row in rows)


def digest_of(rows: Sequence[Record]) -> str:
    """12 hex digits of all rows in any order: ids, texts, titles, years and labels as the file spells them."""
    digest = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row.id):
        digest.update(json.dumps([row.id, row.text.body, row.title, row.year, row.labels]).encode())
    return digest.hexdigest()[:12]


def _json_of(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidDataset(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise InvalidDataset(f"{path.name} is not a split of this program: {error}") from None
    if not isinstance(body, dict) or body.get("format") != _FORMAT:
        raise InvalidDataset(f"{path.name} is not a split of this program; make one with `main.py split`")
    return body
