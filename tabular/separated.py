"""Rows of separated values: CSV by RFC 4180 as ``csv`` reads it, TSV where a quote may be a letter of a cell."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from prompts.errors import InvalidDataset
from tabular.content import Content, suffix
from tabular.dialect import NONE, Dialect, Layout, layout_of, suggestion
from tabular.opening import after_line, opened_text
from tabular.position import Position
from tabular.row import Row

_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_MOST_LINES = 5_000  # of one quoted cell of a TSV file; beyond them its quote is a letter

# The line on which a record begins, and its cells.
Record = tuple[int, list[str]]


def layout_in(path: Path, content: Content, dialect: Dialect) -> Layout:
    """How the lines of a file are cut into cells."""
    alone = "\t" if suffix(path) == ".tsv" else NONE
    return layout_of(content.head, content.whole, dialect.mark, alone)


def separated_columns(path: Path, content: Content, layout: Layout) -> list[str]:
    """Names of the columns; none where the file has no line.

    Raises:
        InvalidDataset: two columns of one name, a name that is not UTF-8, or a file that cannot be read.
    """
    return next(_all(path, content, layout, None), (0, []))[1]


def separated_rows(path: Path, content: Content, layout: Layout, position: Position | None = None) -> Iterator[Row]:
    """The rows; a row of too few or too many cells has a problem.

    Raises:
        InvalidDataset: a quote that never closes, or a file that cannot be read to its end.
    """
    records = _all(path, content, layout, position)
    _, names = next(records, (0, []))
    last = max((place for place, name in enumerate(names, 1) if not _is_unnamed(name)), default=0)
    for line, cells in records:
        where = f"{path.name}, line {line}"
        if len(cells) != len(names):
            cells = _fitted(cells, len(names), last)
        row = dict(zip(names, cells, strict=False))
        together = "".join(cells)
        if len(cells) == len(names) and "\x00" not in together and (
            together.isascii() or not _NOT_UTF8.search(together)
        ):  # fmt: skip
            yield Row(where, row)
        else:
            yield _odd_row(names, cells, where, content)


def _all(path: Path, content: Content, layout: Layout, position: Position | None) -> Iterator[Record]:
    """The names of the columns, and then all records that are not empty."""
    lines = _Lines()
    with opened_text(path, content, "", position, lambda: after_line(lines.number)) as text:
        for _ in range(layout.skipped):
            next(text)
        lines.begin(text, layout.skipped)
        records = _records(lines, layout, path.name)
        first = next(records, None)
        if first is None:
            return
        names = names_of(first[1], path.name, content.head)
        yield first[0], names
        yield from _loose(lines, layout.separator, len(names)) if layout.quotes_are_text else records


def names_of(cells: Sequence[str], where: str, head: str = "") -> list[str]:
    """The names of columns as they are used: without spaces around, and one for each column that has none.

    Raises:
        InvalidDataset: two columns of one name, or a name that is not UTF-8.
    """
    names = [cell.strip() or f"Unnamed: {place}" for place, cell in enumerate(cells)]
    if any(map(_NOT_UTF8.search, names)):
        advice = suggestion(head.encode("utf-8", "surrogateescape"))
        raise InvalidDataset(f"{where}, line 1: not UTF-8; {advice}")
    if twice := next((name for name in names if names.count(name) > 1), None):
        places = [str(place) for place, name in enumerate(names, 1) if name == twice]
        raise InvalidDataset(f"{where} has two columns {twice!r} (columns {' and '.join(places)}); rename one")
    return names


def _is_unnamed(name: str) -> bool:
    return name.startswith("Unnamed: ")


def _fitted(cells: list[str], width: int, last: int) -> list[str]:
    """A row without empty cells beyond the columns, or with those that Excel leaves out of columns without a name."""
    if len(cells) > width and not any(cells[width:]):
        return cells[:width]
    return [*cells, *[""] * (width - len(cells))] if last <= len(cells) < width else cells


def _odd_row(names: list[str], cells: list[str], where: str, content: Content) -> Row:
    row = {name: _NOT_UTF8.sub("\ufffd", cell) for name, cell in zip(names, cells, strict=False)}
    if len(cells) > len(names):
        problem = f"{len(cells)} cells where the first line names {len(names)}, {cells[len(names) :]} beyond them"
    elif len(cells) < len(names):
        problem = f"{len(cells)} cells where the first line names {len(names)}"
    elif odd := next(filter(_NOT_UTF8.search, cells), None):
        problem = f"not UTF-8; {_advice(content.head if _NOT_UTF8.search(content.head) else odd)}"
    else:
        problem = "a zero byte (NUL) in a cell"
    return Row(where, row, problem)


@lru_cache(maxsize=64)  # the same for every row of a file
def _advice(words: str) -> str:
    return suggestion(words.encode("utf-8", "surrogateescape"))


class _Lines:
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
        for line in self._source:
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


# --- CSV ---


def _records(lines: _Lines, layout: Layout, name: str) -> Iterator[Record]:
    """Records as ``csv`` reads them, empty ones left out.

    Raises:
        InvalidDataset: a quote that never closes, which would swallow the rows after it.
    """
    reader = csv.reader(iter(lines), delimiter=layout.separator, skipinitialspace=layout.skips_spaces)
    while True:
        start = lines.number + 1
        lines.kept.clear()
        cells = _next(reader, lines, layout, start, name)
        if cells is None:
            return
        if len(lines.kept) > 1 or lines.ended:
            _check_closed(lines, layout, start, name)
        if cells:
            yield start, cells


def _next(reader: Any, lines: _Lines, layout: Layout, start: int, name: str) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error:
        raise _unclosed(lines.kept, layout, start, name) from None


def _check_closed(lines: _Lines, layout: Layout, start: int, name: str) -> None:
    """A record of several lines has a cell in quotes. It was not closed where the text ended in it, or where a quote
    at the beginning of a later cell was taken for its end."""
    if lines.ended:
        raise _unclosed(lines.kept, layout, start, name)
    try:
        deque(csv.reader(lines.kept, delimiter=layout.separator, skipinitialspace=layout.skips_spaces, strict=True), 0)
    except csv.Error:
        if _swallowed("".join(lines.kept), layout) is not None:
            raise _unclosed(lines.kept, layout, start, name) from None


def _unclosed(kept: Sequence[str], layout: Layout, start: int, name: str) -> InvalidDataset:
    record = "".join(kept)
    place = _swallowed(record, layout)
    line = start + record[: _spans(record, layout)[-1][0] if place is None else place].count("\n")
    return InvalidDataset(f"{name}, line {line}: a quote opens a cell here and is never closed; close it, or double it")


def _swallowed(record: str, layout: Layout) -> int | None:
    """The quote that opens a cell of several lines which is closed only where another cell should open."""
    before = ("\n", "\r", layout.separator)
    for start, end in _spans(record, layout):
        is_end = record[end + 1 : end + 2] in ("", "\r", "\n", layout.separator)
        if not is_end and "\n" in record[start:end] and record[end - 1] in before:
            return start
    return None


def _spans(record: str, layout: Layout) -> list[tuple[int, int]]:
    """The quotes that open cells of a record, each with the one that closes it, or with the end."""
    space = " *" if layout.skips_spaces else ""
    opening = re.compile(rf'(?:^|(?<={re.escape(layout.separator)})|(?<=[\r\n])){space}"')
    found, place = list[tuple[int, int]](), 0
    while opened := opening.search(record, place):
        start = opened.end() - 1
        closed = re.compile('(?:[^"]|"")*').match(record, start + 1)
        end = closed.end() if closed else len(record)
        found.append((start, end))
        place = end + 1
    return found or [(0, len(record))]


# --- TSV ---


def _loose(lines: _Lines, separator: str, width: int) -> Iterator[Record]:
    """Records of a format that is often written without quoting: a quote that is not closed in its cell is a letter.

    IMDb's files have cells such as ``"Weird Al`` and ``"Rome" in Flames``; pandas quotes cells that hold a tab, a
    quote or a line break. Which of both a line is, the number of its cells tells.
    """
    cutter = _Cutter(separator, width)
    while line := lines.take():
        start, bare = lines.number, line.rstrip("\r\n")
        if not bare:
            continue
        if '"' not in bare:
            yield start, bare.split(separator)
            continue
        cells, is_open = cutter.cells(bare)
        joined = _continued(lines, cutter, line, len(cells) == width) if is_open else None
        yield start, joined or cells


def _continued(lines: _Lines, cutter: _Cutter, line: str, is_whole: bool) -> list[str] | None:
    """The cells of a record with a cell that goes on in the next lines; None where it does not.

    Two lines that both have all cells are two records.
    """
    read: list[str] = []
    words = line
    while len(read) < _MOST_LINES and (following := lines.take()):
        read.append(following)
        words += following
        follows_whole = cutter.width > 1 and following.count(cutter.separator) == cutter.width - 1
        if '"' in following and not (is_whole and follows_whole):
            cells, is_open = cutter.cells(words.rstrip("\r\n"))
            if not is_open and len(cells) == cutter.width:
                return cells
        if follows_whole:
            break
    lines.put_back(read)
    return None


class _Cutter:
    """Cuts a line into cells.

    Args:
        separator: of the cells.
        width: cells of the first line.
    """

    def __init__(self, separator: str, width: int) -> None:
        self.separator, self.width = separator, width
        mark = re.escape(separator)
        self._cell = re.compile(rf'"((?:[^"]|"")*)"(?=$|{mark})|([^{mark}]*)', re.DOTALL)

    def cells(self, words: str) -> tuple[list[str], bool]:
        """The cells, and whether one of them may go on in the next line.

        Where quoting makes another number of cells than the first line has, and plain cutting makes that number, the
        quotes are letters.
        """
        quoted, open_at = self._quoted(words)
        plain = words.split(self.separator)
        are_letters = len(quoted) != self.width == len(plain) and "\n" not in words
        return plain if are_letters else quoted, open_at is not None

    def _quoted(self, words: str) -> tuple[list[str], int | None]:
        """The cells, and which of them opens a quote that is not closed."""
        cells, place, open_at = list[str](), 0, None
        while found := self._cell.match(words, place):
            in_quotes = found[1] is not None
            cell = found[1].replace('""', '"') if in_quotes else found[2]
            if not in_quotes and cell.startswith('"') and open_at is None:
                open_at = len(cells)
            cells.append(cell)
            if found.end() >= len(words):
                break
            place = found.end() + 1
        return cells, open_at
