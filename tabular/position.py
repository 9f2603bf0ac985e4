"""How much of some files has been read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Position:
    """How much of some files has been read.

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
