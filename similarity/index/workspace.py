"""What a build has encoded so far: it stands in a folder of its own until the new version is in force."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompts.files import write_text_atomically
from similarity.errors import InvalidIndex
from similarity.index import vector_file
from similarity.index.catalog import Catalog
from similarity.index.manifest import FILMS, VECTORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from similarity.film import Film
    from similarity.index.faiss_index import Vectors

_LABEL = "build.json"


class BuildWorkspace:
    """The folder of an unfinished build.

    Args:
        folder: made if missing.
        asked: what the build is of; another one may not go on here.
        dimension: numbers of a vector.
        anew: drop what an unfinished build of something else has left.

    Attributes:
        films: those encoded so far.
        count: how many.

    Raises:
        InvalidIndex: the folder holds an unfinished build of something else.
    """

    def __init__(self, folder: Path, asked: dict[str, Any], dimension: int, overwrite: bool) -> None:
        self.folder, self.asked, self._dimension = folder, asked, dimension
        if overwrite:
            drop(folder)
        self._claim()
        self.films = Catalog(folder / FILMS, writable=True)
        self.count = self.films.count

    def _claim(self) -> None:
        held = label_of(self.folder)
        if held is None:  # not even begun, or ended while beginning
            drop(self.folder)
            self.folder.mkdir()
            write_text_atomically(self.folder / _LABEL, json.dumps(self.asked))
        elif held != self.asked:
            raise InvalidIndex(
                f"{self.folder} holds an unfinished build of other data or by another encoder: "
                "give what it was started with and it goes on, or --overwrite to drop it"
            )

    def keep(self, films: Sequence[Film], made: Vectors, tally: dict[str, int]) -> None:
        """Add a chunk: its vectors first, for only the films' rows count."""
        vector_file.append(self.folder / VECTORS, self.count, made.reshape(len(films), self._dimension))
        self.films.add(self.count, films, tally)
        self.count += len(films)

    def vectors(self) -> Vectors:
        """Those of all films so far."""
        return vector_file.mapped(self.folder / VECTORS, self.count, self._dimension)


def label_of(work: Path) -> dict[str, Any] | None:
    """What an unfinished build is of; None where none was begun."""
    try:
        label: dict[str, Any] = json.loads((work / _LABEL).read_text(encoding="utf-8"))
        return label
    except FileNotFoundError:
        return None


def drop(folder: Path) -> None:
    """Take a folder away with all that is in it, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)
