"""Drawings of a data card: SVG that takes its colours from the page's variables, so that light and dark both suit."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from eval.card.facts import Kept, Lengths

WIDTH = 720
_ROW = 22
_BASELINE = 4  # from the middle of a line of text to its baseline


def bars(rows: Sequence[tuple[str, int]], total: int) -> Markup:
    """A bar for every name; behind it its count, and its share of the total."""
    left, room = 130, WIDTH - 130 - 120
    most = max((count for _, count in rows), default=0) or 1
    drawn = []
    for place, (name, count) in enumerate(rows):
        middle, width = place * _ROW + _ROW / 2, room * count / most
        drawn += [
            _text(left - 8, middle + _BASELINE, name, "end"),
            _bar(left, middle - 8, width, 16, f"{name}: {count:,}"),
            _text(left + width + 6, middle + _BASELINE, f"{count:,} · {count / max(total, 1):.1%}", "start", "dim"),
        ]
    return _drawing(drawn, len(rows) * _ROW, "Examples of each label")


def pairs(rows: Sequence[tuple[str, float, float]], words: str, title: str) -> Markup:
    """Two bars for every name, before above after; ``words`` is a format for both figures."""
    left, room, tall = 130, WIDTH - 130 - 150, 30
    most = max((max(before, after) for _, before, after in rows), default=0) or 1
    drawn = []
    for place, (name, before, after) in enumerate(rows):
        top = place * tall
        told = f"{words.format(before)} → {words.format(after)}"
        drawn += [
            _text(left - 8, top + 12 + _BASELINE, name, "end"),
            _bar(left, top + 2, room * before / most, 10, f"{name}, before: {words.format(before)}", "bar before"),
            _bar(left, top + 13, room * after / most, 10, f"{name}, after: {words.format(after)}"),
            _text(left + room * max(before, after) / most + 6, top + 12 + _BASELINE, told, "start", "dim"),
        ]
    return _drawing(drawn, len(rows) * tall, title)


def histogram(lengths: Lengths) -> Markup:
    """Texts by length; the last bar holds everything longer."""
    foot, step, most = 150, WIDTH / len(lengths.counts), max(lengths.counts) or 1
    drawn = [_line(0, foot, WIDTH, foot)]
    for place, count in enumerate(lengths.counts):
        tall = (foot - 10) * count / most
        said = f"{lengths.edges[place]} to {lengths.edges[place + 1]} {lengths.unit}: {count:,} texts"
        drawn.append(_bar(place * step + 1, foot - tall, step - 2, tall, said))
    last = len(lengths.edges) - 1
    for place in range(0, last + 1, 4):
        anchor = {0: "start", last: "end"}.get(place, "middle")
        words = f"{lengths.edges[place]}{' and more' if place == last else ''}"
        drawn.append(_text(place * step, foot + 18, words, anchor, "dim"))
    return _drawing(drawn, foot + 24, f"Texts by length in {lengths.unit}")


def heat_map(names: Sequence[str], together: NDArray[np.int_]) -> Markup:
    """Of the examples with a row's label, the percentage that has the column's too."""
    left, top = 110, 84
    size = min(30.0, (WIDTH - left - 60) / max(1, len(names)))
    drawn = []
    for place, name in enumerate(names):
        middle = (place + 0.5) * size
        drawn.append(_text(left - 6, top + middle + _BASELINE, name, "end", "small"))
        drawn.append(_slanted(left + middle + 3, top - 6, name))
    for row, column in np.ndindex(together.shape):
        both, count = int(together[row, column]), int(together[row, row])
        said = f"{both:,} of {count:,} {names[row]} are {names[column]} too"
        x, y = left + column * size, top + row * size
        drawn.append(_hole(x, y, size) if row == column else _cell(x, y, size, both / max(count, 1), said))
    return _drawing(drawn, top + len(names) * size + 4, "Labels that stand together")


def curve(points: Sequence[Kept]) -> Markup:
    """Share of the examples that keep a label, against the minimum label frequency on a logarithmic scale."""
    left, right, top, foot = 44, WIDTH - 24, 10, 190
    least, most = points[0].minimum, max(points[-1].minimum, points[0].minimum + 1)

    def across(minimum: float) -> float:
        return left + (right - left) * log10(minimum / least) / log10(most / least)

    def down(share: float) -> float:
        return foot - (foot - top) * share

    drawn = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        drawn.append(_line(left, down(share), right, down(share)))
        drawn.append(_text(left - 6, down(share) + _BASELINE, f"{share:.0%}", "end", "dim"))
    drawn += [_text(across(tick), foot + 18, f"{tick:,}", "middle", "dim") for tick in _ticks(least, most)]
    path = " ".join(f"{across(point.minimum):.1f},{down(point.share):.1f}" for point in points)
    drawn.append(Markup('<polyline class="line" points="{}"/>').format(path))
    drawn += [_dot(across(point.minimum), down(point.share), _kept(point)) for point in points]
    return _drawing(drawn, foot + 24, "Examples kept against the minimum label frequency")


def _kept(point: Kept) -> str:
    return f"at least {point.minimum:,} examples a label: {point.labels} labels, {point.share:.1%} of the examples"


def _ticks(least: int, most: int) -> list[int]:
    """Round numbers from the least to the most: 1, 2 and 5 times the powers of ten."""
    powers = (10**power for power in range(int(log10(most)) + 1))
    return [tick for power in powers for tick in (power, 2 * power, 5 * power) if least <= tick <= most]


def _drawing(parts: Sequence[Markup], height: float, title: str) -> Markup:
    head = Markup('<svg viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">').format(WIDTH, height, title)
    return head + Markup("\n").join(parts) + Markup("</svg>")


def _text(x: float, y: float, words: str, anchor: str, style: str = "") -> Markup:
    shape = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>')
    return shape.format(x, y, anchor, style, words)


def _slanted(x: float, y: float, words: str) -> Markup:
    shape = Markup('<text class="small" transform="translate({:.1f} {:.1f}) rotate(-50)">{}</text>')
    return shape.format(x, y, words)


def _line(x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="grid" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(x1, y1, x2, y2)


def _bar(x: float, y: float, width: float, height: float, said: str, style: str = "bar") -> Markup:
    shape = Markup(
        '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="1.5"><title>{}</title></rect>'
    )
    return shape.format(style, x, y, width, height, said)


def _hole(x: float, y: float, size: float) -> Markup:
    return Markup('<rect class="hole" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        x + 0.5, y + 0.5, size - 1, size - 1
    )


def _cell(x: float, y: float, size: float, share: float, said: str) -> Markup:
    square = Markup(
        '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill-opacity="{:.3f}">'
        "<title>{}</title></rect>"
    ).format(x + 0.5, y + 0.5, size - 1, size - 1, 0.04 + 0.96 * share, said)
    if share < 0.005:
        return square
    style = "cell strong" if share > 0.65 else "cell"
    return square + _text(x + size / 2, y + size / 2 + 3, f"{100 * share:.0f}", "middle", style)


def _dot(x: float, y: float, said: str) -> Markup:
    return Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="3.5"><title>{}</title></circle>').format(x, y, said)
