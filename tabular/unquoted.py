"""Records of TSV and of pipes: formats that are often written without quoting, so that a quote may be a letter."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tabular.lines import Lines, Record

_MOST_LINES = 5_000  # of one quoted cell; beyond them its quote is a letter


def unquoted_records(lines: Lines, separator: str, width: int) -> Iterator[Record]:
    """Records of a format that is often written without quoting: a quote that is not closed in its cell is a letter.

    IMDb's files have cells such as ``"Weird Al`` and ``"Rome" in Flames``; pandas quotes cells that hold a tab, a
    quote or a line break. Which of both a line is, the number of its cells tells.
    """
    cutter = Cutter(separator, width)
    while line := lines.take():
        start, bare = lines.number, line.rstrip("\r\n")
        if not bare:
            continue
        if '"' not in bare:
            yield start, bare.split(separator), ""
            continue
        cells, is_open = cutter.cells(bare)
        joined = _continued(lines, cutter, line, len(cells) == width) if is_open else None
        yield start, joined or cells, ""


def _continued(lines: Lines, cutter: Cutter, line: str, is_whole: bool) -> list[str] | None:
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


class Cutter:
    """Cuts a line into cells.

    Args:
        separator: of the cells.
        width: cells of the first line.
        after: pattern of what may follow a closing quote.
    """

    def __init__(self, separator: str, width: int, after: str = "") -> None:
        self.separator, self.width = separator, width
        mark = re.escape(separator)
        self._cell = re.compile(rf'"((?:[^"]|"")*)"{after}(?=$|{mark})|([^{mark}]*)', re.DOTALL)

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
