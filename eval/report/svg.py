"""Small drawings in SVG, without a library: dots with intervals, and lines over two axes.

Colours come from the style sheet by class (``s1`` to ``s8``), so that light, dark and print need one drawing. All text
passes through ``Markup.format`` and is escaped there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

SERIES = 8


@dataclass(frozen=True)
class Dot:
    """One system of the dot plot: its main figure, a second one, and the bounds of the first."""

    name: str
    place: int | None
    main: float | None
    second: float | None
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """Points of one system, both coordinates from 0 to 1; ``sizes`` are areas of dots, where dots are drawn."""

    name: str
    place: int | None
    points: Sequence[tuple[float, float]]
    sizes: Sequence[float] = ()
    titles: Sequence[str] = ()


@dataclass(frozen=True)
class Frame:
    """Size and axes of a drawing of lines; ticks are pairs of place and words."""

    width: int
    height: int
    title: str
    x: str = ""
    y: str = ""
    x_ticks: Sequence[tuple[float, str]] = ((0, "0"), (0.5, ".5"), (1, "1"))
    y_ticks: Sequence[tuple[float, str]] = ((0, "0"), (0.5, ".5"), (1, "1"))
    diagonal: bool = False
    left: int = 34
    bottom: int = 24
    top: int = 10
    right: int = 12

    @property
    def above(self) -> int:
        """Room above the axes, for the name of the upright one."""
        return self.top + (16 if self.y else 0)

    def at(self, x: float, y: float) -> tuple[str, str]:
        """Where a point lies, in the drawing's units."""
        across = self.left + x * (self.width - self.left - self.right)
        down = self.above + (1 - y) * (self.height - self.above - self.bottom)
        return f"{across:.1f}".removesuffix(".0"), f"{down:.1f}".removesuffix(".0")


def series(place: int | None) -> str:
    """Class of a system's colour: grey for a trivial rule, none for None; the ninth takes the first colour again."""
    return "" if place is None else "grey" if place < 0 else f"s{place % SERIES + 1}"


def dots(rows: Sequence[Dot], ceiling: float | None) -> Markup:
    """One track a system, scaled so that the best of all fills it; widths are percentages and so fit any screen."""
    present = [value for row in rows for value in (row.main, row.second, *(row.bounds or ())) if value is not None]
    full = _nice(max([*present, ceiling or 0.0, 0.1]))
    tracks = [_track(row, full, ceiling) for row in rows]
    marks = Markup("").join(
        Markup('<text x="{}" y="12" class="tick {}">{}</text>').format(
            _percent(value, full), _anchor(value, full), _short(value)
        )
        for value in _steps(full)
    )
    above = Markup("")
    if ceiling:
        above = Markup(
            '<span></span><svg class="dot-axis" aria-hidden="true"><text x="{}" y="12" class="tick end">'
            "label ceiling {}</text></svg><span></span>"
        ).format(_percent(ceiling, full), _three(ceiling))
    axis = Markup('<span></span><svg class="dot-axis" aria-hidden="true">{}</svg><span></span>').format(marks)
    return Markup('<div class="dots">{}{}{}</div>').format(above, Markup("").join(tracks), axis)


def _track(row: Dot, full: float, ceiling: float | None) -> Markup:
    inside = [_rule(value, full, "grid") for value in _steps(full)]
    if ceiling:
        inside.append(_rule(ceiling, full, "ceiling-line"))
    if row.bounds:
        low, high = (_percent(value, full) for value in row.bounds)
        inside.append(Markup('<line x1="{}" x2="{}" y1="15" y2="15" class="interval"/>').format(low, high))
    if row.second is not None:
        inside.append(Markup('<circle cx="{}" cy="15" r="4.5" class="ring"/>').format(_percent(row.second, full)))
    if row.main is not None:
        inside.append(Markup('<circle cx="{}" cy="15" r="6" class="dot"/>').format(_percent(row.main, full)))
    said = "no figure" if row.main is None else f"micro-F1 {_three(row.main)}"
    said += "" if row.second is None else f", macro-F1 {_three(row.second)}"
    return Markup(
        '<span class="dot-name">{}</span><svg class="dot-track {}" role="img" aria-label="{}">{}</svg>'
        '<span class="dot-value">{}</span>'
    ).format(
        row.name,
        series(row.place),
        f"{row.name}: {said}",
        Markup("").join(inside),
        "–" if row.main is None else _three(row.main),
    )


def lines(frame: Frame, drawn: Sequence[Line]) -> Markup:
    """Lines over two axes from 0 to 1, with dots where a line has sizes."""
    parts = [_axes(frame)]
    for line in drawn:
        points = [frame.at(x, y) for x, y in line.points]
        path = " ".join(f"{x},{y}" for x, y in points)
        circles = Markup("").join(
            Markup('<circle cx="{}" cy="{}" r="{}" class="dot">{}</circle>').format(
                *point, f"{size:.1f}", Markup("<title>{}</title>").format(title) if title else ""
            )
            for point, size, title in zip(points, line.sizes, line.titles or [""] * len(points), strict=False)
        )
        parts.append(
            Markup('<g class="line {}" data-series="{}"><title>{}</title><polyline points="{}"/>{}</g>').format(
                series(line.place), line.place, line.name, path, circles
            )
        )
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        frame.width, frame.height, frame.title, Markup("").join(parts)
    )


def _axes(frame: Frame) -> Markup:
    parts = []
    for x, words in frame.x_ticks:
        (across, down), (_, up) = frame.at(x, 0), frame.at(x, 1)
        parts.append(Markup('<line x1="{0}" x2="{0}" y1="{1}" y2="{2}" class="grid"/>').format(across, up, down))
        place = float(down) + 14
        parts.append(Markup('<text x="{}" y="{}" class="tick middle">{}</text>').format(across, place, words))
    for y, words in frame.y_ticks:
        (left, down), (right, _) = frame.at(0, y), frame.at(1, y)
        parts.append(Markup('<line x1="{0}" x2="{1}" y1="{2}" y2="{2}" class="grid"/>').format(left, right, down))
        parts.append(
            Markup('<text x="{}" y="{}" class="tick end">{}</text>').format(
                frame.left - 6, f"{float(down) + 3.5:.1f}", words
            )
        )
    if frame.diagonal:
        (x1, y1), (x2, y2) = frame.at(0, 0), frame.at(1, 1)
        parts.append(Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="diagonal"/>').format(x1, y1, x2, y2))
    if frame.x:
        across, _ = frame.at(0.5, 0)
        parts.append(
            Markup('<text x="{}" y="{}" class="axis middle">{}</text>').format(across, frame.height - 3, frame.x)
        )
    if frame.y:
        parts.append(Markup('<text x="0" y="10" class="axis">{}</text>').format(frame.y))
    return Markup("").join(parts)


def _rule(value: float, full: float, kind: str) -> Markup:
    return Markup('<line x1="{0}" x2="{0}" y1="0" y2="30" class="{1}"/>').format(_percent(value, full), kind)


def _percent(value: float, full: float) -> str:
    """A place on a track, with room for half a dot at both ends."""
    return f"{1.5 + 97 * value / full:.2f}%"


def _anchor(value: float, full: float) -> str:
    return "start" if value == 0 else "end" if value == full else "middle"


def _nice(value: float) -> float:
    """The next tenth above, at most 1."""
    return min(1.0, -(-round(value * 100) // 10) / 10)


def _steps(full: float) -> list[float]:
    step = 0.1 if full <= 0.5 else 0.2
    return [round(step * place, 1) for place in range(round(full / step) + 1) if step * place <= full + 1e-9]


def _short(value: float) -> str:
    return "0" if value == 0 else "1" if value == 1 else f"{value:.1f}".removeprefix("0")


def _three(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")
