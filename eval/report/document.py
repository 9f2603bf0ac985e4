"""What a report is made of: sections of tables, figures and examples, without a word about how they look.

Both templates, HTML and Markdown, render this one document, so that their numbers cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what is shown.
        sub: a smaller second line, e.g. an interval.
        sort: the number to sort by; None sorts last.
        heat: shade from 0 to 10, None for none.
        best: whether it is the best of its column.
        series: place of the system whose colour stands beside the text.
    """

    text: str
    sub: str = ""
    sort: float | None = None
    heat: int | None = None
    best: bool = False
    series: int | None = None


@dataclass(frozen=True)
class Head:
    """One column: its title, what it means, the group it stands under, and whether it holds numbers."""

    text: str
    about: str = ""
    group: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class TableRow:
    """Cells of a table; the first is the row's header. ``kind`` sets apart ``trivial`` and ``ceiling`` rows."""

    cells: tuple[Cell, ...]
    kind: str = ""


@dataclass(frozen=True)
class ReportTable:
    """A table; ``style`` is ``plain``, ``heat`` or ``matrix``; ``twin`` says whether Markdown shows it too."""

    kind: ClassVar[str] = "table"
    caption: str
    heads: tuple[Head, ...]
    rows: tuple[TableRow, ...]
    style: str = "plain"
    twin: bool = True
    sortable: bool = True

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Groups of the columns with how many stand under each, in order; empty where there are none."""
        spans: list[tuple[str, int]] = []
        for head in self.heads:
            if spans and spans[-1][0] == head.group:
                spans[-1] = (head.group, spans[-1][1] + 1)
            else:
                spans.append((head.group, 1))
        return spans if len(spans) > 1 else []


@dataclass(frozen=True)
class Note:
    """A paragraph; ``tone`` is ``plain`` or ``warning``."""

    kind: ClassVar[str] = "note"
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption; Markdown leaves it out, for tables say the same."""

    kind: ClassVar[str] = "figure"
    drawing: Markup
    caption: str = ""
    small: bool = False


@dataclass(frozen=True)
class Legend:
    """Names beside their colours; each with a figure, which may be empty."""

    kind: ClassVar[str] = "legend"
    entries: tuple[tuple[int | None, str, str], ...]
    title: str = ""


@dataclass(frozen=True)
class Tag:
    """A label of an example; ``wrong`` where it was missed or should not have been given."""

    name: str
    wrong: bool
    score: str = ""


@dataclass(frozen=True)
class ReportExample:
    """A text that a system got wrong; ``text`` is None where no texts were given."""

    kind: ClassVar[str] = "example"
    id: str
    truth: tuple[Tag, ...]
    given: tuple[Tag, ...]
    text: str | None = None


@dataclass(frozen=True)
class Grid:
    """Parts side by side: ``pair`` for a drawing and its legend, ``many`` for small multiples."""

    kind: ClassVar[str] = "grid"
    parts: tuple[Part, ...]
    style: str = "many"


@dataclass(frozen=True)
class Fold:
    """Parts behind a title that opens them."""

    kind: ClassVar[str] = "fold"
    title: str
    parts: tuple[Part, ...]
    open: bool = False
    series: int | None = None


Part = ReportTable | Note | Figure | Legend | ReportExample | Grid | Fold


@dataclass(frozen=True)
class Section:
    """A chapter of the report; ``id`` is its anchor, ``lead`` says what to look at."""

    id: str
    title: str
    lead: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Document:
    """A whole report: its title, the facts under it, sections, and what each measure means."""

    title: str
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    definitions: tuple[tuple[str, str], ...]
