"""What a run is: its parts, what must be the same for it to go on, and the folder where it stands until it is whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulk.columns import TextColumns
from bulk.source import InputFiles, digest_of
from llm.classifier import Classifier
from llm.provenance import differences, recorded_in_both
from prompts.errors import Interrupted, InvalidSetting
from prompts.files import locked, write_text_atomically
from prompts.taxonomy import Taxonomy

Manifest = dict[str, Any]

ADDED = ("labels", "scores", "source", "problem")
MANIFEST, ANSWERS, MERGED, _LOCK = "manifest.json", "answers.sqlite", "merged", "lock"
_TOLD = {
    "files": "the input has changed",
    "columns": "other columns were read",
    "taxonomy": "another taxonomy was asked for",
    "system": "another system was asked",
    "setup": "the system had other settings",
}


@dataclass(frozen=True)
class ClassifierSpec:
    """Whom to ask.

    Attributes:
        spec: how the command line names it.
        setup: what tells it from another one of the same spec, as JSON takes it.
        open: loads it; picklable where it is to be opened on other machines.
    """

    spec: str
    setup: Mapping[str, Any]
    open: Callable[[], Classifier]


@dataclass(frozen=True)
class Job:
    """A run.

    Attributes:
        source: the rows.
        columns: what is read of them.
        taxonomy: the taxonomy.
        asked: who labels.
        out: the file that is written.
        batch: texts that are asked at once, and kept at once.
        prefix: stands before the names of the columns that are added.
    """

    source: InputFiles
    columns: TextColumns
    taxonomy: Taxonomy
    asked: ClassifierSpec
    out: Path
    batch: int = 512
    prefix: str = ""

    @property
    def added(self) -> tuple[str, ...]:
        """Names of the columns that are added."""
        return tuple(self.prefix + name for name in ADDED)

    @property
    def folder(self) -> Path:
        """Where everything stands until the output is whole."""
        return parts_of(self.out)

    @property
    def done(self) -> Path:
        """The manifest that stays beside a finished output."""
        return done_of(self.out)

    def manifest(self, before: Manifest | None = None) -> Manifest:
        """Facts that must be the same for a run to be resumed.

        A file whose size and modification time are the same as in ``before`` is not read again.

        Raises:
            InvalidDataset: a file cannot be read.
        """
        known = {_stamp(file): file["digest"] for file in (before or {}).get("files", [])}
        files = [
            {**file, "digest": known.get(_stamp(file)) or digest_of(path)}
            for file, path in zip(self.source.stamps(), self.source.files, strict=True)
        ]
        return {
            "files": files,
            "columns": self.columns.as_json(),
            "taxonomy": {"name": self.taxonomy.name, "digest": self.taxonomy.digest},
            "system": self.asked.spec,
            "setup": json.loads(json.dumps(self.asked.setup)),
        }


def parts_of(out: Path) -> Path:
    """The folder beside an output that holds it until it is whole."""
    return out.with_name(f"{out.name}.parts")


def done_of(out: Path) -> Path:
    """The file beside a finished output that tells how it was made."""
    return out.with_name(f"{out.name}.manifest.json")


def _stamp(file: Mapping[str, Any]) -> tuple[Any, ...]:
    return file["name"], file["bytes"], file["changed"]


def refuse_another(kept: Manifest, job: Manifest, where: Path, remedy: str) -> None:
    """Say what differs between what a folder or file was made for and what is asked for now.

    Raises:
        InvalidSetting: something does.
    """
    before, setup = recorded_in_both(kept.get("setup") or {}, job["setup"])
    kept, job = kept | {"setup": before}, job | {"setup": setup}
    for part, on_progress in _TOLD.items():
        if _essence(kept.get(part)) != _essence(job[part]):
            which = f" ({'; '.join(differences(before, setup).values())})" if part == "setup" else ""
            raise InvalidSetting(f"{where} belongs to another run: {on_progress}{which}; {remedy}")


def _essence(part: Any) -> Any:
    """Of files, names and contents: a copy that is the same may have been changed at another time."""
    if not isinstance(part, list):
        return part
    return [(file["name"], file["bytes"], file["digest"]) for file in part]


def check_unchanged(source: InputFiles, kept: Manifest) -> None:
    """Raise where a file has changed since the run began.

    Raises:
        Interrupted: one has.
    """
    kept_stamps = [_stamp(file) for file in kept["files"]]
    if (found := [_stamp(file) for file in source.stamps()]) != kept_stamps:
        changed = sorted({str(one[0]) for one in set(found) ^ set(kept_stamps)})
        raise Interrupted(
            f"{', '.join(changed)} changed while it was read; nothing was written. Put the old file back and run the "
            "same command again, or start over with --overwrite"
        )


def read_manifest(path: Path) -> Manifest | None:
    """A manifest; None where there is none.

    Raises:
        InvalidSetting: it is none.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InvalidSetting(f"{path} cannot be read ({error}); --overwrite starts over") from None


def write_whole(path: Path, words: str) -> None:
    """Write a small file, whole or not at all."""
    with writing(path):
        write_text_atomically(path, words)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell in words what stood against writing.

    Raises:
        Interrupted: the disk is full, the place may not be written to, or the like.
    """
    try:
        yield
    except OSError as error:
        raise Interrupted(
            f"cannot write {path}: {error.strerror or error}; what was answered before is kept: mend that and run the "
            "same command again"
        ) from None


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder, for one process alone; made where it is not there.

    Raises:
        InvalidSetting: another process has it.
        Interrupted: it cannot be made.
    """
    busy = InvalidSetting(f"another run is writing to {folder}; let it end, or give another --out")
    with ExitStack() as stack:
        with writing(folder):
            # A run that has just ended removes the folder with its lock; a moment later the lock can be had.
            stack.enter_context(locked(folder / _LOCK, timeout=0.2, busy=busy))
        try:
            yield
        finally:
            if folder.exists() and not _left(folder):
                shutil.rmtree(folder)


def clear(folder: Path) -> None:
    """Take away all that a folder holds but its lock."""
    for path in _left(folder):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _left(folder: Path) -> Sequence[Path]:
    return [path for path in folder.iterdir() if path.name != _LOCK]
