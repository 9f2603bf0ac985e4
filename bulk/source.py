"""What is labelled: the files that a path, a folder or a pattern means, and their rows one after the other."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulk.formats import READERS, suffix
from bulk.rows import Place, Row
from prompts.errors import InvalidDataset

_READ = 1 << 20


@dataclass(frozen=True)
class Source:
    """Files to read, in the order in which they are read."""

    given: str
    files: tuple[Path, ...]

    @property
    def place(self) -> Place:
        """A place before the first row."""
        return Place(sum(path.stat().st_size for path in self.files))

    def rows(self, place: Place | None = None) -> Iterator[Row]:
        """All rows; the place is kept up to date on the way.

        Raises:
            InvalidDataset: a file cannot be read.
        """
        place = place or self.place
        for path in self.files:
            yield from READERS[suffix(path)].rows(path, place)
            place.before, place.tell = place.before + path.stat().st_size, lambda: 0

    def named_columns(self) -> list[str]:
        """The columns of the first rows of the first file that has any, in their order."""
        for path in self.files:
            if names := READERS[suffix(path)].columns(path):
                return list(names)
        raise InvalidDataset(f"{self.given} holds no row")

    def stamps(self) -> list[dict[str, Any]]:
        """Name, size and time of change of every file: what must be the same at the end of a run."""
        above = os.path.commonpath([path.absolute().parent for path in self.files])
        names = [path.absolute().relative_to(above).as_posix() for path in self.files]
        stats = [path.stat() for path in self.files]
        return [
            {"name": name, "bytes": one.st_size, "changed": one.st_mtime_ns}
            for name, one in zip(names, stats, strict=True)
        ]


def source_of(given: str, beside: Sequence[Path] = ()) -> Source:
    """The files that a path names: one file, all tables of a folder, or what a pattern matches, by name.

    Args:
        given: the path or pattern.
        beside: files that are never read, such as the output in the same folder.

    Raises:
        InvalidDataset: nothing is there, or a file that is no table.
    """
    path, known = Path(given), ", ".join(READERS)
    if path.is_file():
        if suffix(path) not in READERS:
            raise InvalidDataset(f"{path} ends in none of {known} (each but .parquet also with .gz)")
        return Source(given, (path,))
    found = path.iterdir() if path.is_dir() else map(Path, glob.glob(given, recursive=True))  # noqa: PTH207  (it may be absolute)
    left_out = {one.resolve() for one in beside}
    tables = sorted(one for one in found if one.is_file() and suffix(one) in READERS and one.resolve() not in left_out)
    if not tables:
        where = "holds no file" if path.is_dir() else "names no file"
        raise InvalidDataset(f"{given} {where} that ends in one of {known} (each but .parquet also with .gz)")
    return Source(given, tuple(tables))


def digest_of(path: Path) -> str:
    """Hex digest of a file's bytes.

    Raises:
        InvalidDataset: it cannot be read.
    """
    found = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while piece := file.read(_READ):
                found.update(piece)
    except OSError as error:
        raise InvalidDataset(f"cannot read {path}: {error.strerror or error}") from None
    return found.hexdigest()
