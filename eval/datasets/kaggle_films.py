"""Film tables from Kaggle.

- TMDB: ``tmdb_5000_movies.csv`` (TMDB 5000) and ``movies_metadata.csv`` (The Movies Dataset).
- "IMDb movies dataset based on genre": a folder of CSV files, one a genre, scraped from IMDb's list pages.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from eval.datasets.named_columns import cell
from eval.datasets.record import Fields, Record, Records
from prompts.text import Text, placeholder
from tabular import Row, column_names, open_table
from tabular.cells import NotText, labels_in, text_in, word_in
from tabular.detection import suffix

_BROKEN = "broken by the export"

_TMDB_COLUMNS = frozenset({"id", "genres", "overview", "release_date", "title"})
_DATE = re.compile(r"^(\d{4})-\d\d-\d\d$|^\d{1,2}/\d{1,2}/(\d{4})$")

_IMDB_COLUMNS = frozenset({"movie_id", "movie_name", "year", "genre", "description"})
_MOST_GENRES = 3  # IMDb's list pages show at most three genres of a film
_SEE_FULL = re.compile(r"\s*see full (?:summary|synopsis)\s*»?\s*$", re.IGNORECASE)
_CUT_OFF = re.compile(r"\s*(?:\.\.\.|…)$")


def is_tmdb(path: Path) -> bool:
    """Whether a CSV file has TMDB's columns."""
    return _is_csv(path) and set(column_names(path)) >= _TMDB_COLUMNS


def read_tmdb(path: Path, fields: Fields) -> Records:
    """Films with ``overview`` as text and the names in ``genres`` (JSON or a Python literal) as labels.

    Skipped and counted: broken rows (shifted cells, an id that is not a number, unreadable genres) and repeated ids.
    "No overview found." and similar placeholders become empty texts.

    Raises:
        InvalidDataset: another kind of file, or a missing column.
    """
    films: dict[str, Record] = {}
    skipped, changed = Counter[str](), Counter[str]()
    for row in open_table(path, fields.dialect).rows():
        film = None if row.problem else _tmdb_film(row, fields, changed)
        if film is None:
            skipped[_BROKEN] += 1
        elif film.id in films:
            skipped["with a repeated id"] += 1
        else:
            films[film.id] = film
    return Records(tuple(films.values()), skipped, changed)


def _tmdb_film(row: Row, fields: Fields, changed: Counter[str]) -> Record | None:
    """One film; None if the row is broken."""
    cells, where = row.cells, row.where
    id = word_in(cell(cells, fields.id or "id", where))
    labels = cell(cells, "genres" if fields.labels is None else fields.labels, where) if fields.labels != "" else ""
    try:
        body = text_in(cell(cells, fields.text or "overview", where))
        title = text_in(cell(cells, fields.title or "title", where))
        if (kind := placeholder(body)) == "No overview found":
            changed[f"'{kind}' removed"] += 1
            body = ""
        names = labels_in(labels)
    except ValueError:
        return None
    if not fields.id and not id.isdigit():
        return None
    date = _DATE.match(word_in(cells["release_date"]))
    year = (date[1] or date[2]) if date else ""
    return Record(where, id, Text(body, title if fields.title else ""), names, title=title, year=year)


def is_imdb_by_genre(path: Path) -> bool:
    """Whether it is one of the CSV files by genre, or a folder of them."""
    files = _csv_files(path)
    return bool(files) and set(column_names(files[0])) >= _IMDB_COLUMNS


def read_imdb_by_genre(path: Path, fields: Fields) -> Records:
    """One row a film: its rows of all files merged, with all its genres and the longest description.

    "Add a Plot" and "Plot unknown" become empty texts. "See full summary" is removed, and the text before it counts as
    truncated, as does every text that ends in dots. A film with three genres may have more: it is not complete.

    Raises:
        InvalidDataset: no such files, or a missing column.
    """
    films: dict[str, list[Record]] = {}
    skipped, changed = Counter[str](), Counter[str]()
    for file in _csv_files(path) or [path]:
        for row in open_table(file, fields.dialect).rows():
            film = None if row.problem else _imdb_film(row, fields, changed)
            if film is None:
                skipped[_BROKEN] += 1
            else:
                films.setdefault(film.id, []).append(film)
    changed["merged into another row of the same film"] = sum(len(rows) - 1 for rows in films.values())
    return Records(tuple(_merged(rows) for rows in films.values()), skipped, changed)


def _is_csv(path: Path) -> bool:
    return suffix(path) == ".csv" and path.is_file()


def _csv_files(path: Path) -> list[Path]:
    """The CSV files of a folder by name, or the one file."""
    return sorted(filter(_is_csv, path.iterdir())) if path.is_dir() else [path] * _is_csv(path)


def _imdb_film(row: Row, fields: Fields, changed: Counter[str]) -> Record | None:
    """One film; None if the row is broken."""
    cells, where = row.cells, row.where
    try:
        title = text_in(cell(cells, fields.title or "movie_name", where))
        body, truncated = _clean(text_in(cell(cells, fields.text or "description", where)), changed)
    except NotText:
        return None
    labels = "genre" if fields.labels is None else fields.labels
    genres = word_in(cell(cells, labels, where)) if labels else ""
    year = word_in(cells.get("year"))
    return Record(
        where,
        id=word_in(cell(cells, fields.id or "movie_id", where)),
        text=Text(body, title if fields.title else ""),
        labels=tuple(name.strip() for name in genres.split(",") if name.strip()),
        title=title,
        year=year if year.isdigit() else "",  # "I" or "II" is IMDb's mark of films with the same title
        truncated=truncated,
    )


def _clean(description: str, changed: Counter[str]) -> tuple[str, bool]:
    """A description without the page's own words, and whether it is cut off; final dots become one ellipsis."""
    body = " ".join(description.split())
    if (kind := placeholder(body)) in ("Add a Plot", "Plot unknown"):
        changed[f"'{kind}' removed"] += 1
        return "", False
    without = _SEE_FULL.sub("", body)
    if without != body:
        changed["'See full summary' removed"] += 1
    text = _CUT_OFF.sub("…", without)
    return text, text.endswith("…")


def _merged(rows: list[Record]) -> Record:
    fullest = max(rows, key=lambda row: (not row.truncated and not row.text.empty, len(row.text.body)))
    genres = tuple(dict.fromkeys(name for row in rows for name in row.labels))
    return Record(
        fullest.where,
        fullest.id,
        fullest.text,
        genres,
        title=fullest.title,
        year=next((row.year for row in rows if row.year), ""),
        complete=len(genres) < _MOST_GENRES,
        truncated=fullest.truncated,
    )
