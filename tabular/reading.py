"""What the readers of all formats share: rows, the reading position, opened text files and their lines."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from prompts.errors import InvalidDataset
from tabular.detection import FileFormat
from tabular.dialect import decoding_errors

INVALID_UTF8 = re.compile("[\udc80-\udcff]")
"""Bytes that are not UTF-8, as ``surrogateescape`` decodes them."""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        where: file and line (the first of the row), or file and row of Parquet; for messages.
        cells: value by column, in the order of the file. Parquet converts a column when it is first read.
        problem: why the row cannot be used; empty where it can.
    """

    where: str
    cells: Mapping[str, Any]
    problem: str = ""


@dataclass
class ReadPosition:
    """How much of some files has been read.

    Attributes:
        total: bytes of all files.
        before: bytes of the files that were read to their end.
        tell: bytes read of the current file.
    """

    total: int
    before: int = 0
    tell: Callable[[], int] = field(default=lambda: 0)

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(1.0, (self.before + self.tell()) / max(1, self.total))


@contextmanager
def open_text(
    path: Path, format: FileFormat, newline: str, position: ReadPosition | None, line: Callable[[], int]
) -> Iterator[TextIO]:
    """The file as text, unpacked where it is gzipped.

    Args:
        path: the file.
        format: its encoding. Bytes that are not UTF-8 become lone surrogates; in other encodings they are an error.
        newline: as ``open`` takes it.
        position: is kept up to date.
        line: the number of the last line that was read, for messages.

    Raises:
        InvalidDataset: reading fails at any time; the message names the file and the line.
    """
    with _readable_errors(path, line), path.open("rb") as raw:
        if position is not None:
            position.tell = raw.tell
        data = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if format.gzipped else raw
        with io.TextIOWrapper(data, format.encoding, decoding_errors(format.encoding), newline) as text:
            yield text


@contextmanager
def _readable_errors(path: Path, line: Callable[[], int]) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, OSError, UnicodeError) as error:
        after = f" after line {line():,}" if line() else ""
        raise InvalidDataset(f"cannot read {path}{after}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the gzip data ends too early; fetch the file again"
    if isinstance(error, zlib.error | gzip.BadGzipFile):
        return "the gzip data is damaged; fetch the file again"
    if isinstance(error, UnicodeError):
        return f"what follows is not {getattr(error, 'encoding', 'its encoding')}"
    return str(getattr(error, "strerror", None) or error)


class PushbackLines:
    """The lines of a text, which can be pushed back.

    Attributes:
        source: the text.
        number: lines that were read.
        exhausted: whether a line was wanted when there was none.
        record: lines of the current record, for messages.
    """

    def __init__(self) -> None:
        self.source: Iterator[str] = iter(())
        self.number, self.exhausted = 0, False
        self.record: list[str] = []
        self._pushed_back: deque[str] = deque()

    def __iter__(self) -> Iterator[str]:
        pushed_back, source = self._pushed_back, self.source
        while line := pushed_back.popleft() if pushed_back else next(source, ""):
            self.number += 1
            self.record.append(line)
            yield line
        self.exhausted = True

    def next_line(self) -> str:
        """The next line, not kept in ``record``; empty at the end."""
        line = self._pushed_back.popleft() if self._pushed_back else next(self.source, "")
        self.number += bool(line)
        return line

    def push_back(self, lines: Sequence[str]) -> None:
        """Return lines that were read too early."""
        self._pushed_back.extendleft(reversed(lines))
        self.number -= len(lines)
        self.exhausted = False


def check_unique(names: Sequence[str], file: str) -> None:
    """Check the names of columns.

    Raises:
        InvalidDataset: two columns have one name.
    """
    if double := next((name for name in names if names.count(name) > 1), None):
        places = [str(place) for place, name in enumerate(names, 1) if name == double]
        raise InvalidDataset(f"{file} has two columns {double!r} (columns {' and '.join(places)}); rename one")
