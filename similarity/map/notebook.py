"""The map as one still image in SVG, for notebooks and documents."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from markupsafe import Markup

from similarity.map.points import Points

_COLOURS = ("#0b6aa8", "#c8501a", "#0a8a68", "#a34a86", "#b98200", "#3f9bd1", "#6b5bbd", "#7a8a1f")
_PLAIN = "#a9adb3"
_KEY = 110  # width of the names of the genres
_MARGIN = 14
_LETTER, _LINE = 6.2, 14  # size of a letter, roughly, and height of a line


def picture(points: Points, named: Collection[str] = (), width: int = 820, height: int = 520) -> str:
    """Every film a dot of its genre's colour, with its title as a tooltip.

    Args:
        points: the films.
        named: ids of films whose titles are written beside their dots, with larger dots.
        width: pixels, the names of the genres included.
        height: pixels.
    """
    head = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" role="img" '
        'aria-label="Map of films" style="background:#fff;max-width:100%" font-family="system-ui, DejaVu Sans" '
        'font-size="11">'
    ).format(width, height)
    dots = _dots(points, named, width - _KEY, height)
    ordered = sorted(dots, key=lambda dot: dot[0])  # names last, so that no dot hides them
    return str(head + Markup("").join(dot for _, dot in ordered) + _key(points, width - _KEY + 10) + Markup("</svg>"))


def _dots(points: Points, named: Collection[str], width: int, height: int) -> Iterator[tuple[bool, Markup]]:
    taken: list[_Box] = []
    for (x, y), film in zip(points.places, points.films, strict=True):
        across, down = _MARGIN + x * (width - 2 * _MARGIN), _MARGIN + (1 - y) * (height - 2 * _MARGIN)
        place, known = points.colour(film), film.id in named
        shape = Markup(
            '<circle cx="{:.1f}" cy="{:.1f}" r="{}" fill="{}" fill-opacity=".8" stroke="{}"><title>{}</title></circle>'
        )
        dot = shape.format(
            across, down, 6 if known else 4, _PLAIN if place is None else _COLOURS[place],
            "#1c2430" if known else "none", f"{film.title} ({film.year}): {', '.join(film.genres)}",
        )  # fmt: skip
        yield known, dot + _name(film.title, across, down, taken) if known else dot


def _name(title: str, across: float, down: float, taken: list[_Box]) -> Markup:
    """The title at a free position beside its dot: right, left, below or above."""
    length = _LETTER * len(title)
    places = [_Box(across + 9, down), _Box(across - 9 - length, down)]
    places += [_Box(across - length / 2, down + away) for away in (16, -16, 30, -30)]
    free = [place for place in places if not any(place.meets(length, other) for other in taken)]
    box = _Box((free or places)[0].left, (free or places)[0].down, length)
    taken.append(box)
    shape = Markup(
        '<text x="{:.1f}" y="{:.1f}" fill="#1c2430" stroke="#fff" stroke-width="3" paint-order="stroke">{}</text>'
    )
    return shape.format(box.left, box.down + 4, title)


class _Box(NamedTuple):
    """Box of a title: left end, middle of the line, length."""

    left: float
    down: float
    length: float = 0.0

    def meets(self, length: float, other: _Box) -> bool:
        beside = self.left + length < other.left or other.left + other.length < self.left
        return not beside and abs(self.down - other.down) < _LINE


def _key(points: Points, left: int) -> Markup:
    names = [*points.genres[: points.coloured], "other"]
    rows = [
        Markup('<circle cx="{}" cy="{}" r="5" fill="{}"/><text x="{}" y="{}" fill="#1c2430">{}</text>').format(
            left, 20 + 18 * row, (*_COLOURS[: points.coloured], _PLAIN)[row], left + 11, 24 + 18 * row, name
        )
        for row, name in enumerate(names)
    ]
    return Markup("").join(rows)
