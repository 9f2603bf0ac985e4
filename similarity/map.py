"""A catalogue in two dimensions (PCA or UMAP), as one self-contained HTML page or as a still image in SVG."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from similarity.errors import InvalidIndex
from similarity.index.catalog import Film
from similarity.index.reloading import LoadedIndex

Plane = NDArray[np.float64]

_METHODS = ("auto", "pca", "umap")
_COLOURS = ("#0b6aa8", "#c8501a", "#0a8a68", "#a34a86", "#b98200", "#3f9bd1", "#6b5bbd", "#7a8a1f")
_PLAIN = "#a9adb3"

# --- points ---


@dataclass(frozen=True)
class Points:
    """Films in the plane.

    Attributes:
        places: shape (films, 2), each axis from 0 to 1.
        films: one per point.
        genres: all of them: first those with a colour, then the others, commonest first in either.
        coloured: how many of them have a colour.
        method: ``pca`` or ``umap``.
        of: number of films of the catalogue; more than the points if they are a sample.
    """

    places: Plane
    films: Sequence[Film]
    genres: Sequence[str]
    coloured: int
    method: str
    of: int

    def colour(self, film: Film) -> int | None:
        """Number of a film's colour: that of its rarest genre which has one, since most films are dramas too."""
        own = [place for place, genre in enumerate(self.genres[: self.coloured]) if genre in film.genres]
        return max(own, default=None)


def points(index: LoadedIndex, most: int, method: str = "auto") -> Points:
    """The films of an index, or ``most`` of them, sampled at random.

    The methods are ``pca``, ``umap`` (McInnes et al. 2018, arXiv 1802.03426), and ``auto``: UMAP where it is installed.

    Raises:
        InvalidIndex: UMAP is requested but not installed, or there are fewer than three films.
    """
    count = len(index.vectors)
    if count < 3:
        raise InvalidIndex("a map needs three films at least")
    name = _method(method)
    rows = np.sort(np.random.default_rng(0).choice(count, min(most, count), replace=False))
    vectors = np.asarray(index.vectors.vectors[rows], np.float32)
    places = _in_unit_square(_umap(vectors) if name == "umap" else principal(vectors))
    films = [entry.film for entry in index.films.entries(rows.tolist())]
    counted = Counter(genre for film in films for genre in film.genres)
    apart = sorted(counted, key=lambda genre: -_apart(places, films, genre))[: len(_COLOURS)]
    genres = sorted(counted, key=lambda genre: (genre not in apart, -counted[genre], genre))
    return Points(places, films, genres, len(apart), name, count)


def _apart(places: Plane, films: Sequence[Film], genre: str) -> float:
    """Separation of a genre: squared distance of its centre from the overall centre, times its size."""
    own = np.array([genre in film.genres for film in films])
    return float(own.sum() * np.square(places[own].mean(axis=0) - places.mean(axis=0)).sum())


def principal(vectors: NDArray[np.float32]) -> Plane:
    """The two directions in which vectors differ most (PCA), shape (vectors, 2); signs are fixed."""
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    return np.asarray(centred @ axes, np.float64)


def _method(name: str) -> str:
    if name not in _METHODS:
        raise InvalidIndex(f"there is no method {name!r}; methods: {', '.join(_METHODS)}")
    if name == "umap" and not find_spec("umap"):
        raise InvalidIndex("UMAP is not installed; pip install umap-learn, or take --method pca")
    return ("umap" if find_spec("umap") else "pca") if name == "auto" else name


def _umap(vectors: NDArray[np.float32]) -> Plane:
    import umap

    return np.asarray(umap.UMAP(metric="cosine", random_state=0).fit_transform(vectors), np.float64)


def _in_unit_square(places: Plane) -> Plane:
    """Scale each axis to 0…1; outliers beyond the outer ten-thousandth are clipped."""
    low, high = np.quantile(places, (0.0001, 0.9999), axis=0)
    return np.asarray(np.clip((places - low) / np.where(high > low, high - low, 1), 0, 1))


# --- page ---

_FOLDER = Path(__file__).parent / "map_page"
_STEPS = 9_999  # of an axis
_MASKED = 50  # maximum number of genres in a film's bit mask


def page(points: Points, name: str) -> str:
    """The HTML of a map, under the name of its catalogue.

    Its policy allows its own style and scripts by their digests, and nothing else.
    """
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    style, script = ((_FOLDER / file).read_text(encoding="utf-8") for file in ("map.css", "map.js"))
    return environment.get_template("map.html.jinja").render(
        name=name, points=points, style=Markup(style), script=Markup(script), data=Markup(_data(points)),
        style_digest=_policy_digest(style), script_digest=_policy_digest(script),
    )  # fmt: skip


def _data(points: Points) -> str:
    """The points as JSON that is safe inside a script element."""
    genres = list(points.genres[:_MASKED])
    steps = (points.places * _STEPS).round().astype(int)
    data: dict[str, Any] = {
        "steps": _STEPS,
        "x": steps[:, 0].tolist(),
        "y": steps[:, 1].tolist(),
        "title": [film.title or film.id for film in points.films],
        "year": [film.year for film in points.films],
        "mask": [sum(1 << n for n, genre in enumerate(genres) if genre in film.genres) for film in points.films],
        "colour": [points.colour(film) for film in points.films],
        "genres": genres,
        "coloured": points.coloured,
    }
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _policy_digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


# --- still image ---

_KEY = 110  # width of the names of the genres
_MARGIN = 14
_LETTER, _LINE = 6.2, 14  # width of a letter, roughly, and height of a line


def picture(points: Points, named: Collection[str] = (), width: int = 820, height: int = 520) -> str:
    """Every film as a dot in its genre's colour, with its title as a tooltip; SVG for notebooks and documents.

    The dots of the films ``named`` (ids) are larger, with their titles beside them. Width and height are in pixels.
    """
    head = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" role="img" '
        'aria-label="Map of films" style="background:#fff;max-width:100%" font-family="system-ui, DejaVu Sans" '
        'font-size="11">'
    ).format(width, height)
    ordered = sorted(_dots(points, named, width - _KEY, height), key=lambda dot: dot[0])  # no dot hides a name
    return str(head + Markup("").join(dot for _, dot in ordered) + _key(points, width - _KEY + 10) + Markup("</svg>"))


def _dots(points: Points, named: Collection[str], width: int, height: int) -> Iterator[tuple[bool, Markup]]:
    """Whether a film is named, and its dot."""
    taken: list[_Box] = []
    shape = Markup(
        '<circle cx="{:.1f}" cy="{:.1f}" r="{}" fill="{}" fill-opacity=".8" stroke="{}"><title>{}</title></circle>'
    )
    for (x, y), film in zip(points.places, points.films, strict=True):
        across, down = _MARGIN + x * (width - 2 * _MARGIN), _MARGIN + (1 - y) * (height - 2 * _MARGIN)
        place = points.colour(film)
        fill, tip = (
            _PLAIN if place is None else _COLOURS[place],
            f"{film.title} ({film.year}): {', '.join(film.genres)}",
        )
        if film.id in named:
            dot = shape.format(across, down, 6, fill, "#1c2430", tip)
            yield True, dot + _name(film.title, across, down, taken)
        else:
            yield False, shape.format(across, down, 4, fill, "none", tip)


def _name(title: str, across: float, down: float, taken: list[_Box]) -> Markup:
    """The title at a free position beside its dot: right, left, below or above."""
    length = _LETTER * len(title)
    boxes = [_Box(across + 9, down, length), _Box(across - 9 - length, down, length)]
    boxes += [_Box(across - length / 2, down + away, length) for away in (16, -16, 30, -30)]
    box = next((box for box in boxes if not any(map(box.meets, taken))), boxes[0])
    taken.append(box)
    shape = Markup(
        '<text x="{:.1f}" y="{:.1f}" fill="#1c2430" stroke="#fff" stroke-width="3" paint-order="stroke">{}</text>'
    )
    return shape.format(box.left, box.down + 4, title)


class _Box(NamedTuple):
    """Box of a title: left end, middle of the line, length."""

    left: float
    down: float
    length: float

    def meets(self, other: _Box) -> bool:
        beside = self.left + self.length < other.left or other.left + other.length < self.left
        return not beside and abs(self.down - other.down) < _LINE


def _key(points: Points, left: int) -> Markup:
    names = zip([*points.genres[: points.coloured], "other"], [*_COLOURS[: points.coloured], _PLAIN], strict=True)
    shape = Markup('<circle cx="{}" cy="{}" r="5" fill="{}"/><text x="{}" y="{}" fill="#1c2430">{}</text>')
    return Markup("").join(
        shape.format(left, 20 + 18 * row, colour, left + 11, 24 + 18 * row, name)
        for row, (name, colour) in enumerate(names)
    )
