"""TMDB's films from Kaggle: ``tmdb_5000_movies.csv`` (TMDB 5000), ``movies_metadata.csv`` (The Movies Dataset)."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from eval.datasets.fields import Fields
from eval.datasets.named_columns import cell
from eval.datasets.record import Record, Records
from prompts.text import Text
from tabular import Row, columns_in, open_table
from tabular.cells import NotText, labels_in, text_in, word_in
from tabular.content import suffix

_COLUMNS = frozenset({"id", "genres", "overview", "release_date", "title"})
_YEAR = re.compile(r"^(\d{4})-\d\d-\d\d$|^\d{1,2}/\d{1,2}/(\d{4})$")
_NO_OVERVIEW = frozenset({"no overview found.", "no overview", "no overview yet.", "overview coming soon..."})


def fits(path: Path) -> bool:
    """Whether the columns are these."""
    return suffix(path) == ".csv" and path.is_file() and set(columns_in(path)) >= _COLUMNS


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
    for row in open_table(path, fields.dialect).rows():
        film = None if row.problem else _film(row, fields, changed)
        if film is None:
            left_out["that the export broke"] += 1
        elif film.id in films:
            left_out["whose id stands twice"] += 1
        else:
            films[film.id] = film
    return Records(tuple(films.values()), left_out, changed)


def _film(row: Row, fields: Fields, changed: Counter[str]) -> Record | None:
    """One film, or None where the row is broken."""
    cells, where = row.cells, row.where
    identity = word_in(cell(cells, fields.id or "id", where))
    labels = cell(cells, "genres" if fields.labels is None else fields.labels, where) if fields.labels != "" else ""
    try:
        body = text_in(cell(cells, fields.text or "overview", where))
        title = text_in(cell(cells, fields.title or "title", where))
    except NotText:
        return None
    if body.casefold() in _NO_OVERVIEW:
        changed["'No overview found' taken away"] += 1
        body = ""
    try:
        names = labels_in(labels)
    except ValueError:
        return None
    if not fields.id and not identity.isdigit():
        return None
    text = Text(body, title if fields.title else "")
    return Record(where, identity, text, names, title=title, year=_year(word_in(cells["release_date"])))


def _year(date: str) -> str:
    found = _YEAR.match(date)
    return (found[1] or found[2]) if found else ""
