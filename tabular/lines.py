"""Lines of a text, counted, some of which can be read again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

# The line on which a record begins, its cells, and why they cannot be used.
Record = tuple[int, list[str], str]


class Lines:
    """Lines of a text, counted; those of the present record are kept, to say what is wrong with it.

    Attributes:
        number: lines that were read.
        ended: whether a line was wanted when there was none.
        kept: of the record that is read.
    """

    def __init__(self) -> None:
        self.number, self.ended = 0, False
        self.kept: list[str] = []
        self._source: Iterator[str] = iter(())
        self._back: deque[str] = deque()

    def begin(self, source: Iterator[str], number: int) -> None:
        """Read from a text, whose first lines were read."""
        self._source, self.number = source, number

    def __iter__(self) -> Iterator[str]:
        back, source = self._back, self._source
        while line := back.popleft() if back else next(source, ""):
            self.number += 1
            self.kept.append(line)
            yield line
        self.ended = True

    def take(self) -> str:
        """The next line; empty at the end."""
        line = self._back.popleft() if self._back else next(self._source, "")
        self.number += bool(line)
        return line

    def put_back(self, lines: Sequence[str]) -> None:
        """Lines that were read too early."""
        self._back.extendleft(reversed(lines))
        self.number -= len(lines)
        self.ended = False
