"""Versions of what is learned from feedback: one folder per taxonomy, with a pointer to the version in force.

::

    TAXONOMY/current            name of the version in force and digest of its manifest; replaced atomically
    TAXONOMY/versions/000001/   manifest.json, one of threshold.json, examples.json and head/, and runs/ of its gate

No file has a text: examples are named by the digests of their texts, which are read from the file of feedback.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prompts import files
from prompts.errors import InvalidSetting
from prompts.files import digest_of, locked, read_text, write_text_atomically

MANIFEST, CURRENT, VERSIONS = "manifest.json", "current", "versions"
THRESHOLD, EXAMPLES, HEAD, RUNS = "threshold.json", "examples.json", "head", "runs"
FORMAT = 1


@dataclass(frozen=True)
class LearnedManifest:
    """What a version was learned from, and how it was measured.

    Attributes:
        taxonomy: name and digest of the taxonomy.
        labels: its labels at the time.
        multi: whether a text may have several of them.
        kind: what was learned: ``threshold``, ``examples`` or ``head``.
        model: model whose answers it changes; ``strategy`` is that of a language model.
        texts: number of texts by part: ``fit``, ``selection`` and ``held_out``.
        selection: micro-F1 on the texts of the selection, by candidate; ``today`` are the answers in force.
        gate: margin and differences on the held-out texts.
        made: ISO 8601 time in UTC.
        previous: the version in force before; empty for none.
        files: SHA-256 of the parts by name.
        trained: version of the trained model whose answers it changes (``Trained.version``); empty for other models.
        format: format of the folder.
    """

    taxonomy: str
    labels: tuple[str, ...]
    multi: bool
    kind: str
    model: str
    strategy: str | None
    texts: Mapping[str, int]
    selection: Mapping[str, float]
    gate: Mapping[str, Any]
    made: str
    previous: str
    files: Mapping[str, str]
    trained: str = ""
    format: int = FORMAT


@dataclass(frozen=True)
class LearnedVersion:
    """A version: its folder and its manifest."""

    path: Path
    manifest: LearnedManifest

    @property
    def name(self) -> str:
        """Name of its folder, a number."""
        return self.path.name


class TaxonomyVersions:
    """The versions of one taxonomy, in ``folder``, which need not exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def current(self) -> LearnedVersion | None:
        """The version in force; None for none.

        Raises:
            InvalidSetting: the pointer, the manifest or a part is damaged.
        """
        pointer = self.folder / CURRENT
        if not pointer.exists():
            return None
        words = read_text(pointer, InvalidSetting).split()
        if len(words) != 2:
            raise InvalidSetting(f"{pointer} is damaged; run `main.py learn` again, or delete it")
        return self._read(*words)

    def stamp(self) -> tuple[int, int] | None:
        """Changes when another version is put in force; None for none."""
        try:
            status = (self.folder / CURRENT).stat()
            return status.st_mtime_ns, status.st_ino
        except OSError:
            return None

    def publish(self, new: Path, manifest: LearnedManifest) -> LearnedVersion:
        """Put the version whose parts are in the folder ``new`` in force; readers see the old or the new one.

        ``new`` is a folder of the same file system, and becomes that of the version.
        """
        content = f"{json.dumps(asdict(manifest), indent=2, ensure_ascii=False)}\n"
        (new / MANIFEST).write_text(content, encoding="utf-8")
        for file in (one for one in new.rglob("*") if one.is_file()):
            files.sync(file)
        with locked(self.folder / ".lock"):
            numbers = [int(one.name) for one in (self.folder / VERSIONS).glob("[0-9]*") if one.name.isdecimal()]
            place = self.folder / VERSIONS / f"{max(numbers, default=0) + 1:06d}"
            files.make_folder(place.parent)
            files.publish(new, place)
            self._point(place.name, digest_of(content))
        return LearnedVersion(place, manifest)

    def back(self) -> str:
        """Put the version before the current one in force; returns its name, empty for none.

        Raises:
            InvalidSetting: no version is in force, or the one before is damaged or was deleted.
        """
        with locked(self.folder / ".lock"):
            version = self.current()
            if version is None:
                raise InvalidSetting(f"{self.folder} has no version in force; `main.py learn` makes one")
            previous = version.manifest.previous
            if previous:
                content = read_text(self.folder / VERSIONS / previous / MANIFEST, InvalidSetting)
                self._point(previous, digest_of(content))
            else:
                (self.folder / CURRENT).unlink()
                files.sync(self.folder)
        return previous

    def _point(self, name: str, digest: str) -> None:
        write_text_atomically(self.folder / CURRENT, f"{name} {digest}\n")

    def _read(self, name: str, digest: str) -> LearnedVersion:
        path = self.folder / VERSIONS / name
        content = read_text(path / MANIFEST, InvalidSetting)
        try:
            found = json.loads(content)
            manifest = LearnedManifest(**{**found, "labels": tuple(found["labels"])})
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidSetting(f"{path / MANIFEST} is no manifest of a version ({error}); go back or learn") from None
        changed = [part for part, known in manifest.files.items() if not _is(path / part, known)]
        if digest_of(content) != digest or changed:
            raise InvalidSetting(f"{path / (changed[0] if changed else MANIFEST)} was changed or deleted; learn again")
        return LearnedVersion(path, manifest)


def parts_of_version(folder: Path) -> dict[str, str]:
    """SHA-256 of the parts of a version that are in its folder, by name."""
    return {name: digest_of(folder / name) for name in (THRESHOLD, EXAMPLES, HEAD) if (folder / name).exists()}


def _is(part: Path, digest: str) -> bool:
    return part.exists() and digest_of(part) == digest
