"""Runs the steps that are stale, and says why they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from corpus.context import StepContext
from corpus.manifest import StepRecord, digest_at, read_manifest, write_manifest
from corpus.steps import STEPS
from prompts.errors import InvalidDataset, InvalidSetting, UnknownName
from prompts.files import locked

_LOCK = ".lock"


@dataclass(frozen=True)
class Ran:
    """A step that was looked at; ``why`` is empty where it was fresh, and ``made`` tells of its last run."""

    name: str
    why: str
    made: StepRecord


def run(
    work: StepContext, only: str | None = None, began: Callable[[str, str], object] = lambda name, why: None
) -> list[Ran]:
    """Run what is stale, or one step alone, whether it is stale or not.

    Args:
        work: the configuration, and who looks up.
        only: name of the one step.
        began: called with each step that is run, and why.

    Raises:
        UnknownName: no such step.
        InvalidDataset: a step before the one step is stale, so that it would work on what is no more.
        InvalidSetting: another process works in the folder.
    """
    if only is not None and only not in STEPS:
        raise UnknownName("step", only, STEPS)
    work.config.out.mkdir(parents=True, exist_ok=True)
    with _held(work.config.out):
        names = list(STEPS) if only is None else [only]
        if only is not None:
            _check_before(work, only)
        return [_step(work, name, forced=only is not None, began=began) for name in names]


def stale(work: StepContext) -> dict[str, str]:
    """Why each step would be run now; empty for those that are fresh."""
    made = read_manifest(work.config.out)
    return {name: why_stale(work, name, made) for name in STEPS}


def why_stale(work: StepContext, name: str, made: Mapping[str, StepRecord]) -> str:
    """Why a step does not stand as its inputs and settings would have it; empty where it does."""
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
    why = why_stale(work, name, made) or ("asked for" if forced else "")
    if not why:
        return Ran(name, "", made[name])
    began(name, why)
    made[name] = _made(work, name)
    write_manifest(work.config.out, made)
    return Ran(name, why, made[name])


def _made(work: StepContext, name: str) -> StepRecord:
    step, start = STEPS[name], time.monotonic()
    # Before the run: what changes while it runs makes it stale.
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
            raise InvalidDataset(f"{only} would work on a stale {name} ({why}); run --only {name} first, or all steps")


def _read(work: StepContext, name: str) -> list[str]:
    """The files of the corpus that a step rests on, directly or not."""
    files = [path.name for path in STEPS[name].reads(work).values()]
    before = [one for one, step in STEPS.items() if set(step.writes) & set(files)]
    return files + [file for one in before for file in _read(work, one)]


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep the folder to this process; the hold ends with the process, however that ends."""
    busy = InvalidSetting(f"another process works in {folder}; wait for it, or set another out")
    with locked(folder / _LOCK, timeout=0, busy=busy):
        yield
