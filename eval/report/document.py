"""The content of a report: sections of tables, figures and examples, without layout.

The HTML and the Markdown template render the same document, so their numbers are equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from markupsafe import Markup

MISSING = "–"


def decimal(value: float) -> str:
    """Three decimals: 0.634."""
    return f"{value:.3f}"


def percent(value: float) -> str:
    """A share as a percentage with one decimal: 63.4%."""
    return f"{value:.1%}"


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        sub: a smaller second line, such as an interval.
        sort: the number to sort by; None sorts last.
        heat: shade from 0 to 10; None for no shade.
        series: number of the system whose colour marks the cell.
    """

    text: str
    sub: str = ""
    sort: float | None = None
    heat: int | None = None
    best: bool = False
    series: int | None = None

    @classmethod
    def of(cls, value: float | None, heat: bool = False, best: bool = False) -> Cell:
        """A number from 0 to 1 with three decimals, or the mark of a missing one."""
        if value is None:
            return cls(MISSING)
        return cls(decimal(value), sort=float(value), heat=shade(value) if heat else None, best=best)

    @classmethod
    def count(cls, value: int) -> Cell:
        """A whole number with separators: 1,234."""
        return cls(f"{value:,}", sort=int(value))


def shade(value: float) -> int:
    """The shade of a number from 0 to 1."""
    return round(10 * min(max(float(value), 0.0), 1.0))


@dataclass(frozen=True)
class Head:
    """The head of a column; ``about`` explains it, ``group`` is the heading above it."""

    text: str
    about: str = ""
    group: str = ""
    numeric: bool = True


def heads(*columns: str | Head, words: int = 1) -> tuple[Head, ...]:
    """Heads of columns; the first ``words`` columns hold words, the others numbers."""
    return tuple(
        column if isinstance(column, Head) else Head(column, numeric=place >= words)
        for place, column in enumerate(columns)
    )


@dataclass(frozen=True)
class TableRow:
    """Cells of a table; the first is the row's head. ``kind`` is ``trivial``, ``ceiling`` or empty."""

    cells: tuple[Cell, ...]
    kind: str = ""

    @classmethod
    def of(cls, *cells: Cell | str, kind: str = "") -> TableRow:
        """A row of cells; a string is a cell of plain text."""
        return cls(tuple(Cell(one) if isinstance(one, str) else one for one in cells), kind)


@dataclass(frozen=True)
class ReportTable:
    """A table; ``style`` is ``plain``, ``heat``, ``wide`` or ``matrix``; ``twin`` is whether Markdown has it too."""

    kind: ClassVar[str] = "table"
    caption: str
    heads: tuple[Head, ...]
    rows: tuple[TableRow, ...]
    style: str = "plain"
    twin: bool = True
    sortable: bool = True

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Groups of adjacent columns with the number of columns; empty where there is one group only."""
        spans = [(group, len(list(columns))) for group, columns in groupby(head.group for head in self.heads)]
        return spans if len(spans) > 1 else []


@dataclass(frozen=True)
class Note:
    """A paragraph; a ``finding`` is part of the result, others explain."""

    kind: ClassVar[str] = "note"
    text: str
    finding: bool = False


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption. Markdown omits it: a table has the same numbers."""

    kind: ClassVar[str] = "figure"
    drawing: Markup
    caption: str = ""
    small: bool = False


@dataclass(frozen=True)
class Legend:
    """Names beside their colours: series, name, and a value that may be empty."""

    kind: ClassVar[str] = "legend"
    entries: tuple[tuple[int | None, str, str], ...]
    title: str = ""


@dataclass(frozen=True)
class Tag:
    """A label of an example; ``wrong`` for a false positive or a false negative."""

    name: str
    wrong: bool
    score: str = ""


@dataclass(frozen=True)
class ReportExample:
    """A text with wrong labels; ``text`` is None where the report has no texts."""

    kind: ClassVar[str] = "example"
    id: str
    truth: tuple[Tag, ...]
    predicted: tuple[Tag, ...]
    text: str | None = None


@dataclass(frozen=True)
class Grid:
    """Parts side by side: ``pair`` or ``chart`` for a drawing and its legend or table, ``many`` for small multiples."""

    kind: ClassVar[str] = "grid"
    parts: tuple[Part, ...]
    style: str = "many"


@dataclass(frozen=True)
class Fold:
    """Parts below a title that shows and hides them."""

    kind: ClassVar[str] = "fold"
    title: str
    parts: tuple[Part, ...]
    open: bool = False
    series: int | None = None


Part = ReportTable | Note | Figure | Legend | ReportExample | Grid | Fold


@dataclass(frozen=True)
class Section:
    """A section of the report; ``id`` is its anchor, ``lead`` its first paragraph."""

    id: str
    title: str
    lead: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Document:
    """A report: title, facts below the title, warnings, sections, and definitions of the metrics."""

    title: str
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    definitions: tuple[tuple[str, str], ...]
