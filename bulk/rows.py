"""The rows of tables, and how far the reading of them has come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One row of a file.

    Attributes:
        where: file and line, or file and row, for people.
        cells: by column, in the file's order.
        problem: why it is no row as the others are; empty where it is one.
    """

    where: str
    cells: Mapping[str, Any]
    problem: str = ""


@dataclass
class Place:
    """How far the reading of some files has come.

    Attributes:
        total: bytes of all files.
        before: bytes of the files that were read to their end.
        tell: bytes of the present file that were read.
    """

    total: int
    before: int = 0
    tell: Callable[[], int] = field(default=lambda: 0)

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(1.0, (self.before + self.tell()) / max(1, self.total))
