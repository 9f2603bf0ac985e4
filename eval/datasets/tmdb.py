"""TMDB's films from Kaggle: ``tmdb_5000_movies.csv`` (TMDB 5000), ``movies_metadata.csv`` (The Movies Dataset)."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from eval.datasets.cell import labels_in
from eval.datasets.fields import Fields
from eval.datasets.named_columns import cell
from eval.datasets.record import Record, Records
from eval.datasets.tables import MISFIT, columns, separated_values, suffix
from prompts.text import Text

_COLUMNS = frozenset({"id", "genres", "overview", "release_date", "title"})
_YEAR = re.compile(r"^(\d{4})-\d\d-\d\d$|^\d{1,2}/\d{1,2}/(\d{4})$")
_NO_OVERVIEW = frozenset({"no overview found.", "no overview", "no overview yet.", "overview coming soon..."})


def fits(path: Path) -> bool:
    """Whether the columns are these."""
    return suffix(path) == ".csv" and path.is_file() and set(columns(path)) >= _COLUMNS


def read(path: Path, fields: Fields) -> Records:
    """Films with ``overview`` as text and the names in ``genres`` (JSON or a Python literal) as labels.

    Rows that the export broke (cells shifted by a line break, an id that is no number, genres that cannot be read)
    are left out and counted; so is every further row of an id. "No overview found." and its like are no text.

    Raises:
        InvalidDataset: not such a file, or a column that was asked for is missing.
    """
    films: dict[str, Record] = {}
    left_out: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    for where, row in separated_values(path):
        film = _film(row, where, fields, changed)
        if film is None:
            left_out["that the export broke"] += 1
        elif film.id in films:
            left_out["whose id stands twice"] += 1
        else:
            films[film.id] = film
    return Records(tuple(films.values()), left_out, changed)


def _film(row: dict[str, Any], where: str, fields: Fields, changed: Counter[str]) -> Record | None:
    """One film, or None where the row is broken."""
    if MISFIT in row:
        return None
    identity, body, labels = (
        cell(row, fields.id or "id", where),
        cell(row, fields.text or "overview", where).strip(),
        cell(row, "genres" if fields.labels is None else fields.labels, where) if fields.labels != "" else "",
    )
    title = cell(row, fields.title or "title", where).strip()
    if body.casefold() in _NO_OVERVIEW:
        changed["'No overview found' taken away"] += 1
        body = ""
    try:
        names = labels_in(labels)
    except ValueError:
        return None
    if not fields.id and not identity.strip().isdigit():
        return None
    text = Text(body, title if fields.title else "")
    return Record(where, identity.strip(), text, names, title=title, year=_year(row["release_date"]))


def _year(date: str) -> str:
    found = _YEAR.match(date.strip())
    return (found[1] or found[2]) if found else ""
