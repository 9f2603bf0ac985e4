"""The folder of an index: its versions, the pointer to the one in force, and what each says of itself.

::

    current                 name of a version and the digest of its manifest; replaced in one step
    versions/000002/        manifest.json, films.sqlite, vectors.f32, and index.faiss unless the search is exact
    work/                   what an unfinished build has so far
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prompts import files
from prompts.files import digest_of
from similarity.errors import InvalidIndex

CURRENT, VERSIONS, WORK = "current", "versions", "work"
MANIFEST, FILMS, VECTORS, SEARCHED = "manifest.json", "films.sqlite", "vectors.f32", "index.faiss"
FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What a version says of itself.

    Attributes:
        encoder: name of the encoder that made the vectors.
        dimension: numbers of a vector.
        count: films.
        repeated: films whose text an earlier film has.
        kind: of the index.
        effort: of its search; see ``similarity.index.faiss_index.IndexKind``.
        recall: share of the ten nearest that it finds, measured when it was made; None where it is exact.
        texts: digest of all texts' digests, in the order of the rows.
        made_from: what was built: data, encoder and the version it was added to.
        made: when, in UTC.
        files: bytes and SHA-256 of every other file, by name.
        format: of this folder.
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
    """A version of an index.

    Attributes:
        path: its folder.
        manifest: what it says of itself.
    """

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """Its number, as its folder is called."""
        return self.path.name


def current(folder: Path) -> Version | None:
    """The version in force; None where there is none yet.

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
    return Version(path, _read(path / MANIFEST, pointer[1]))


def publish(folder: Path, new: Path, name: str) -> None:
    """Put a finished version in force: readers find the old one or this one, whenever the power goes.

    Args:
        folder: of the index.
        new: the version's folder, its files written, under another name.
        name: of the version.
    """
    for file in new.iterdir():
        files.sync(file)
    files.sync(new)
    place = folder / VERSIONS / name
    files.publish(new, place)
    files.write_text_atomically(folder / CURRENT, f"{name} {digest_of(place / MANIFEST)}\n")


def write(path: Path, manifest: Manifest) -> None:
    """Write a version's manifest into its folder."""
    content = json.dumps(asdict(manifest), indent=2, ensure_ascii=False)
    (path / MANIFEST).write_text(content + "\n", encoding="utf-8")


def facts(path: Path) -> dict[str, dict[str, Any]]:
    """Bytes and SHA-256 of the files of a version, by name."""
    return {
        file.name: {"bytes": file.stat().st_size, "sha256": digest_of(file)}
        for file in sorted(path.iterdir())
        if file.name != MANIFEST
    }


def check_whole(version: Version) -> None:
    """Read every file of a version and compare.

    Raises:
        InvalidIndex: a file is missing or is not as it was written.
    """
    for name, fact in version.manifest.files.items():
        file = version.path / name
        if not file.is_file():
            raise InvalidIndex(f"{file} is missing; build the index again")
        if file.stat().st_size != fact["bytes"] or digest_of(file) != fact["sha256"]:
            raise InvalidIndex(f"{file} is damaged: it is not what was written; build the index again")


def check_encoder(version: Version, encoder: str, dimension: int) -> None:
    """Hold a version against the encoder that is to read its vectors.

    Raises:
        InvalidIndex: another encoder made it.
    """
    manifest = version.manifest
    if (manifest.encoder, manifest.dimension) != (encoder, dimension):
        raise InvalidIndex(
            f"{version.path.parent.parent} was made by {manifest.encoder} ({manifest.dimension} numbers a film), "
            f"but the encoder here is {encoder} ({dimension}); name the one that made it (--encoder, MARQUEE_ENCODER), "
            "or build an index with this one by `main.py index`"
        )


def _read(path: Path, digest: str) -> Manifest:
    try:
        content = path.read_bytes()
        if digest_of(content) != digest:
            raise InvalidIndex(f"{path} is damaged: it is not what was written; build the index again")
        found = json.loads(content)
        if found.get("format") != FORMAT:
            raise InvalidIndex(f"{path} has format {found.get('format')}, this program reads {FORMAT}; build it again")
        return Manifest(**found)
    except OSError as error:
        raise InvalidIndex(f"cannot read {path}: {error.strerror}; build the index again") from None
    except (ValueError, TypeError) as error:
        raise InvalidIndex(f"{path} is no manifest of an index: {error}") from None
