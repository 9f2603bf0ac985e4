"""Resumable building of an index, and adding films to one.

Films are encoded in chunks into the folder ``work``: first the vectors of a chunk, then, in one transaction, its films
and the read position. A restarted build continues after the last complete chunk. When all films are encoded, a new
version is written beside the old one and published atomically.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from prompts.files import digest_of, locked
from similarity.errors import InvalidIndex
from similarity.index import faiss_index, versions
from similarity.index.catalog import Catalog, Film, text_digest
from similarity.index.faiss_index import Rows, VectorIndex, Vectors
from similarity.index.versions import FILMS, VECTORS, BuildWorkspace, Manifest, Version

OnProgress = Callable[[str, int], None]

_CHUNK = 1_024  # films per chunk: two megabytes of vectors; a killed build loses at most half a minute of work
_SLICE = 65_536


class IndexEncoder(Protocol):
    """An encoder of texts as unit vectors, float32, shape (texts, dimension)."""

    name: str

    @property
    def dimension(self) -> int: ...
    def encode(self, texts: Sequence[str]) -> Vectors: ...


@dataclass(frozen=True)
class Built:
    """Result of a build: the current version, and numbers of films.

    Attributes:
        replaced: films that replaced an older film with the same id.
        unchanged: films that were already in the index.
        without_text: films with neither text nor title, skipped.
    """

    version: Version
    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    without_text: int = 0


@dataclass(frozen=True)
class FilmSource:
    """Input of a build.

    Attributes:
        films: read once; the order must be the same in every run.
        origin: digest of the data and of the reading options; a build resumes only with the same origin.
    """

    films: Iterable[Film]
    origin: str


def build(
    folder: Path, source: FilmSource, encoder: IndexEncoder, *, kind: str = "auto", append: bool = False,
    overwrite: bool = False, wait: bool = False, on_progress: OnProgress = lambda stage, count: None,
) -> Built:  # fmt: skip
    """Build the index in a folder, or add films to it.

    A duplicate id in the source is an error. With ``append``, a film whose id is in the index replaces the older one if
    its data has changed.

    Args:
        folder: folder of the index; created if missing.
        source: the films.
        encoder: of the texts.
        kind: a name in ``faiss_index.KINDS``; ``auto`` chooses by the number of films.
        append: add to the current version; otherwise the new version has only the films of the source.
        overwrite: drop an unfinished build of other data.
        wait: wait for a running build; otherwise a running build is an error.
        on_progress: called with a stage and its number of films.

    Raises:
        InvalidIndex: no films, a duplicate id, a damaged index or one of another encoder, or another running or
            unfinished build.
    """
    if kind != "auto":
        faiss_index.kind_of(kind)
    busy = InvalidIndex(f"another build of {folder} is running; wait for it")
    with locked(folder / "lock", timeout=-1 if wait else 0, busy=busy):
        before = versions.current(folder)
        if before and versions.inputs_of(folder / versions.WORK) == before.manifest.made_from:
            versions.drop(folder / versions.WORK)  # of a published build that was killed before it could drop it
        model = {"encoder": encoder.name, "dimension": encoder.dimension}
        inputs = {"format": versions.FORMAT, **model, "origin": source.origin}
        if before and not append and _is_built_from(before, inputs, kind):
            return Built(before)
        base = _base(folder, before, encoder) if append else None
        work = BuildWorkspace(folder / versions.WORK, inputs | {"base": base.name if base else None}, overwrite)
        try:
            tally = _encoded(work, source.films, encoder, base, on_progress)
            built = _published(folder, work, base, kind, tally, on_progress)
        finally:
            work.films.close()
        versions.drop(folder / versions.WORK)
        return built


def _is_built_from(version: Version, inputs: dict[str, Any], kind: str) -> bool:
    wanted = faiss_index.kind_for(version.manifest.count) if kind == "auto" else kind
    return dict(version.manifest.made_from) == inputs | {"base": None} and version.manifest.kind == wanted


def _base(folder: Path, before: Version | None, encoder: IndexEncoder) -> Version:
    if before is None:
        raise InvalidIndex(f"{folder} has no index to add to; leave --append out")
    versions.check(before, encoder.name, encoder.dimension)
    return before


def _encoded(
    work: BuildWorkspace, films: Iterable[Film], encoder: IndexEncoder, base: Version | None, on_progress: OnProgress
) -> dict[str, int]:  # fmt: skip
    """Encode the films that are not in the workspace yet; returns the counts."""
    tally = {"read": 0, "without_text": 0, "unchanged": 0} | work.films.tally
    there = Catalog(base.path / FILMS) if base else None
    rest = islice(films, tally["read"], None)
    while chunk := list(islice(rest, _CHUNK)):
        with_text = [film for film in chunk if film.words]
        fresh = [film for film in with_text if not (there and _unchanged(film, there))]
        tally["read"] += len(chunk)
        tally["without_text"] += len(chunk) - len(with_text)
        tally["unchanged"] += len(with_text) - len(fresh)
        work.add(fresh, encoder.encode([film.words for film in fresh]), tally)
        on_progress("encoded", tally["read"])
    if there:
        there.close()
    return tally


def _unchanged(film: Film, there: Catalog) -> bool:
    older = there.by_id(film.id)
    without_text = replace(film, text="")
    return older is not None and (older.film, older.digest) == (without_text, text_digest(film.words))


def _published(
    folder: Path, work: BuildWorkspace, base: Version | None, kind: str, tally: dict[str, int], on_progress: OnProgress
) -> Built:  # fmt: skip
    """Write and publish a new version from the base and the workspace."""
    on_progress("indexing", work.count)
    if not work.count:
        if base is None:
            raise InvalidIndex("there are no films to index")
        return Built(base, unchanged=tally["unchanged"], without_text=tally["without_text"])
    name, new = _fresh(folder)
    rows = _files(new, work, base)
    films, dimension = Catalog(new / FILMS), work.inputs["dimension"]
    count = films.count
    index = _faiss_index(base, faiss_index.mapped_vectors(new / VECTORS, count, dimension), rows, kind)
    index.save(new / versions.SEARCHED)
    texts = digest_of("".join(entry.digest for entry in films.everything()))
    manifest = Manifest(
        work.inputs["encoder"], dimension, count, films.repeated, index.kind, index.effort, index.recall,
        texts, work.inputs, datetime.now(UTC).isoformat(timespec="seconds"), versions.facts(new),
    )  # fmt: skip
    films.close()
    version = versions.publish(folder, new, name, manifest)
    _prune(folder, {name, base.name if base else ""})
    added = count - (base.manifest.count if base else 0)
    return Built(version, added, work.count - added, tally["unchanged"], tally["without_text"])


def _fresh(folder: Path) -> tuple[str, Path]:
    """Name of the next version, and an empty folder for its files."""
    above = folder / versions.VERSIONS
    above.mkdir(exist_ok=True)
    taken = [int(path.name) for path in above.iterdir() if path.name.isdigit()]
    name = f"{max(taken, default=0) + 1:06}"
    for unfinished in above.glob("*.new"):
        versions.drop(unfinished)
    new = above / f"{name}.new"
    new.mkdir()
    return name, new


def _files(new: Path, work: BuildWorkspace, base: Version | None) -> Rows | None:
    """Write films and vectors of the new version; returns the changed rows, None if all are new."""
    if base is None:
        for name in (FILMS, VECTORS):
            _link(work.folder / name, new / name)  # the workspace stays complete until the version is published
        return None
    for name in (FILMS, VECTORS):
        shutil.copyfile(base.path / name, new / name)
    films = Catalog(new / FILMS, writable=True)
    rows = films.merge(work.films.everything())
    films.close()
    vectors = work.vectors()
    for start in range(0, len(rows), _SLICE):
        some = slice(start, start + _SLICE)
        faiss_index.write_vectors(new / VECTORS, work.inputs["dimension"], rows[some], vectors[some])
    return rows


def _link(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:  # not every file system has hard links
        shutil.copyfile(old, new)


def _faiss_index(base: Version | None, vectors: Vectors, rows: Rows | None, kind: str) -> VectorIndex:
    """The base's index with the new vectors added if possible, or else a new index."""
    before, wanted = base.manifest if base else None, kind
    if kind == "auto":
        wanted = before.kind if before and before.kind != "flat" else faiss_index.kind_for(len(vectors))
    if base is None or before is None or rows is None or wanted == "flat" or wanted != before.kind:
        return faiss_index.made(wanted, vectors)
    if rows.min() < before.count or len(vectors) > 2 * before.count:  # replaced vectors, or too many for its centres
        return faiss_index.made(wanted, vectors)
    return base.vector_index().extended(vectors)


def _prune(folder: Path, kept: set[str]) -> None:
    """Drop old versions except the last one, which a reader may be opening."""
    for path in (folder / versions.VERSIONS).iterdir():
        if path.name not in kept:
            versions.drop(path)
