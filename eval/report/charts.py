"""Charts of reports and data cards, as SVG.

Colours come from the style sheet by class (``s1`` to ``s8``, ``bar``, ``grid``, …), so one drawing serves light mode,
dark mode and print. ``Markup`` escapes all text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

SERIES = 8
WIDTH = 720  # of the charts of a data card
_BASELINE = 4  # from the middle of a line of text to its baseline
_LEFT, _RIGHT = 130, 120  # margins of bar charts, for names and values


@dataclass(frozen=True)
class Dot:
    """One system of the dot plot: its micro-F1 with bounds, and its macro-F1."""

    name: str
    series: int | None
    main: float | None
    second: float | None
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """Points of one system, both coordinates from 0 to 1; ``sizes`` are radii of dots, ``titles`` their tooltips."""

    name: str
    series: int | None
    points: Sequence[tuple[float, float]]
    sizes: Sequence[float] = ()
    titles: Sequence[str] = ()


@dataclass(frozen=True)
class Frame:
    """Size and axes of a line chart; ticks are pairs of position (0 to 1) and text."""

    width: int
    height: int
    title: str
    x: str = ""
    y: str = ""
    x_ticks: Sequence[tuple[float, str]] = ((0, "0"), (0.5, "0.5"), (1, "1"))
    y_ticks: Sequence[tuple[float, str]] = ((0, "0"), (0.5, "0.5"), (1, "1"))
    diagonal: bool = False
    left: int = 34
    bottom: int = 24
    top: int = 10
    right: int = 12

    @property
    def above(self) -> int:
        """Space above the axes, for the title of the y axis."""
        return self.top + (16 if self.y else 0)

    def at(self, x: float, y: float) -> tuple[str, str]:
        """Position of a point in the drawing's units."""
        across = self.left + x * (self.width - self.left - self.right)
        down = self.above + (1 - y) * (self.height - self.above - self.bottom)
        return _number(across), _number(down)


def series_class(series: int | None) -> str:
    """Class of a system's colour: grey for a negative number, none for None; the ninth repeats the first colour."""
    return "" if series is None else "grey" if series < 0 else f"s{series % SERIES + 1}"


def dots(rows: Sequence[Dot], ceiling: float | None) -> Markup:
    """One track per system, scaled to the best value; widths are percentages, so they fit any screen."""
    present = [value for row in rows for value in (row.main, row.second, *(row.bounds or ())) if value is not None]
    full = _nice(max([*present, ceiling or 0.0, 0.1]))
    tracks = [_track(row, full, ceiling) for row in rows]
    marks = [_text(_percent(value, full), 12, f"{value:g}", "tick", _anchor(value, full)) for value in _steps(full)]
    limit = [_text(_percent(ceiling, full), 12, f"label ceiling {ceiling:.3f}", "tick", "end")] if ceiling else []
    parts = [_dot_axis(limit) if limit else "", *tracks, _dot_axis(marks)]
    return Markup('<div class="dots">{}</div>').format(Markup("").join(parts))


def _dot_axis(marks: Sequence[Markup]) -> Markup:
    axis = _element("svg", *marks, class_="dot-axis", aria_hidden="true")
    return Markup("<span></span>{}<span></span>").format(axis)


def _track(row: Dot, full: float, ceiling: float | None) -> Markup:
    inside = [_rule(value, full, "grid") for value in _steps(full)]
    if ceiling:
        inside.append(_rule(ceiling, full, "ceiling-line"))
    if row.bounds:
        low, high = (_percent(value, full) for value in row.bounds)
        inside.append(_line(low, 15, high, 15, "interval"))
    if row.second is not None:
        inside.append(_element("circle", cx=_percent(row.second, full), cy=15, r=4.5, class_="ring"))
    if row.main is not None:
        inside.append(_element("circle", cx=_percent(row.main, full), cy=15, r=6, class_="dot"))
    main = "no micro-F1" if row.main is None else f"micro-F1 {row.main:.3f}"
    second = "" if row.second is None else f", macro-F1 {row.second:.3f}"
    style, label = f"dot-track {series_class(row.series)}", f"{row.name}: {main}{second}"
    track = _element("svg", *inside, class_=style, role="img", aria_label=label)
    value = "–" if row.main is None else f"{row.main:.3f}"
    return Markup('<span class="dot-name">{}</span>{}<span class="dot-value">{}</span>').format(row.name, track, value)


def lines(frame: Frame, drawn: Sequence[Line]) -> Markup:
    """Lines over two axes from 0 to 1, with dots where a line has sizes."""
    return _drawing([*_axes(frame), *(_curve(frame, line) for line in drawn)], frame.height, frame.title, frame.width)


def _curve(frame: Frame, line: Line) -> Markup:
    points = [frame.at(x, y) for x, y in line.points]
    path = _element("polyline", points=" ".join(f"{x},{y}" for x, y in points))
    circles = [
        _element("circle", *_tooltip(title), cx=x, cy=y, r=f"{size:.1f}", class_="dot")
        for (x, y), size, title in zip(points, line.sizes, line.titles or [""] * len(points), strict=False)
    ]
    inside = (*_tooltip(line.name), path, *circles)
    return _element("g", *inside, class_=f"line {series_class(line.series)}", data_series=line.series)


def _axes(frame: Frame) -> list[Markup]:
    parts = []
    for x, tick in frame.x_ticks:
        (across, down), (_, up) = frame.at(x, 0), frame.at(x, 1)
        parts += [_line(across, down, across, up), _text(across, float(down) + 14, tick, "tick", "middle")]
    for y, tick in frame.y_ticks:
        (left, down), (right, _) = frame.at(0, y), frame.at(1, y)
        parts += [_line(left, down, right, down), _text(frame.left - 6, float(down) + 3.5, tick, "tick", "end")]
    if frame.diagonal:
        parts.append(_line(*frame.at(0, 0), *frame.at(1, 1), "diagonal"))
    if frame.x:
        parts.append(_text(frame.at(0.5, 0)[0], frame.height - 3, frame.x, "axis", "middle"))
    if frame.y:
        parts.append(_text(0, 10, frame.y, "axis"))
    return parts


def bars(rows: Sequence[tuple[str, int]], total: int, title: str) -> Markup:
    """A bar for every name, with its count and its share of the total."""
    tall, longest = 22, WIDTH - _LEFT - _RIGHT
    most = max((count for _, count in rows), default=0) or 1
    drawn = []
    for place, (name, count) in enumerate(rows):
        middle, width = place * tall + tall / 2, longest * count / most
        value = f"{count:,} · {count / max(total, 1):.1%}"
        drawn += [
            _text(_LEFT - 8, middle + _BASELINE, name, "name", "end"),
            _bar(_LEFT, middle - 8, width, 16, f"{name}: {count:,}"),
            _text(_LEFT + width + 6, middle + _BASELINE, value, "dim"),
        ]
    return _drawing(drawn, len(rows) * tall, title)


def paired_bars(rows: Sequence[tuple[str, float, float]], pattern: str, title: str) -> Markup:
    """Two bars for every name, before above after; ``pattern`` formats both numbers."""
    tall, longest = 30, WIDTH - _LEFT - _RIGHT - 30
    most = max((max(before, after) for _, before, after in rows), default=0) or 1
    drawn = []
    for place, (name, before, after) in enumerate(rows):
        top, middle = place * tall, place * tall + 12 + _BASELINE
        was, now = pattern.format(before), pattern.format(after)
        drawn += [
            _text(_LEFT - 8, middle, name, "name", "end"),
            _bar(_LEFT, top + 2, longest * before / most, 10, f"{name}, before: {was}", "bar before"),
            _bar(_LEFT, top + 13, longest * after / most, 10, f"{name}, after: {now}"),
            _text(_LEFT + longest * max(before, after) / most + 6, middle, f"{was} → {now}", "dim"),
        ]
    return _drawing(drawn, len(rows) * tall, title)


def histogram(edges: Sequence[int], counts: Sequence[int], unit: str) -> Markup:
    """Texts by length, one bar per bin; the last bar includes all longer texts."""
    foot, step, most = 150, WIDTH / len(counts), max(counts) or 1
    drawn = [_line(0, foot, WIDTH, foot)]
    for place, count in enumerate(counts):
        tall = (foot - 10) * count / most
        tooltip = f"{edges[place]} to {edges[place + 1]} {unit}: {count:,} texts"
        drawn.append(_bar(place * step + 1, foot - tall, step - 2, tall, tooltip))
    last = len(edges) - 1
    for place in range(0, last + 1, 4):
        tick = f"{edges[place]}{' and more' if place == last else ''}"
        drawn.append(_text(place * step, foot + 18, tick, "dim", {0: "start", last: "end"}.get(place, "middle")))
    return _drawing(drawn, foot + 24, f"Texts by length in {unit}")


def heat_map(names: Sequence[str], together: NDArray[np.int_], title: str) -> Markup:
    """Co-occurrence: the percentage of the examples with the row's label that also have the column's."""
    left, top = 110, 84
    size = min(30.0, (WIDTH - left - 60) / max(1, len(names)))
    drawn = []
    for place, name in enumerate(names):
        middle = (place + 0.5) * size
        drawn.append(_text(left - 6, top + middle + _BASELINE, name, "small", "end"))
        rotated = f"translate({left + middle + 3:.1f} {top - 6:.1f}) rotate(-50)"
        drawn.append(_element("text", name, class_="small", transform=rotated))
    for row, column in np.ndindex(together.shape):
        both, count = int(together[row, column]), int(together[row, row])
        tooltip = f"{both:,} of {count:,} {names[row]} are also {names[column]}"
        share = None if row == column else both / max(count, 1)
        drawn += _cell(left + column * size, top + row * size, size, share, tooltip)
    return _drawing(drawn, top + len(names) * size + 4, title)


def _cell(x: float, y: float, size: float, share: float | None, tooltip: str) -> list[Markup]:
    square = {"x": x + 0.5, "y": y + 0.5, "width": size - 1, "height": size - 1}
    if share is None:
        return [_element("rect", class_="hole", **square)]
    drawn = [_element("rect", *_tooltip(tooltip), class_="bar", fill_opacity=f"{0.04 + 0.96 * share:.3f}", **square)]
    if share >= 0.005:
        style = "cell strong" if share > 0.65 else "cell"
        drawn.append(_text(x + size / 2, y + size / 2 + 3, f"{100 * share:.0f}", style, "middle"))
    return drawn


def _drawing(parts: Sequence[Markup], height: float, title: str, width: float = WIDTH) -> Markup:
    return _element("svg", *parts, viewBox=f"0 0 {_number(width)} {height:.0f}", role="img", aria_label=title)


def _text(x: float | str, y: float | str, text: str, style: str, anchor: str = "start") -> Markup:
    return _element("text", text, x=x, y=y, class_=f"{style} {anchor}")


def _line(x1: float | str, y1: float | str, x2: float | str, y2: float | str, style: str = "grid") -> Markup:
    return _element("line", x1=x1, x2=x2, y1=y1, y2=y2, class_=style)


def _rule(value: float, full: float, style: str) -> Markup:
    place = _percent(value, full)
    return _line(place, 0, place, 30, style)


def _bar(x: float, y: float, width: float, height: float, tooltip: str, style: str = "bar") -> Markup:
    return _element("rect", *_tooltip(tooltip), class_=style, x=x, y=y, width=width, height=height, rx=1.5)


def _tooltip(text: str) -> list[Markup]:
    return [_element("title", text)] if text else []


def _element(tag: str, *inside: str, **attributes: object) -> Markup:
    """An SVG element; numbers are rounded to 0.1, ``class_`` becomes ``class`` and ``aria_label`` ``aria-label``."""
    rendered = Markup("").join(
        Markup(' {}="{}"').format(
            name.rstrip("_").replace("_", "-"), _number(value) if isinstance(value, int | float) else value
        )
        for name, value in attributes.items()
    )
    if not inside:
        return Markup("<{}{}/>").format(tag, rendered)
    return Markup("<{0}{1}>{2}</{0}>").format(tag, rendered, Markup("").join(inside))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _percent(value: float, full: float) -> str:
    """A position on a track, with space for half a dot at both ends."""
    return f"{1.5 + 97 * value / full:.2f}%"


def _anchor(value: float, full: float) -> str:
    return "start" if value == 0 else "end" if value == full else "middle"


def _nice(value: float) -> float:
    """The next tenth above, at most 1."""
    return min(1.0, -(-round(value * 100) // 10) / 10)


def _steps(full: float) -> list[float]:
    step = 0.1 if full <= 0.5 else 0.2
    return [round(step * place, 1) for place in range(round(full / step) + 1) if step * place <= full + 1e-9]
