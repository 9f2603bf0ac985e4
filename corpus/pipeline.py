"""Runs the stale steps of a corpus; a manifest records inputs, settings and outputs of each step."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from corpus.config import StepContext
from corpus.steps import STEPS
from prompts.errors import InvalidDataset, InvalidSetting, UnknownName
from prompts.files import digest_of, locked, write_text_atomically

NAME = "manifest.json"
_FORMAT = "marquee-corpus-1"


@dataclass(frozen=True)
class StepRecord:
    """Record of a step in the manifest.

    Attributes:
        settings: settings of the step.
        inputs: digest of each input file.
        outputs: digest of each output file.
        versions: versions of the libraries that the outputs depend on.
        counts: counts by description.
        unfinished: rows that a repeated step may still complete.
        seconds: duration.
        at: end of the step (UTC, ISO 8601).
    """

    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    versions: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    unfinished: int = 0
    seconds: float = 0.0
    at: str = ""


def read_manifest(folder: Path) -> dict[str, StepRecord]:
    """Records by step name; empty without a manifest.

    Raises:
        InvalidDataset: the file is not a manifest of a corpus.
    """
    path = folder / NAME
    if not path.exists():
        return {}
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["format"] != _FORMAT:
            raise ValueError(body["format"])
        return {name: StepRecord(**made) for name, made in body["steps"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidDataset(f"{path} is not a manifest of a corpus; remove it to repeat all steps") from None


def write_manifest(folder: Path, steps: Mapping[str, StepRecord]) -> None:
    """Write the manifest atomically."""
    body = {"format": _FORMAT, "steps": {name: asdict(made) for name, made in steps.items()}}
    write_text_atomically(folder / NAME, json.dumps(body, ensure_ascii=False, indent=1) + "\n")


def digest_at(path: Path) -> str:
    """Digest (12 hex digits) of a file or of the files in a folder; empty if there is none."""
    there = path.is_file() or any(one.is_file() for one in path.rglob("*"))
    return digest_of(path, 12) if there else ""


_LOCK = ".lock"


@dataclass(frozen=True)
class Ran:
    """A checked step: why it was run (empty if up to date), and the record of its last run."""

    name: str
    why: str
    made: StepRecord


def run(
    work: StepContext, only: str | None = None, began: Callable[[str, str], object] = lambda name, why: None
) -> list[Ran]:
    """Run the stale steps, or one step unconditionally.

    Args:
        work: the context.
        only: name of the one step.
        began: called with the name of each step that is run, and the reason.

    Raises:
        UnknownName: ``only`` is not a step.
        InvalidDataset: an earlier step that ``only`` depends on is stale.
        InvalidSetting: another process uses the folder.
    """
    if only is not None and only not in STEPS:
        raise UnknownName("step", only, STEPS)
    work.config.out.mkdir(parents=True, exist_ok=True)
    with _locked(work.config.out):
        names = list(STEPS) if only is None else [only]
        if only is not None:
            _check_before(work, only)
        return [_step(work, name, forced=only is not None, began=began) for name in names]


def stale(work: StepContext) -> dict[str, str]:
    """Why each step would be run now; empty if it is up to date."""
    made = read_manifest(work.config.out)
    return {name: why_stale(work, name, made) for name in STEPS}


def why_stale(work: StepContext, name: str, made: Mapping[str, StepRecord]) -> str:
    """Why a step must be run again; empty if it is up to date."""
    step, last = STEPS[name], made.get(name)
    if last is None:
        return "not made yet"
    changed = [key for key, value in step.settings(work).items() if last.settings.get(key) != value]
    if changed:
        return f"its settings changed: {', '.join(changed)}"
    for called, path in step.reads(work).items():
        if digest_at(path) != last.inputs.get(called):
            return f"{called} changed"
    for file in step.writes:
        if digest_at(work.path(file)) != last.outputs.get(file):
            return f"{file} is missing or was changed"
    if dict(step.versions(work)) != last.versions:
        return "another version of its libraries"
    return f"{last.unfinished:,} rows had no answer last time" if last.unfinished else ""


def _step(work: StepContext, name: str, forced: bool, began: Callable[[str, str], object]) -> Ran:
    made = read_manifest(work.config.out)
    why = why_stale(work, name, made) or ("requested" if forced else "")
    if not why:
        return Ran(name, "", made[name])
    began(name, why)
    made[name] = _made(work, name)
    write_manifest(work.config.out, made)
    return Ran(name, why, made[name])


def _made(work: StepContext, name: str) -> StepRecord:
    step, start = STEPS[name], time.monotonic()
    # Digests are taken before the run, so that a change during the run makes the step stale.
    inputs = {called: digest_at(path) for called, path in step.reads(work).items()}
    done = step.run(work)
    return StepRecord(
        settings=dict(step.settings(work)),
        inputs=inputs,
        outputs={file: digest_at(work.path(file)) for file in step.writes},
        versions=dict(step.versions(work)),
        counts=dict(done.counts),
        unfinished=done.unfinished,
        seconds=round(time.monotonic() - start, 2),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _check_before(work: StepContext, only: str) -> None:
    made = read_manifest(work.config.out)
    for name in list(STEPS)[: list(STEPS).index(only)]:
        why = why_stale(work, name, made)
        if why and not (made.get(name) and made[name].unfinished) and set(STEPS[name].writes) & set(_read(work, only)):
            raise InvalidDataset(
                f"{only} depends on {name}, which is stale ({why}); run --only {name} first, or all steps"
            )


def _read(work: StepContext, name: str) -> list[str]:
    """Files of the corpus that a step depends on, directly or indirectly."""
    files = [path.name for path in STEPS[name].reads(work).values()]
    before = [one for one, step in STEPS.items() if set(step.writes) & set(files)]
    return files + [file for one in before for file in _read(work, one)]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder for this process."""
    busy = InvalidSetting(f"another process uses {folder}; wait for it, or set another out")
    with locked(folder / _LOCK, timeout=0, busy=busy):
        yield
