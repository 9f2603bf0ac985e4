"""The folder of an index: versions with their manifests, the pointer to the current one, and an unfinished build.

::

    current                 name of the current version and the digest of its manifest; replaced atomically
    versions/000002/        manifest.json, films.sqlite, vectors.f32, and index.faiss unless the search is exact
    work/                   results of an unfinished build
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prompts import files
from prompts.files import digest_of, write_text_atomically
from similarity.errors import InvalidIndex
from similarity.index import faiss_index
from similarity.index.catalog import Catalog, Film
from similarity.index.faiss_index import VectorIndex, Vectors

CURRENT, VERSIONS, WORK = "current", "versions", "work"
FILMS, VECTORS, SEARCHED = "films.sqlite", "vectors.f32", "index.faiss"
FORMAT = 1
_MANIFEST, _INPUTS = "manifest.json", "build.json"


@dataclass(frozen=True)
class Manifest:
    """Manifest of a version.

    Attributes:
        count: number of films.
        repeated: films with the same text as an earlier film.
        kind: kind of index.
        effort: search parameter; see ``similarity.index.faiss_index.IndexKind``.
        recall: recall@10, measured by the build; None if the search is exact.
        texts: digest of the digests of all texts in row order.
        made_from: input of the build: data, encoder and base version.
        made: time of the build (UTC).
        files: bytes and SHA-256 of all other files by name.
        format: format of the folder.
    """

    encoder: str
    dimension: int
    count: int
    repeated: int
    kind: str
    effort: int
    recall: float | None
    texts: str
    made_from: Mapping[str, Any]
    made: str
    files: Mapping[str, Mapping[str, Any]]
    format: int = FORMAT


@dataclass(frozen=True)
class Version:
    """A version of an index: its folder and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """Name of its folder, a number."""
        return self.path.name

    def vector_index(self) -> VectorIndex:
        """Open its vectors for searching."""
        made = self.manifest
        vectors = faiss_index.mapped_vectors(self.path / VECTORS, made.count, made.dimension)
        return faiss_index.loaded(made.kind, vectors, self.path / SEARCHED, made.effort, made.recall)


def current(folder: Path) -> Version | None:
    """The current version; None if there is none yet.

    Raises:
        InvalidIndex: the pointer or the manifest is damaged.
    """
    try:
        pointer = (folder / CURRENT).read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InvalidIndex(f"cannot read {folder / CURRENT}: {error}") from None
    if len(pointer) != 2:
        raise InvalidIndex(f"{folder / CURRENT} is damaged; build the index again")
    path = folder / VERSIONS / pointer[0]
    return Version(path, _read(path / _MANIFEST, pointer[1]))


def _read(path: Path, digest: str) -> Manifest:
    try:
        content = path.read_bytes()
        if digest_of(content) != digest:
            raise InvalidIndex(f"{path} is damaged (its digest has changed); build the index again")
        found = json.loads(content)
        if found.get("format") != FORMAT:
            raise InvalidIndex(f"{path} has format {found.get('format')}, this program reads {FORMAT}; build it again")
        return Manifest(**found)
    except OSError as error:
        raise InvalidIndex(f"cannot read {path}: {error.strerror}; build the index again") from None
    except (ValueError, TypeError) as error:
        raise InvalidIndex(f"{path} is not a manifest of an index: {error}") from None


def publish(folder: Path, new: Path, name: str, manifest: Manifest) -> Version:
    """Atomically publish the version whose files are in the folder ``new``.

    Readers see the old or the new one, also after a power failure.
    """
    content = f"{json.dumps(asdict(manifest), indent=2, ensure_ascii=False)}\n".encode()
    (new / _MANIFEST).write_bytes(content)
    for file in new.iterdir():
        files.sync(file)
    files.sync(new)
    place = folder / VERSIONS / name
    files.publish(new, place)
    write_text_atomically(folder / CURRENT, f"{name} {digest_of(content)}\n")
    return Version(place, manifest)


def facts(path: Path) -> dict[str, dict[str, Any]]:
    """Bytes and SHA-256 of the files of a version that has no manifest yet, by name."""
    return {file.name: {"bytes": file.stat().st_size, "sha256": digest_of(file)} for file in sorted(path.iterdir())}


def check(version: Version, encoder: str, dimension: int) -> None:
    """Check the encoder of a version and the digests of all its files.

    Raises:
        InvalidIndex: it was built with another encoder, or a file is missing or was changed.
    """
    manifest = version.manifest
    if (manifest.encoder, manifest.dimension) != (encoder, dimension):
        raise InvalidIndex(
            f"{version.path.parent.parent} was built with {manifest.encoder} (vector length {manifest.dimension}), "
            f"but the encoder here is {encoder} ({dimension}); give the encoder of the index (--encoder, "
            "MARQUEE_ENCODER), or build an index with this one by `main.py index`"
        )
    for name, fact in manifest.files.items():
        file = version.path / name
        if not file.is_file():
            raise InvalidIndex(f"{file} is missing; build the index again")
        if file.stat().st_size != fact["bytes"] or digest_of(file) != fact["sha256"]:
            raise InvalidIndex(f"{file} is damaged (its digest has changed); build the index again")


class BuildWorkspace:
    """The folder of an unfinished build.

    Args:
        folder: created if missing.
        inputs: data and encoder of the build.
        overwrite: drop an unfinished build of other inputs.

    Raises:
        InvalidIndex: the folder has an unfinished build of other inputs.
    """

    def __init__(self, folder: Path, inputs: dict[str, Any], overwrite: bool) -> None:
        self.folder, self.inputs = folder, inputs
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
        rows = vectors.reshape(len(films), self.inputs["dimension"])
        faiss_index.append_vectors(self.folder / VECTORS, self.count, rows)
        self.films.add(self.count, films, tally)
        self.count += len(films)

    def vectors(self) -> Vectors:
        """Vectors of all films so far."""
        return faiss_index.mapped_vectors(self.folder / VECTORS, self.count, self.inputs["dimension"])


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
