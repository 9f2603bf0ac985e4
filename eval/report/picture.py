"""A drawing of a card or a report as a picture that stands by itself, as notebooks and images show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from eval.report.charts import series

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
    """An SVG image with its own style; Jupyter shows it where it is a cell's last value or is displayed."""

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg


def picture(drawing: Markup, width: int = 720) -> Picture:
    """A drawing that takes its colours from a page, given colours of its own.

    Args:
        drawing: an ``svg`` element with a ``viewBox``, as ``eval.report.charts`` makes them.
        width: pixels at which it is shown.
    """
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="marquee" width="{width}" '
    opened, _, rest = str(drawing).removeprefix("<svg ").partition(">")
    return Picture(f"{head}{opened}><style>{_STYLE}{_SERIES}</style>{rest}")


def legend(entries: Sequence[tuple[int | None, str, str]]) -> Picture:
    """Names of systems beside their colours, each with a figure, which may be empty."""
    rows = [
        Markup(
            '<rect class="key {}" x="2" y="{}" width="12" height="12" rx="2"/><text x="22" y="{}">{} {}</text>'
        ).format(series(place), number * _ROW + 3, number * _ROW + 13, name, figure)
        for number, (place, name, figure) in enumerate(entries)
    ]
    head = Markup('<svg viewBox="0 0 480 {}" role="img" aria-label="Legend">').format(len(rows) * _ROW + 4)
    return picture(head + Markup("").join(rows) + Markup("</svg>"), 480)
