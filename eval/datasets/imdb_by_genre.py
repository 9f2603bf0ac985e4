"""Kaggle's "IMDb movies dataset based on genre": a folder of CSV files, one a genre, cut from IMDb's list pages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from eval.datasets.fields import Fields
from eval.datasets.named_columns import cell
from eval.datasets.record import Record, Records
from prompts.placeholders import placeholder
from prompts.text import Text
from tabular import Row, columns_in, open_table
from tabular.cells import NotText, text_in, word_in
from tabular.content import suffix

_COLUMNS = frozenset({"movie_id", "movie_name", "year", "genre", "description"})
# IMDb's list pages show no more than three genres of a film.
_MOST_GENRES = 3
_SEE_FULL = re.compile(r"\s*see full (?:summary|synopsis)\s*»?\s*$", re.IGNORECASE)
_BROKEN_OFF = re.compile(r"\s*(?:\.\.\.|…)$")


def fits(path: Path) -> bool:
    """Whether it is a folder of such files, or one of them."""
    files = _files(path)
    return bool(files) and set(columns_in(files[0])) >= _COLUMNS


def read(path: Path, fields: Fields) -> Records:
    """One row a film: the files' rows of it merged, their genres united, the longest description kept.

    "Add a Plot" and "Plot unknown" are no descriptions and are taken away; "See full summary" is cut off, and what
    stands before it is marked as truncated, as is whatever ends in dots. A film with three genres may have more: it is
    not complete.

    Raises:
        InvalidDataset: no such files, or a column that was asked for is missing.
    """
    rows: dict[str, list[Record]] = {}
    left_out: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    for file in _files(path) or [path]:
        for row in open_table(file, fields.dialect).rows():
            film = None if row.problem else _film(row, fields, changed)
            if film is None:
                left_out["that the export broke"] += 1
            else:
                rows.setdefault(film.id, []).append(film)
    changed["merged into another row of the same film"] = sum(len(found) - 1 for found in rows.values())
    return Records(tuple(_merged(found) for found in rows.values()), left_out, changed)


def _files(path: Path) -> list[Path]:
    """The CSV files of a folder by name, or the one file."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if suffix(file) == ".csv" and file.is_file())
    return [path] if suffix(path) == ".csv" and path.is_file() else []


def _film(row: Row, fields: Fields, changed: Counter[str]) -> Record | None:
    """One film, or None where the row is broken."""
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
        year=year if year.isdigit() else "",  # the export has "I" or "II" where IMDb tells namesakes apart
        truncated=truncated,
    )


def _clean(description: str, changed: Counter[str]) -> tuple[str, bool]:
    """A description without what the page put there, and whether it breaks off; dots become one ellipsis."""
    body = " ".join(description.split())
    if placeholder(body) == "Add a Plot":
        changed["'Add a Plot' taken away"] += 1
        return "", False
    if placeholder(body) == "Plot unknown":
        changed["'Plot unknown' and its like taken away"] += 1
        return "", False
    full = _SEE_FULL.sub("", body)
    if full != body:
        changed["'See full summary' cut off"] += 1
    cut = _BROKEN_OFF.sub("…", full)
    return cut, cut.endswith("…")


def _merged(rows: list[Record]) -> Record:
    fullest = max(rows, key=lambda row: (not row.truncated and not row.text.empty, len(row.text.body)))
    genres = _united(row.labels for row in rows)
    year = next((row.year for row in rows if row.year), "")
    return Record(
        fullest.where, fullest.id, fullest.text, genres, title=fullest.title, year=year,
        complete=len(genres) < _MOST_GENRES, truncated=fullest.truncated,
    )  # fmt: skip


def _united(genres: Iterable[str | tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in genres for name in names))
