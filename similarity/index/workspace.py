"""Results of an unfinished build, in a folder of their own until the new version is published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompts.files import write_text_atomically
from similarity.errors import InvalidIndex
from similarity.index import faiss_index
from similarity.index.catalog import Catalog
from similarity.index.manifest import FILMS, VECTORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from similarity.film import Film
    from similarity.index.faiss_index import Vectors

_INPUTS = "build.json"


class BuildWorkspace:
    """The folder of an unfinished build.

    Args:
        folder: created if missing.
        inputs: data and encoder of the build; an unfinished build of other inputs is an error.
        dimension: vector length.
        overwrite: drop an unfinished build of other inputs.

    Attributes:
        films: films encoded so far.
        count: their number.

    Raises:
        InvalidIndex: the folder has an unfinished build of other inputs.
    """

    def __init__(self, folder: Path, inputs: dict[str, Any], dimension: int, overwrite: bool) -> None:
        self.folder, self.inputs, self._dimension = folder, inputs, dimension
        if overwrite:
            drop(folder)
        self._claim()
        self.films = Catalog(folder / FILMS, writable=True)
        self.count = self.films.count

    def _claim(self) -> None:
        found = inputs_of(self.folder)
        if found is None:  # no build, or one that was killed before it wrote its inputs
            drop(self.folder)
            self.folder.mkdir()
            write_text_atomically(self.folder / _INPUTS, json.dumps(self.inputs))
        elif found != self.inputs:
            raise InvalidIndex(
                f"{self.folder} has an unfinished build of other data or by another encoder: "
                "repeat the command that started it, or give --overwrite to drop it"
            )

    def add(self, films: Sequence[Film], vectors: Vectors, tally: dict[str, int]) -> None:
        """Add a chunk. Vectors are written first, because the number of films defines what is valid."""
        faiss_index.append_vectors(self.folder / VECTORS, self.count, vectors.reshape(len(films), self._dimension))
        self.films.add(self.count, films, tally)
        self.count += len(films)

    def vectors(self) -> Vectors:
        """Vectors of all films so far."""
        return faiss_index.mapped_vectors(self.folder / VECTORS, self.count, self._dimension)


def inputs_of(work: Path) -> dict[str, Any] | None:
    """Inputs of an unfinished build; None if there is none."""
    try:
        inputs: dict[str, Any] = json.loads((work / _INPUTS).read_text(encoding="utf-8"))
        return inputs
    except FileNotFoundError:
        return None


def drop(folder: Path) -> None:
    """Delete a folder if it exists."""
    if folder.exists():
        shutil.rmtree(folder)
