"""A split that was made once and is kept in a file, bound to its data by a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.datasets.record import Record
from prompts import files
from prompts.errors import InvalidDataset

_FORMAT = "marquee-split-1"
_REST = "train"
BARRED = "barred"  # rows of films that a given test half has: on no side


@dataclass(frozen=True)
class Frozen:
    """Which row stands on which side.

    Attributes:
        data: digest of the rows that were split.
        seed: of the split.
        shares: side to share asked for.
        sides: ids of every side but ``train``, which has the rest.
        taxonomy: name of the taxonomy whose labels were balanced.
    """

    data: str
    seed: int
    shares: Mapping[str, float]
    sides: Mapping[str, tuple[str, ...]]
    taxonomy: str

    @property
    def digest(self) -> str:
        """12 hex digits that change whenever a row changes sides or the data changes."""
        canonical = json.dumps([self.data, {name: sorted(ids) for name, ids in self.sides.items()}], sort_keys=True)
        return files.digest_of(canonical, 12)

    def applied(self, rows: Sequence[Record]) -> tuple[Record, ...]:
        """The rows on their sides.

        Raises:
            InvalidDataset: the rows are not those that were split.
        """
        if (found := digest_of(rows)) != self.data:
            raise InvalidDataset(
                f"the split was made for other rows (digest {self.data}, here {found}): the data or the choice of its "
                "columns has changed; make the split anew with `main.py split`"
            )
        side = {name: which for which, names in self.sides.items() for name in names}
        return tuple(replace(row, split=side.get(row.id, _REST)) for row in rows)


def freeze(
    rows: Sequence[Record], sides: Mapping[str, str], seed: int, shares: Mapping[str, float], taxonomy: str
) -> Frozen:
    """A split in the form that is kept; ``sides`` is the side of each row by its id."""
    ids = {
        name: tuple(sorted(row for row, side in sides.items() if side == name))
        for name in sorted({*sides.values()} - {_REST})
    }
    return Frozen(digest_of(rows), seed, shares, ids, taxonomy)


def digest_of(rows: Sequence[Record]) -> str:
    """12 hex digits of all rows in any order: ids, texts, titles, years and labels as the file spells them."""
    digest = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row.id):
        digest.update(json.dumps([row.id, row.text.body, row.title, row.year, row.labels]).encode())
    return digest.hexdigest()[:12]


def write_frozen(frozen: Frozen, path: Path) -> None:
    """Write a split as JSON."""
    body = {"format": _FORMAT, "digest": frozen.digest, **vars(frozen)}
    files.write_text_atomically(path, json.dumps(body, ensure_ascii=False, indent=1) + "\n")


def read_frozen(path: Path) -> Frozen:
    """Read what ``write_frozen`` wrote.

    Raises:
        InvalidDataset: no such file, something else, or a split that was edited since.
    """
    body = _body(path)
    try:
        sides = {name: tuple(ids) for name, ids in body["sides"].items()}
        frozen = Frozen(body["data"], body["seed"], body["shares"], sides, body["taxonomy"])
    except (KeyError, AttributeError, TypeError) as error:
        raise InvalidDataset(f"{path.name} is not a split of this program: {error} is missing") from None
    if frozen.digest != body.get("digest"):
        raise InvalidDataset(f"{path.name} was changed after it was written; make it anew with `main.py split`")
    return frozen


def _body(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidDataset(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise InvalidDataset(f"{path.name} is not a split of this program: {error}") from None
    if not isinstance(body, dict) or body.get("format") != _FORMAT:
        raise InvalidDataset(f"{path.name} is not a split of this program; make one with `main.py split`")
    return body
