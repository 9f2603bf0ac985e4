"""Sections of a report in notebooks: text and tables as Markdown, drawings as SVG images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from eval.report.charts import series_class
from eval.report.document import Figure, Fold, Grid, Legend, Part, Section
from eval.report.page import part_as_markdown

_COLOURS = ("#0b6aa8", "#c8501a", "#0a8a68", "#a34a86", "#b98200", "#3f9bd1", "#6b5bbd", "#7a8a1f")
_STYLE = """
.marquee { background: #fff; font: 12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; max-width: 100%; }
.marquee text { fill: #1c2430; } .marquee .dim, .marquee .tick, .marquee .axis { fill: #5f6b7a; }
.marquee .small, .marquee .tick, .marquee .axis { font-size: 11px; } .marquee .cell { font-size: 9.5px; }
.marquee .bar { fill: #2f6db5; } .marquee .hole { fill: #dde2e8; } .marquee .strong { fill: #fff; }
.marquee .grid, .marquee .diagonal { stroke: #dde2e8; stroke-width: 1; } .marquee .diagonal { stroke-dasharray: 4 3; }
.marquee .middle { text-anchor: middle; } .marquee .end { text-anchor: end; }
.marquee polyline { fill: none; stroke: var(--c, #2f6db5); stroke-width: 2; stroke-dasharray: var(--dash); }
.marquee .dot, .marquee .key { fill: var(--c, #2f6db5); }
.marquee .grey { --c: #8b939d; --dash: 2 3; }
"""
_SERIES = " ".join(f".marquee .s{place} {{ --c: {colour}; }}" for place, colour in enumerate(_COLOURS, 1))
_ROW = 18


@dataclass(frozen=True)
class Picture:
    """An SVG image with its own style, which Jupyter displays."""

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg


@dataclass(frozen=True)
class MarkdownText:
    """Markdown that Jupyter renders."""

    markdown: str

    def _repr_markdown_(self) -> str:
        return self.markdown


def picture(drawing: Markup, width: int = 720) -> Picture:
    """A chart with its own colours, for pages without the report's style sheet.

    Args:
        drawing: an ``svg`` element with a ``viewBox``, as ``eval.report.charts`` makes them.
        width: in pixels.
    """
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="marquee" width="{width}" '
    attributes, _, rest = str(drawing).removeprefix("<svg ").partition(">")
    return Picture(f"{head}{attributes}><style>{_STYLE}{_SERIES}</style>{rest}")


def legend(entries: Sequence[tuple[int | None, str, str]]) -> Picture:
    """Names of systems beside their colours, each with a value that may be empty; see ``Legend``."""
    rows = [
        Markup(
            '<rect class="key {}" x="2" y="{}" width="12" height="12" rx="2"/><text x="22" y="{}">{} {}</text>'
        ).format(series_class(series), number * _ROW + 3, number * _ROW + 13, name, value)
        for number, (series, name, value) in enumerate(entries)
    ]
    head = Markup('<svg viewBox="0 0 480 {}" role="img" aria-label="Legend">').format(len(rows) * _ROW + 4)
    return picture(head + Markup("").join(rows) + Markup("</svg>"), 480)


def cells(section: Section, width: int = 460) -> Iterator[MarkdownText | Picture]:
    """The content of a section, for ``IPython.display.display(*cells(...))``.

    Closed folds are left out, and so are drawings that are not a single image; a table has their numbers.

    Args:
        section: as the functions of ``eval.report`` make them.
        width: of each picture, in pixels.
    """
    yield MarkdownText(f"**{section.title}.** {section.lead}")
    for part in section.parts:
        yield from _cells(part, width)


def _cells(part: Part, width: int) -> Iterator[MarkdownText | Picture]:
    if isinstance(part, Grid):
        for inner in part.parts:
            yield from _cells(inner, width)
    elif isinstance(part, Fold):
        if part.open:
            yield MarkdownText(f"*{part.title}*")
            yield from _cells(Grid(part.parts), width)
    elif isinstance(part, Legend):
        yield legend(part.entries)
    elif isinstance(part, Figure):
        if part.drawing.startswith("<svg "):
            yield picture(part.drawing, width)
            yield from [MarkdownText(f"*{part.caption}*")] if part.caption else []
    else:
        yield MarkdownText(part_as_markdown(part))
