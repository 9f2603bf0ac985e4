"""The known data formats, and the format of a path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from eval.datasets import named_columns, published
from eval.datasets.example import Fields, Record, Records
from prompts.errors import InvalidDataset, UnknownName
from tabular.detection import JSON_SUFFIXES, JSONL_SUFFIXES, PARQUET_SUFFIXES, detect_format, suffix


@dataclass(frozen=True)
class Format:
    """A data format: a few words for messages, whether a path has it, and the reader of its rows."""

    about: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, Fields], Records]


def records(path: Path, fields: Fields, format: str | None = None) -> Records:
    """The rows of a data set; copies of a row are skipped and counted.

    ``format`` is a name in ``FORMATS``; by default the first that fits the path.

    Raises:
        UnknownName: no such format.
        InvalidDataset: no such path, no format fits, two different rows have one id, or the format's own reasons.
    """
    if not path.exists():
        raise InvalidDataset(f"cannot read {path}: No such file or directory")
    if format is not None and format not in FORMATS:
        raise UnknownName("format", format, FORMATS)
    found = FORMATS[format or format_of(path)].read(path, fields)
    rows: dict[str, Record] = {}
    for row in found.rows:
        first = rows.setdefault(row.id, row)
        if (first.text, first.labels) != (row.text, row.labels):
            raise InvalidDataset(
                f"{row.where}: id {row.id!r} is also the id of another text or other labels ({first.where}); "
                "name a column of unique ids"
            )
    repeated = Counter({"with a repeated id": len(found.rows) - len(rows)})
    return Records(tuple(rows.values()), found.skipped + repeated, found.changed)


def format_of(path: Path) -> str:
    """The name of the first format that fits a path; the first bytes decide for a file with an unknown suffix.

    Raises:
        InvalidDataset: none fits.
    """
    name = next((name for name, format in FORMATS.items() if format.fits(path)), None)
    if name is None and path.is_file():
        name = kind if (kind := detect_format(path).kind) in TABLES else None
    if name is None:
        known = "; ".join(f"{name}: {format.about}" for name, format in FORMATS.items())
        raise InvalidDataset(f"{path} has no known format; name one: {known}")
    return name


def _table(about: str, *suffixes: str) -> Format:
    return Format(about, lambda path: path.is_file() and suffix(path) in suffixes, named_columns.read)


TABLES: Mapping[str, Format] = {
    "csv": _table("CSV with named columns, .gz too", ".csv"),
    "tsv": _table("TSV with named columns, .gz too", ".tsv"),
    "jsonl": _table("JSON lines, .gz too", *JSONL_SUFFIXES),
    "json": _table("JSON: an array of objects, .gz too", *JSON_SUFFIXES),
    "parquet": _table("Parquet with named columns", *PARQUET_SUFFIXES),
}

# The first format that fits is used: formats recognised by columns or folders come before those with only a suffix.
FORMATS: Mapping[str, Format] = {
    "aclimdb": Format(
        "Large Movie Review Dataset, its folder or tarball", published.is_aclimdb, published.read_aclimdb
    ),
    "imdb-by-genre": Format(
        "Kaggle's folder of CSV files by genre", published.is_imdb_by_genre, published.read_imdb_by_genre
    ),
    "tmdb": Format("TMDB 5000 or The Movies Dataset, CSV", published.is_tmdb, published.read_tmdb),
    **TABLES,
}
