"""The map as one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from similarity.map.points import Points

HERE = Path(__file__).parent
_STEPS = 9_999  # of an axis
_MASKED = 50  # maximum number of genres in a film's bit mask


def page(points: Points, name: str) -> str:
    """The HTML of a map; its policy allows its own style and scripts by their digests, and nothing else.

    Args:
        points: the films.
        name: of the catalogue, for the heading.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, script = ((HERE / file).read_text(encoding="utf-8") for file in ("map.css", "map.js"))
    return environment.get_template("map.html.jinja").render(
        name=name,
        points=points,
        style=Markup(style),
        script=Markup(script),
        data=Markup(_data(points)),
        style_digest=_digest(style),
        script_digest=_digest(script),
    )


def _data(points: Points) -> str:
    """The points as JSON that is safe inside a script element."""
    genres = list(points.genres[:_MASKED])
    place = {genre: number for number, genre in enumerate(genres)}
    steps = (points.places * _STEPS).round().astype(int)
    data: dict[str, Any] = {
        "steps": _STEPS,
        "x": steps[:, 0].tolist(),
        "y": steps[:, 1].tolist(),
        "title": [film.title or film.id for film in points.films],
        "year": [film.year for film in points.films],
        "mask": [sum(1 << place[genre] for genre in {*film.genres} if genre in place) for film in points.films],
        "colour": [points.colour(film) for film in points.films],
        "genres": genres,
        "coloured": points.coloured,
    }
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
