"""Writes the rows of a run: each batch is on the disk before the next one is classified."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from eval.rows import ROWS, RunRow, read_rows
from prompts.errors import InvalidSetting
from prompts.files import locked, replacing


class RunLog:
    """The ``rows.jsonl`` of a run that is being written.

    Args:
        folder: of the run; the file need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ROWS

    def read(self) -> list[RunRow]:
        """The complete rows, to resume from; an unfinished last line is left out.

        Raises:
            InvalidDataset: another line is not a row.
        """
        return [row for _, row in read_rows(self.path, self._whole())]

    @property
    def torn(self) -> bool:
        """Whether the last line has no end."""
        return len(self._whole()) < len(self._bytes())

    def append(self, rows: Iterable[RunRow]) -> None:
        """Add rows; they are on the disk when this returns."""
        with self.path.open("ab") as out:
            _write(out, rows)

    def replace(self, rows: Iterable[RunRow]) -> None:
        """Replace all rows by these; a reader finds the old file or the new one."""
        with replacing(self.path) as new, new.open("wb") as out:
            _write(out, rows)

    def _bytes(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""

    def _whole(self) -> bytes:
        held = self._bytes()
        return held[: held.rfind(b"\n") + 1]


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a run's folder to this process; the hold ends with the process, however that ends.

    Raises:
        InvalidSetting: another process holds it.
    """
    busy = InvalidSetting(f"another evaluation is writing to {folder}; wait for it, or give another --out")
    with locked(folder / ".lock", timeout=0, busy=busy):
        yield


def _write(out: BinaryIO, rows: Iterable[RunRow]) -> None:
    out.write("".join(row.as_line() for row in rows).encode())
    out.flush()
    os.fsync(out.fileno())
