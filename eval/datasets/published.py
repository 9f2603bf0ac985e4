"""Published data sets in their original layout.

- The Large Movie Review Dataset (Maas et al., 2011, ACL), a folder or tarball: https://ai.stanford.edu/~amaas/data/sentiment/
- TMDB from Kaggle: ``tmdb_5000_movies.csv`` (TMDB 5000) and ``movies_metadata.csv`` (The Movies Dataset).
- Kaggle's "IMDb movies dataset based on genre": a folder of CSV files, one a genre, scraped from IMDb's list pages.
"""

from __future__ import annotations

import lzma
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from eval.datasets.example import Fields, Record, Records
from eval.datasets.named_columns import cell
from eval.datasets.split import normal
from prompts.errors import InvalidDataset
from prompts.text import Text, placeholder
from tabular import Row, column_names, open_table
from tabular.cells import labels_in, text_in, word_in
from tabular.detection import suffix

_LABELS = {"pos": "positive", "neg": "negative"}
_PARTS = [f"{split}/{polarity}" for split in ("train", "test") for polarity in _LABELS]
_BREAK = re.compile(r"(?:\s*<br\s*/?>)+\s*", re.IGNORECASE)

_TMDB_COLUMNS = frozenset({"id", "genres", "overview", "release_date", "title"})
_DATE = re.compile(r"^(\d{4})-\d\d-\d\d$|^\d{1,2}/\d{1,2}/(\d{4})$")
_IMDB_COLUMNS = frozenset({"movie_id", "movie_name", "year", "genre", "description"})
_MOST_GENRES = 3  # IMDb's list pages show at most three genres of a film
_SEE_FULL = re.compile(r"\s*see full (?:summary|synopsis)\s*»?\s*$", re.IGNORECASE)
_CUT_OFF = re.compile(r"\s*(?:\.\.\.|…)$")

ParseFilm = Callable[[Row, Fields, Counter[str]], Record | None]  # None for a broken row; the counts are of changes


def is_aclimdb(path: Path) -> bool:
    """Whether it is a folder with ``pos`` and ``neg`` in ``train`` and ``test``, or a tarball."""
    if path.is_dir():
        return _root(path) is not None
    return path.name.lower().endswith((".tar.gz", ".tgz", ".tar")) and path.is_file()


def read_aclimdb(path: Path, fields: Fields) -> Records:
    """Reviews with the labels ``positive`` and ``negative``; ids are ``train/pos/0_9``; line breaks are spaces.

    A training review whose text is also in the test split (123 texts of the published set) is skipped.

    Raises:
        InvalidDataset: no such layout, or a file that is not UTF-8.
    """
    if any((fields.text, fields.labels, fields.id, fields.title)):
        raise InvalidDataset(f"{path.name} has no columns to choose from: each review is a file")
    reviews = [_review(path, name, data) for name, data in (_folder(path) if path.is_dir() else _tarball(path))]
    if not reviews:
        raise InvalidDataset(f"{path.name} has no reviews; expected folders: {', '.join(_PARTS)}")
    test_texts = {normal(review.text.body) for review in reviews if review.split == "test"}
    kept = tuple(row for row in reviews if row.split == "test" or normal(row.text.body) not in test_texts)
    return Records(kept, Counter({"of train with a text of test": len(reviews) - len(kept)}))


def _review(path: Path, name: str, data: bytes) -> Record:
    split, polarity, _ = name.split("/")
    try:
        body = _BREAK.sub(" ", data.decode("utf-8")).strip()
    except UnicodeDecodeError:
        raise InvalidDataset(f"{path.name}, {name}.txt: not UTF-8") from None
    return Record(f"{path.name}, {name}.txt", name, Text(body), (_LABELS[polarity],), split=split)


def _folder(path: Path) -> Iterator[tuple[str, bytes]]:
    root = _root(path) or path
    for part in _PARTS:
        for file in sorted((root / part).glob("*.txt")):
            yield f"{part}/{file.stem}", file.read_bytes()


def _root(path: Path) -> Path | None:
    """The folder of the splits: the path itself, or its ``aclImdb``."""
    return next((root for root in (path, path / "aclImdb") if all((root / part).is_dir() for part in _PARTS)), None)


def _tarball(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                is_review = member.isfile() and name.suffix == ".txt" and "/".join(name.parts[-3:-1]) in _PARTS
                if is_review and (file := archive.extractfile(member)):
                    yield "/".join(name.parts[-3:]).removesuffix(".txt"), file.read()
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        reason = getattr(error, "strerror", None) or "the archive is damaged or incomplete; download it again"
        raise InvalidDataset(f"cannot read {path.name}: {reason}") from None


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
    skipped, changed = Counter[str](), Counter[str]()
    films: dict[str, Record] = {}
    for film in _films([path], fields, _tmdb_film, skipped, changed):
        if films.setdefault(film.id, film) is not film:
            skipped["with a repeated id"] += 1
    return Records(tuple(films.values()), skipped, changed)


def _films(
    files: Sequence[Path], fields: Fields, parse: ParseFilm, skipped: Counter[str], changed: Counter[str]
) -> Iterator[Record]:
    """The films of CSV files; broken rows are counted."""
    for file in files:
        for row in open_table(file, fields.dialect).rows():
            if not row.problem and (film := parse(row, fields, changed)):
                yield film
            else:
                skipped["broken by the export"] += 1


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
    skipped, changed = Counter[str](), Counter[str]()
    films: dict[str, list[Record]] = {}
    for film in _films(_csv_files(path) or [path], fields, _imdb_film, skipped, changed):
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
    except ValueError:
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
    year = next((row.year for row in rows if row.year), "")
    return replace(fullest, labels=genres, year=year, complete=len(genres) < _MOST_GENRES)
