"""Runs the stale steps of a corpus in order; a manifest records inputs, settings and outputs of each step."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from corpus.annotate import annotate, annotator
from corpus.config import CLEANED, ENRICHED, FIGURES, MERGED, PLOTS, SENTENCES, TABLE, StepContext, StepResult
from corpus.steps import clean, explore, fill, merge
from prompts import registry
from prompts.errors import InvalidDataset, InvalidSetting, UnknownName
from prompts.files import digest_of, locked, write_text_atomically

NAME = "manifest.json"
_FORMAT = "marquee-corpus-1"
_LOCK = ".lock"

Settings = Mapping[str, Any]
OnStart = Callable[[str, str], object]  # called with the name of each step that is run, and the reason


@dataclass(frozen=True)
class Step:
    """A step of a corpus.

    Attributes:
        run: runs the step.
        reads: input files by their names in messages.
        writes: output files, each written atomically.
        settings: settings of the step; a change makes it stale.
        versions: versions of the libraries that the outputs depend on.
    """

    run: Callable[[StepContext], StepResult]
    reads: Callable[[StepContext], Mapping[str, Path]]
    writes: Sequence[str]
    settings: Callable[[StepContext], Settings] = lambda work: {}
    versions: Callable[[StepContext], Mapping[str, str]] = lambda work: {}


def _files(*names: str) -> Callable[[StepContext], Mapping[str, Path]]:
    return lambda work: {name: work.path(name) for name in names}


def _clean_settings(work: StepContext) -> Settings:
    options = work.config.clean
    digest = registry.taxonomy_at(options.taxonomy).digest if options.taxonomy else None
    return {**options.model_dump(), "digest": digest}


def _enrich_settings(work: StepContext) -> Settings:
    options = work.config.enrich
    return {**options.model_dump(), "providers": list(work.lookup.providers) if options.lookup else []}


def _annotate_versions(work: StepContext) -> Mapping[str, str]:
    options = work.config.annotate
    return {**annotator(options.lemmatiser, options.language).versions, "conllu": version("conllu")}


STEPS: Mapping[str, Step] = {
    "merge": Step(
        merge,
        lambda work: {"the source": work.config.source.path},
        (MERGED,),
        lambda work: {"path": str(work.config.source.path), "format": work.config.source.format},
    ),
    "clean": Step(clean, _files(MERGED), (CLEANED,), _clean_settings),
    "enrich": Step(fill, _files(CLEANED), (ENRICHED,), _enrich_settings),
    "explore": Step(explore, _files(MERGED, ENRICHED), (PLOTS, FIGURES)),
    "annotate": Step(
        annotate,
        _files(ENRICHED),
        (SENTENCES, TABLE),
        lambda work: work.config.annotate.model_dump(),
        _annotate_versions,
    ),
}


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

    settings: Settings
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    versions: Mapping[str, str]
    counts: Mapping[str, int]
    unfinished: int
    seconds: float
    at: str


@dataclass(frozen=True)
class Ran:
    """A checked step: why it was run (empty if up to date), and the record of its last run."""

    name: str
    why: str
    made: StepRecord


def run(work: StepContext, only: str | None = None, on_start: OnStart = lambda name, why: None) -> list[Ran]:
    """Run the stale steps, or the step ``only`` unconditionally.

    Raises:
        UnknownName: ``only`` is not a step.
        InvalidDataset: an earlier step that ``only`` depends on is stale.
        InvalidSetting: another process uses the folder.
    """
    if only is not None and only not in STEPS:
        raise UnknownName("step", only, STEPS)
    folder = work.config.out
    folder.mkdir(parents=True, exist_ok=True)
    busy = InvalidSetting(f"another process uses {folder}; wait for it, or set another out")
    with locked(folder / _LOCK, timeout=0, busy=busy):
        if only is None:
            return [_step(work, name, on_start) for name in STEPS]
        _check_before(work, only)
        return [_step(work, only, on_start, otherwise="requested")]


def stale(work: StepContext) -> dict[str, str]:
    """Why each step would be run now; empty if it is up to date."""
    records = _records(work.config.out)
    return {name: _why_stale(work, name, records) for name in STEPS}


def _records(folder: Path) -> dict[str, StepRecord]:
    """The manifest's records by step name; empty without a manifest."""
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


def _why_stale(work: StepContext, name: str, records: Mapping[str, StepRecord]) -> str:
    step, last = STEPS[name], records.get(name)
    if last is None:
        return "not made yet"
    changed = [key for key, value in step.settings(work).items() if last.settings.get(key) != value]
    if changed:
        return f"its settings changed: {', '.join(changed)}"
    for called, digest in _inputs(work, step).items():
        if digest != last.inputs.get(called):
            return f"{called} changed"
    for file in step.writes:
        if _digest_at(work.path(file)) != last.outputs.get(file):
            return f"{file} is missing or was changed"
    if dict(step.versions(work)) != last.versions:
        return "another version of its libraries"
    return f"{last.unfinished:,} rows had no answer last time" if last.unfinished else ""


def _step(work: StepContext, name: str, on_start: OnStart, otherwise: str = "") -> Ran:
    """Run a step if it is stale, or for another reason."""
    records = _records(work.config.out)
    why = _why_stale(work, name, records) or otherwise
    if why:
        on_start(name, why)
        records[name] = _record(work, STEPS[name])
        body = {"format": _FORMAT, "steps": {name: asdict(made) for name, made in records.items()}}
        write_text_atomically(work.config.out / NAME, json.dumps(body, ensure_ascii=False, indent=1) + "\n")
    return Ran(name, why, records[name])


def _record(work: StepContext, step: Step) -> StepRecord:
    """Run a step; returns its record."""
    start = time.monotonic()
    inputs = _inputs(work, step)  # before the run, so that a change during the run makes the step stale
    done = step.run(work)
    return StepRecord(
        settings=dict(step.settings(work)),
        inputs=inputs,
        outputs={file: _digest_at(work.path(file)) for file in step.writes},
        versions=dict(step.versions(work)),
        counts=dict(done.counts),
        unfinished=done.unfinished,
        seconds=round(time.monotonic() - start, 2),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _inputs(work: StepContext, step: Step) -> dict[str, str]:
    return {called: _digest_at(path) for called, path in step.reads(work).items()}


def _digest_at(path: Path) -> str:
    """Digest (12 hex digits) of a file or of the files in a folder; empty if there is none."""
    there = path.is_file() or any(one.is_file() for one in path.rglob("*"))
    return digest_of(path, 12) if there else ""


def _check_before(work: StepContext, only: str) -> None:
    records, names = _records(work.config.out), list(STEPS)
    for name in names[: names.index(only)]:
        why = _why_stale(work, name, records)
        unfinished = name in records and records[name].unfinished
        if why and not unfinished and set(STEPS[name].writes) & set(_files_before(work, only)):
            raise InvalidDataset(
                f"{only} depends on {name}, which is stale ({why}); run --only {name} first, or all steps"
            )


def _files_before(work: StepContext, name: str) -> list[str]:
    """Files of the corpus that a step depends on, directly or indirectly."""
    files = [path.name for path in STEPS[name].reads(work).values()]
    before = [one for one, step in STEPS.items() if set(step.writes) & set(files)]
    return files + [file for one in before for file in _files_before(work, one)]
