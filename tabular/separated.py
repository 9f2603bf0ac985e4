"""Rows of separated values: CSV by RFC 4180 as ``csv`` reads it, TSV where a quote may be a letter of a cell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from prompts.errors import InvalidDataset
from tabular.content import Content, suffix
from tabular.dialect import NONE, Layout, TableDialect, layout_of, suggestion
from tabular.lines import Lines, Record
from tabular.opening import after_line, opened_text
from tabular.position import Position
from tabular.quoted import quoted_records
from tabular.row import Row
from tabular.unquoted import unquoted_records

_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_INVISIBLE = "\u200b\u2060\ufeff"  # such as the mark of a file that was put after another one


def layout_in(path: Path, content: Content, dialect: TableDialect) -> Layout:
    """How the lines of a file are cut into cells."""
    alone = "\t" if suffix(path) == ".tsv" else NONE
    return layout_of(content.head, content.whole, dialect.mark, alone)


def separated_columns(path: Path, content: Content, layout: Layout) -> list[str]:
    """Names of the columns; none where the file has no line.

    Raises:
        InvalidDataset: two columns of one name, a name that is not UTF-8, or a file that cannot be read.
    """
    return next(_all(path, content, layout, None), (0, [], ""))[1]


def separated_rows(path: Path, content: Content, layout: Layout, position: Position | None = None) -> Iterator[Row]:
    """The rows; a row of too few or too many cells has a problem.

    Raises:
        InvalidDataset: a quote that never closes, or a file that cannot be read to its end.
    """
    records = _all(path, content, layout, position)
    _, names, _ = next(records, (0, [], ""))
    last = max((place for place, name in enumerate(names, 1) if not _is_unnamed(name)), default=0)
    for line, cells, problem in records:
        where = f"{path.name}, line {line}"
        if len(cells) != len(names):
            cells = _fitted(cells, len(names), last)
        row = dict(zip(names, cells, strict=False))
        together = "".join(cells)
        if len(cells) == len(names) and not problem and "\x00" not in together and (
            together.isascii() or not _NOT_UTF8.search(together)
        ):  # fmt: skip
            yield Row(where, row)
        else:
            yield _odd_row(names, cells, where, content, problem)


def _all(path: Path, content: Content, layout: Layout, position: Position | None) -> Iterator[Record]:
    """The names of the columns, and then all records that are not empty."""
    lines = Lines()
    with opened_text(path, content, "", position, lambda: after_line(lines.number)) as text:
        for _ in range(layout.skipped):
            next(text)
        lines.begin(text, layout.skipped)
        records = quoted_records(lines, layout, path.name)
        first = next(records, None)
        if first is None:
            return
        names = names_of(first[1], path.name, content.head)
        yield first[0], names, ""
        yield from unquoted_records(lines, layout.separator, len(names)) if layout.quotes_are_text else records


def names_of(cells: Sequence[str], where: str, head: str = "") -> list[str]:
    """The names of columns as they are used: without spaces around, and one for each column that has none.

    Raises:
        InvalidDataset: two columns of one name, or a name that is not UTF-8.
    """
    names = [cell.strip().strip(_INVISIBLE).strip() or f"Unnamed: {place}" for place, cell in enumerate(cells)]
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


def _odd_row(names: list[str], cells: list[str], where: str, content: Content, problem: str) -> Row:
    row = {name: _NOT_UTF8.sub("\ufffd", cell) for name, cell in zip(names, cells, strict=False)}
    if problem:
        pass
    elif len(cells) > len(names):
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
