"""Building an index, or adding to one, so that an end at any moment loses nothing that was finished.

Films are encoded chunk by chunk into the folder ``work``: first a chunk's vectors, then, in one transaction, its films
and how far the source was read. Whoever starts again goes on behind the last whole chunk. Only when all is encoded is a
new version put together beside the old one and put in force in one step.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from prompts.files import locked
from similarity.errors import InvalidIndex
from similarity.film import Film, digest_of
from similarity.index import faiss_index, vector_file
from similarity.index.catalog import Catalog, Entry
from similarity.index.manifest import (
    FILMS,
    FORMAT,
    SEARCHED,
    VECTORS,
    VERSIONS,
    WORK,
    Manifest,
    Version,
    check_encoder,
    check_whole,
    current,
    facts,
    publish,
    write,
)  # fmt: skip
from similarity.index.workspace import BuildWorkspace, drop, label_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from similarity.index.faiss_index import Rows, VectorIndex, Vectors

OnProgress = Callable[[str, int], None]

_CHUNK = 1_024  # films encoded at once: two megabytes of vectors and some of text, and half a minute's work to lose
_SLICE = 65_536


class IndexEncoder(Protocol):
    """Who makes vectors of texts."""

    name: str

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, shape (texts, dimension)."""


@dataclass(frozen=True)
class Built:
    """What a build came to.

    Attributes:
        version: the one in force now.
        added: films that were not there before.
        replaced: films whose id was there with other data; the newer row is in their place.
        unchanged: films that were there as they are, left alone.
        wordless: films with neither text nor title, left out.
    """

    version: Version
    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    wordless: int = 0


@dataclass(frozen=True)
class FilmSource:
    """What is built from.

    Attributes:
        films: read once, in an order that is the same every time.
        origin: digest of the data and of how it is read; a build goes on only with the same.
    """

    films: Iterable[Film]
    origin: str


def build(
    folder: Path, source: FilmSource, encoder: IndexEncoder, *, kind: str = "auto", append: bool = False,
    overwrite: bool = False, wait: bool = False, on_progress: OnProgress = lambda stage, count: None,
) -> Built:  # fmt: skip
    """Make the index of a folder, or add films to it.

    An id that stands twice in the source is an error. When films are added, one whose id is there already is left
    alone where nothing has changed, and takes the older one's place where something has.

    Args:
        folder: of the index; made where it is not there.
        source: the films.
        encoder: who makes their vectors.
        kind: a name in ``index.KINDS``; ``auto`` takes what suits the number of films.
        append: add to the version in force; otherwise the new version holds the source alone.
        overwrite: drop what an unfinished build of something else has left.
        wait: let a build that is under way end first; otherwise that is an error.
        on_progress: called with a stage and its number of films as they are done.

    Raises:
        InvalidIndex: nothing to index, an id twice, an index of another encoder or a damaged one to add to, another
            build under way or unfinished.
    """
    if kind != "auto" and kind not in faiss_index.KINDS:
        raise InvalidIndex(f"there is no kind of index {kind!r}; kinds: auto, {', '.join(faiss_index.KINDS)}")
    with _alone(folder, wait):
        before = current(folder)
        _clear_finished(folder / WORK, before)
        asked = {"format": FORMAT, "encoder": encoder.name, "dimension": encoder.dimension, "origin": source.origin}
        if before and not append and _is_of(before, asked, kind):
            return Built(before)
        base = _base(folder, before, encoder) if append else None
        work = BuildWorkspace(
            folder / WORK, asked | {"base": base.name if base else None}, encoder.dimension, overwrite
        )
        try:
            tally = _encoded(work, source.films, encoder, base, on_progress)
            built = _put_together(folder, work, base, kind, tally, on_progress)
        finally:
            work.films.close()
        drop(folder / WORK)
        return built


def _clear_finished(work: Path, before: Version | None) -> None:
    """Drop the work of a build that was put in force, but ended before it could drop it itself."""
    if before and label_of(work) == before.manifest.made_from:
        drop(work)


def _is_of(version: Version, asked: dict[str, Any], kind: str) -> bool:
    """Whether a version is what would be built."""
    made_from = dict(version.manifest.made_from)
    wanted = faiss_index.kind_for(version.manifest.count) if kind == "auto" else kind
    return made_from == asked | {"base": None} and version.manifest.kind == wanted


def _base(folder: Path, before: Version | None, encoder: IndexEncoder) -> Version:
    if before is None:
        raise InvalidIndex(f"{folder} holds no index to add to; leave --append out")
    check_encoder(before, encoder.name, encoder.dimension)
    check_whole(before)
    return before


def _encoded(
    work: BuildWorkspace, films: Iterable[Film], encoder: IndexEncoder, base: Version | None, on_progress: OnProgress
) -> dict[str, int]:  # fmt: skip
    """Encode what the work does not have yet; returns the counts."""
    tally = {"read": 0, "wordless": 0, "unchanged": 0} | work.films.tally
    there = Catalog(base.path / FILMS) if base else None
    rest = islice(films, tally["read"], None)
    while chunk := list(islice(rest, _CHUNK)):
        worded = [film for film in chunk if film.words]
        fresh = [film for film in worded if not (there and _unchanged(film, there))]
        tally["read"] += len(chunk)
        tally["wordless"] += len(chunk) - len(worded)
        tally["unchanged"] += len(worded) - len(fresh)
        work.keep(fresh, encoder.encode([film.words for film in fresh]), tally)
        on_progress("encoded", tally["read"])
    if there:
        there.close()
    return tally


def _unchanged(film: Film, there: Catalog) -> bool:
    older = there.by_id(film.id)
    if older is None or older.digest != digest_of(film.words):
        return False
    same = older.film
    return (same.title, same.year, same.genres) == (film.title, film.year, film.genres)


def _put_together(
    folder: Path, work: BuildWorkspace, base: Version | None, kind: str, tally: dict[str, int], on_progress: OnProgress
) -> Built:  # fmt: skip
    """A new version of the base and the work, in force when this returns."""
    on_progress("indexing", work.count)
    if not work.count:
        if base is None:
            raise InvalidIndex("there are no films to index")
        return Built(base, unchanged=tally["unchanged"], wordless=tally["wordless"])
    name, new = _fresh(folder)
    rows = _files(new, work, base)
    films = Catalog(new / FILMS)
    count = films.count
    held = vector_file.mapped(new / VECTORS, count, work.asked["dimension"])
    searched = _searched(base, held, rows, kind)
    searched.save(new / SEARCHED)
    manifest = Manifest(
        work.asked["encoder"], work.asked["dimension"], count, films.repeated, searched.kind, searched.effort,
        searched.recall, _digest(films.everything()), work.asked, datetime.now(UTC).isoformat(timespec="seconds"),
        facts(new),
    )  # fmt: skip
    films.close()
    write(new, manifest)
    publish(folder, new, name)
    _prune(folder, {name, base.name if base else ""})
    added = count - (base.manifest.count if base else 0)
    return Built(
        Version(folder / VERSIONS / name, manifest), added, work.count - added, tally["unchanged"], tally["wordless"]
    )


def _fresh(folder: Path) -> tuple[str, Path]:
    """The name of the next version, and an empty folder to make it in."""
    versions = folder / VERSIONS
    versions.mkdir(exist_ok=True)
    taken = [int(path.name) for path in versions.iterdir() if path.name.isdigit()]
    name = f"{max(taken, default=0) + 1:06}"
    for left in versions.glob("*.new"):
        drop(left)
    new = versions / f"{name}.new"
    new.mkdir()
    return name, new


def _files(new: Path, work: BuildWorkspace, base: Version | None) -> Rows | None:
    """Films and vectors of the new version; returns the rows that changed, None where all are new."""
    if base is None:
        for name in (FILMS, VECTORS):
            _link(work.folder / name, new / name)  # the work stays whole until the version is in force
        return None
    for name in (FILMS, VECTORS):
        shutil.copyfile(base.path / name, new / name)
    films = Catalog(new / FILMS, writable=True)
    rows = films.merge(work.films.everything())
    films.close()
    made = work.vectors()
    for start in range(0, len(rows), _SLICE):
        some = slice(start, start + _SLICE)
        vector_file.replace(new / VECTORS, work.asked["dimension"], rows[some], made[some])
    return rows


def _link(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:  # not every file system has hard links
        shutil.copyfile(old, new)


def _searched(base: Version | None, held: Vectors, rows: Rows | None, kind: str) -> VectorIndex:
    """The base's own index with more in it where that will do, or else a new one."""
    wanted = kind
    if kind == "auto":
        approximate = base is not None and base.manifest.kind != "flat"
        wanted = base.manifest.kind if base and approximate else faiss_index.kind_for(len(held))
    if base is None or rows is None or wanted == "flat" or wanted != base.manifest.kind:
        return faiss_index.made(wanted, held)
    before = base.manifest
    if rows.min() < before.count or len(held) > 2 * before.count:  # something replaced, or its centres outgrown
        return faiss_index.made(wanted, held)
    older = vector_file.mapped(base.path / VECTORS, before.count, before.dimension)
    loaded = faiss_index.loaded(wanted, older, base.path / SEARCHED, before.effort, before.recall)
    return loaded.extended(held)


def _digest(entries: Iterator[Entry]) -> str:
    total = hashlib.sha256()
    for entry in entries:
        total.update(entry.digest.encode())
    return total.hexdigest()


def _prune(folder: Path, kept: set[str]) -> None:
    """Drop old versions, but not the last one: a reader may be about to open it."""
    for path in (folder / VERSIONS).iterdir():
        if path.name not in kept:
            drop(path)


@contextmanager
def _alone(folder: Path, wait: bool) -> Iterator[None]:
    """Hold the folder against other builds; the lock ends with the process, however that ends."""
    busy = InvalidIndex(f"another build of {folder} is under way; let it end")
    with locked(folder / "lock", timeout=-1 if wait else 0, busy=busy):
        yield
