"""Records of CSV: quoting by RFC 4180, and what other writers do instead."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from prompts.errors import InvalidDataset
from tabular.dialect import Layout
from tabular.lines import Lines, Record
from tabular.unquoted import Cutter

_MORE_LINES = 100  # that a record may turn out to have when it is read by another way of quoting
_ESCAPED_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)\\"')
_MISQUOTED = "a quote in the middle of a cell in quotes; double the quotes inside it"


def quoted_records(lines: Lines, layout: Layout, name: str) -> Iterator[Record]:
    """Records as ``csv`` reads them, empty ones left out.

    Raises:
        InvalidDataset: a quote that never closes, which would swallow the rows after it.
    """
    width, spaced, kept = 0, f'{layout.separator} "', lines.kept
    reader = _reader(iter(lines), layout)
    while True:
        start = lines.number + 1
        kept.clear()
        try:
            cells = next(reader, None)
            if cells is None:
                return
            is_odd = spaced in kept[0] and any(cell.startswith(' "') for cell in cells)
        except csv.Error:
            cells, is_odd = [], True
        if len(cells) == width and not is_odd:
            yield start, cells, ""
        elif cells or is_odd:
            cells, problem = _odd_record(lines, layout, cells, width, start, name)
            width = width or len(cells)
            reader = _reader(iter(lines), layout)
            yield start, cells, problem


def _odd_record(
    lines: Lines, layout: Layout, cells: list[str], width: int, start: int, name: str
) -> tuple[list[str], str]:
    """The cells of a record that is not as wide as the first, or is not quoted by RFC 4180, and its problem.

    ``cells`` are as ``csv`` reads them; there are none where it refuses the record.
    """
    if other := _by_other_writers(lines, layout, width):
        return other, ""
    return (cells, "") if cells else _misquoted(lines, layout, width, start, name)


def _reader(lines: Iterator[str], layout: Layout, skips_spaces: bool = False) -> Any:
    skips = layout.skips_spaces or skips_spaces
    return csv.reader(lines, delimiter=layout.separator, skipinitialspace=skips, strict=True)


def _by_other_writers(lines: Lines, layout: Layout, width: int) -> list[str] | None:
    """The cells of the record that was read, where it has all of them once its quotes are read otherwise.

    MySQL, Spark and JSON put a backslash before a quote in a cell; some writers put a space before the opening quote.
    """
    first, was_ended = "".join(lines.kept), lines.ended
    ways = [(True, False)] * ('\\"' in first) + [(False, True)] * (f'{layout.separator} "' in first)
    for escapes, skips_spaces in ways:
        kept = list(lines.kept)
        lines.put_back(kept)
        lines.kept.clear()
        some = islice(lines, len(kept) + _MORE_LINES)
        words = (_ESCAPED_QUOTE.sub(r'\1""', line) for line in some) if escapes else some
        with suppress(csv.Error):
            cells: list[str] = next(_reader(words, layout, skips_spaces), [])
            if cells and len(cells) == (width or len(cells)):
                return cells
        lines.put_back(lines.kept[len(kept) :])
        del lines.kept[len(kept) :]
    lines.ended = was_ended
    return None


def _misquoted(lines: Lines, layout: Layout, width: int, start: int, name: str) -> tuple[list[str], str]:
    """The cells of a record that is not quoted as RFC 4180 has it, and what is wrong with them.

    Raises:
        InvalidDataset: one of its quotes never closes, which would swallow the rows after it.
    """
    record = "".join(lines.kept)
    if lines.ended or len(record) > csv.field_size_limit() or _swallowed(record, layout) is not None:
        raise _unclosed(lines.kept, layout, start, name)
    cells, _ = Cutter(layout.separator, width, " *").cells(record.rstrip("\r\n"))
    return cells, "" if len(cells) == (width or len(cells)) else _MISQUOTED


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
