"""The formats that are read, and which of them a path is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from eval.datasets import acl_imdb, imdb_by_genre, named_columns, tmdb
from eval.datasets.fields import Fields
from eval.datasets.record import Record, Records
from prompts.errors import InvalidDataset, UnknownName
from tabular.content import JSON, LINES, PARQUETS, content_of, suffix


@dataclass(frozen=True)
class Format:
    """How a data set is told and read.

    Attributes:
        about: what it is, in a few words.
        fits: whether a path is one.
        read: its rows under the names of its columns.
    """

    about: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, Fields], Records]


def records(path: Path, fields: Fields, format: str | None = None) -> Records:
    """The rows of a data set.

    Args:
        path: file or folder.
        fields: names of the columns.
        format: a name in ``FORMATS``; by default the first that fits the path.

    Raises:
        UnknownName: no such format.
        InvalidDataset: nothing there, no format fits, an id stands twice, or the format's own reasons.
    """
    if not path.exists():
        raise InvalidDataset(f"cannot read {path}: No such file or directory")
    if format is not None and format not in FORMATS:
        raise UnknownName("format", format, FORMATS)
    found = FORMATS[format or format_of(path)].read(path, fields)
    return _different(found)


def format_of(path: Path) -> str:
    """The name of the first format that a path fits; the first bytes decide for a table under another name.

    Raises:
        InvalidDataset: none does.
    """
    name = next((name for name, format in FORMATS.items() if format.fits(path)), None)
    if name is None and path.is_file():
        name = _BY_CONTENT.get(content_of(path).kind)
    if name is None:
        known = "; ".join(f"{name}: {format.about}" for name, format in FORMATS.items())
        raise InvalidDataset(f"{path} is of no known format; name one: {known}")
    return name


_BY_CONTENT = {"separated": "csv", "jsonl": "jsonl", "json": "json", "parquet": "parquet"}


def _named(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.is_file() and suffix(path) in suffixes


def _different(found: Records) -> Records:
    """Rows with ids of their own: a copy of a row is left out, and one id for two texts is refused.

    Raises:
        InvalidDataset: an id stands for two texts.
    """
    rows: dict[str, Record] = {}
    for row in found.rows:
        first = rows.setdefault(row.id, row)
        if (first.text, first.labels) != (row.text, row.labels):
            raise InvalidDataset(
                f"{row.where}: id {row.id!r} also stands for another text or other labels ({first.where}); "
                "name a column of ids that differ"
            )
    twice = Counter({"whose id stands twice": len(found.rows) - len(rows)})
    return Records(tuple(rows.values()), found.left_out + twice, found.changed)


# The first that fits is taken: those that are known by their columns or folders stand before those known by a suffix.
FORMATS: Mapping[str, Format] = {
    "aclimdb": Format("Large Movie Review Dataset, its folder or tarball", acl_imdb.fits, acl_imdb.read),
    "imdb-by-genre": Format("Kaggle's folder of CSV files by genre", imdb_by_genre.fits, imdb_by_genre.read),
    "tmdb": Format("TMDB 5000 or The Movies Dataset, CSV", tmdb.fits, tmdb.read),
    "csv": Format("CSV with named columns, .gz too", _named(".csv"), named_columns.read),
    "tsv": Format("TSV with named columns, .gz too", _named(".tsv"), named_columns.read),
    "jsonl": Format("JSON lines, .gz too", _named(*LINES), named_columns.read),
    "json": Format("JSON: an array of objects, .gz too", _named(*JSON), named_columns.read),
    "parquet": Format("Parquet with named columns", _named(*PARQUETS), named_columns.read),
}
