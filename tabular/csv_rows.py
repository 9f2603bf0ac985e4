"""Rows of CSV (RFC 4180, and what other writers do instead) and of TSV, where a quote may be literal."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from prompts.errors import InvalidDataset
from tabular.cells import INVISIBLE
from tabular.reading import (
    INVALID_UTF8,
    FileFormat,
    Layout,
    PushbackLines,
    ReadPosition,
    Row,
    check_unique,
    encoding_advice,
    open_text,
)

# The line on which a record begins, its cells, and why they cannot be used.
Record = tuple[int, list[str], str]

_MORE_LINES = 100  # of a record that is read by another way of quoting
_MOST_LINES = 5_000  # of a quoted cell of TSV; beyond them its quote is literal
_ESCAPED_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)\\"')


def csv_columns(path: Path, format: FileFormat) -> list[str]:
    """Names of the columns; none where the file has no line."""
    return next(_header_and_records(path, format, None), (0, [], ""))[1]


def csv_rows(path: Path, format: FileFormat, position: ReadPosition | None = None) -> Iterator[Row]:
    """The rows; a row of too few or too many cells has a problem, and a quote that never closes is an error."""
    records = _header_and_records(path, format, position)
    _, names, _ = next(records, (0, [], ""))
    last = max((place for place, name in enumerate(names, 1) if not name.startswith("Unnamed: ")), default=0)
    for line, cells, problem in records:
        where = f"{path.name}, line {line}"
        if len(cells) != len(names):
            cells = _fitted(cells, len(names), last)
        row = dict(zip(names, cells, strict=False))
        text = "".join(cells)
        is_readable = "\x00" not in text and (text.isascii() or not INVALID_UTF8.search(text))
        if is_readable and not problem and len(cells) == len(names):
            yield Row(where, row)
        else:
            row = {name: INVALID_UTF8.sub("\ufffd", cell) for name, cell in row.items()}
            yield Row(where, row, problem or _problem(cells, len(names), format.head))


def _fitted(cells: list[str], width: int, last: int) -> list[str]:
    """A row without empty cells beyond the header, or with those that Excel omits from columns without a name."""
    if len(cells) > width and not any(cells[width:]):
        return cells[:width]
    return [*cells, *[""] * (width - len(cells))] if last <= len(cells) < width else cells


def _problem(cells: list[str], width: int, head: str) -> str:
    if len(cells) != width:
        extra = f", {cells[width:]} beyond them" if len(cells) > width else ""
        return f"{len(cells)} cells where the first line names {width}{extra}"
    if invalid := next(filter(INVALID_UTF8.search, cells), None):
        return f"not UTF-8; {_advice(head if INVALID_UTF8.search(head) else invalid)}"
    return "a zero byte (NUL) in a cell"


@lru_cache(maxsize=64)  # the same for every row of a file
def _advice(text: str) -> str:
    return encoding_advice(text.encode("utf-8", "surrogateescape"))


def _header_and_records(path: Path, format: FileFormat, position: ReadPosition | None) -> Iterator[Record]:
    """The names of the columns, and then all records that are not empty."""
    lines, layout = PushbackLines(), format.layout
    with open_text(path, format, "", position, lambda: lines.number) as text:
        for _ in range(layout.skipped):
            next(text)
        lines.source, lines.number = text, layout.skipped
        records = _csv_records(lines, layout, path.name)
        first = next(records, None)
        if first is None:
            return
        names = _column_names(first[1], path.name, format.head)
        yield first[0], names, ""
        yield from _tsv_records(lines, layout.separator, len(names)) if layout.quotes_are_text else records


def _column_names(cells: Sequence[str], file: str, head: str) -> list[str]:
    """The names of the columns: without spaces around them, and one for each column that has none."""
    names = [cell.strip().strip(INVISIBLE).strip() or f"Unnamed: {place}" for place, cell in enumerate(cells)]
    if any(map(INVALID_UTF8.search, names)):
        raise InvalidDataset(f"{file}, line 1: not UTF-8; {_advice(head)}")
    check_unique(names, file)
    return names


# --- CSV ---


def _csv_records(lines: PushbackLines, layout: Layout, file: str) -> Iterator[Record]:
    """Records as ``csv`` reads them, without empty ones; raises where an unclosed quote would swallow rows."""
    width, spaced, record = 0, f'{layout.separator} "', lines.record
    reader = _csv_reader(iter(lines), layout)
    while True:
        start = lines.number + 1
        record.clear()
        try:
            cells = next(reader, None)
            if cells is None:
                return
            is_odd = spaced in record[0] and any(cell.startswith(' "') for cell in cells)
        except csv.Error:
            cells, is_odd = [], True
        if len(cells) == width and not is_odd:
            yield start, cells, ""
        elif cells or is_odd:
            cells, problem = _odd_record(lines, layout, cells, width, start, file)
            width = width or len(cells)
            reader = _csv_reader(iter(lines), layout)
            yield start, cells, problem


def _csv_reader(lines: Iterator[str], layout: Layout, skips_spaces: bool = False) -> Any:
    skips = layout.skips_spaces or skips_spaces
    return csv.reader(lines, delimiter=layout.separator, skipinitialspace=skips, strict=True)


def _odd_record(
    lines: PushbackLines, layout: Layout, cells: list[str], width: int, start: int, file: str
) -> tuple[list[str], str]:
    """The cells and the problem of a record that has another width than the header, or is not quoted by RFC 4180.

    ``cells`` are as ``csv`` reads them, empty where it raises.
    """
    if other := _other_quoting(lines, layout, width):
        return other, ""
    if cells:
        return cells, ""
    record = "".join(lines.record)
    unclosed = _unclosed_quote(record, layout)
    if lines.exhausted or len(record) > csv.field_size_limit() or unclosed is not None:
        place = _quoted_spans(record, layout)[-1][0] if unclosed is None else unclosed
        line = start + record[:place].count("\n")
        raise InvalidDataset(
            f"{file}, line {line}: a quote opens a cell here and is never closed; close it, or double it"
        )
    cells, _ = _LineSplitter(layout.separator, width, " *").split(record.rstrip("\r\n"))
    is_full = len(cells) == (width or len(cells))
    return cells, "" if is_full else "a quote in the middle of a cell in quotes; double the quotes inside it"


def _other_quoting(lines: PushbackLines, layout: Layout, width: int) -> list[str] | None:
    """The cells of the current record, where another way of quoting gives as many as the header has.

    MySQL, Spark and JSON escape a quote by a backslash; some writers put a space before the opening quote.
    """
    first, was_exhausted = "".join(lines.record), lines.exhausted
    ways = [(True, False)] * ('\\"' in first) + [(False, True)] * (f'{layout.separator} "' in first)
    for escapes, skips_spaces in ways:
        record = list(lines.record)
        lines.push_back(record)
        lines.record.clear()
        limited = islice(lines, len(record) + _MORE_LINES)
        text = (_ESCAPED_QUOTE.sub(r'\1""', line) for line in limited) if escapes else limited
        with suppress(csv.Error):
            cells: list[str] = next(_csv_reader(text, layout, skips_spaces), [])
            if cells and len(cells) == (width or len(cells)):
                return cells
        lines.push_back(lines.record[len(record) :])
        del lines.record[len(record) :]
    lines.exhausted = was_exhausted
    return None


def _unclosed_quote(record: str, layout: Layout) -> int | None:
    """Where a quote opens a cell of several lines that is closed only where another cell should open."""
    before = ("\n", "\r", layout.separator)
    for start, end in _quoted_spans(record, layout):
        is_end = record[end + 1 : end + 2] in ("", "\r", "\n", layout.separator)
        if not is_end and "\n" in record[start:end] and record[end - 1] in before:
            return start
    return None


def _quoted_spans(record: str, layout: Layout) -> list[tuple[int, int]]:
    """The quotes that open cells of a record, each with the one that closes it, or with the end."""
    space, mark = " *" if layout.skips_spaces else "", re.escape(layout.separator)
    quoted = re.finditer(rf'(?:^|(?<={mark})|(?<=[\r\n])){space}"((?:[^"]|"")*)"?', record)
    return [(found.start(1) - 1, found.end(1)) for found in quoted] or [(0, len(record))]


# --- TSV and pipes ---


def _tsv_records(lines: PushbackLines, separator: str, width: int) -> Iterator[Record]:
    """Records of a format that is often written without quoting: a quote that is not closed in its cell is literal.

    IMDb's files have cells such as ``"Weird Al`` and ``"Rome" in Flames``; pandas quotes cells that hold a tab, a quote
    or a line break. The number of cells decides.
    """
    splitter = _LineSplitter(separator, width)
    for line in lines:
        lines.record.clear()
        start, bare = lines.number, line.rstrip("\r\n")
        if '"' in bare:
            cells, is_open = splitter.split(bare)
            joined = _joined_lines(lines, splitter, line, len(cells) == width) if is_open else None
            yield start, joined or cells, ""
        elif bare:
            yield start, bare.split(separator), ""


def _joined_lines(lines: PushbackLines, splitter: _LineSplitter, line: str, is_full: bool) -> list[str] | None:
    """The cells of a record with a cell of several lines; None where it has none.

    Two lines that both have all cells are two records.
    """
    read: list[str] = []
    text = line
    for following in islice(lines, _MOST_LINES):
        read.append(following)
        text += following
        following_is_full = splitter.width > 1 and following.count(splitter.separator) == splitter.width - 1
        if '"' in following and not (is_full and following_is_full):
            cells, is_open = splitter.split(text.rstrip("\r\n"))
            if not is_open and len(cells) == splitter.width:
                return cells
        if following_is_full:
            break
    lines.push_back(read)
    return None


class _LineSplitter:
    """Splits a line into cells, in quotes or not.

    ``width`` is the number of cells of the header, ``after`` the pattern of what may follow a closing quote.
    """

    def __init__(self, separator: str, width: int, after: str = "") -> None:
        self.separator, self.width = separator, width
        mark = re.escape(separator)
        self._cell = re.compile(rf'"((?:[^"]|"")*)"{after}(?=$|{mark})|([^{mark}]*)', re.DOTALL)

    def split(self, text: str) -> tuple[list[str], bool]:
        """The cells, and whether one of them may go on in the next line.

        Where only a plain split gives as many cells as the header has, the quotes are literal.
        """
        quoted, is_open = self._split_quoted(text)
        plain = text.split(self.separator)
        is_literal = len(quoted) != self.width == len(plain) and "\n" not in text
        return plain if is_literal else quoted, is_open

    def _split_quoted(self, text: str) -> tuple[list[str], bool]:
        cells, place, is_open = list[str](), 0, False
        while match := self._cell.match(text, place):
            in_quotes = match[1] is not None
            cell = match[1].replace('""', '"') if in_quotes else match[2]
            is_open = is_open or (not in_quotes and cell.startswith('"'))
            cells.append(cell)
            if match.end() >= len(text):
                break
            place = match.end() + 1
        return cells, is_open
