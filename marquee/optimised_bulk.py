"""Bulk labelling that trains its own small model: `main.py bulk --optimize`.

A language model, the teacher, labels a sample of the table. A head over frozen vectors is fitted to a part of it. On
the rest it is certified (``eval.certified_cascade``) from which margin on the head answers alone, so that at most a
given share of all rows differs from the teacher. The teacher answers the other rows.

Everything is kept in ``OUT.optimize`` beside the output: ``answers.sqlite`` has the teacher's answers to the sample,
each paid for once; ``head/`` is a trained model as any other (``serve --trained``); ``optimized.json`` says what was
certified.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bulk.answer_store import JobStore, StoredAnswer
from bulk.job import (
    ClassifierSpec,
    Job,
    Manifest,
    checked_manifest,
    clear,
    locked_folder,
    read_manifest,
    write_manifest,
)
from eval.baselines import TrainingPlan, load
from eval.baselines.fitting import KIND, FittedTable, fit_table
from eval.certified_cascade import Certified, Goal, Labeller, certify, populations
from eval.datasets import Example
from llm.classifier import Classifier
from llm.spending.spend_cap import SpendMeter
from llm.wrappers.combined import Cascade, margin
from marquee.bulk_teacher import BulkTeacher, drawn
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.files import digest_of, write_text_atomically
from prompts.text import Text

SMALL = f"trained/{KIND}"
"""The name of the head in the rows that it answers."""
POOL = 4_000  # texts for which the head is certified
LEAST = 200  # different texts below which the teacher labels all of them at little more cost
_FIRST = 64  # labels of the first training, at least; each further one has twice as many
_FIRST_SHARE = 20  # a twentieth of the sample for the first training: fewer labels tell little about the gain of more
_GAIN = 0.01  # of the head's quality, below which it gets no more labels
_LEAST_TARGET = 0.01  # of the certification; a table of few texts may permit that all of the rest differ
_ANSWERS, _HEAD, _RESULT, _MANIFEST = "answers.sqlite", "head", "optimized.json", "manifest.json"

OnNote = Callable[[str], object]


@dataclass(frozen=True)
class OptimisePlan:
    """What is certified, and at which cost.

    Attributes:
        max_error: share of the rows whose labels differ from the teacher's, at most.
        delta: probability that the share is higher.
        budget: maximum number of labels of the teacher for training and certification; training gets half of them.
        seed: of the sample.
    """

    max_error: float = 0.05
    delta: float = 0.05
    budget: int = 1_000
    seed: int = 0


@dataclass(frozen=True)
class Optimised:
    """What a head was trained on, and what is certified about it.

    Attributes:
        trained: labels that the head was fitted to.
        labelled: labels of the teacher in total.
        quality: cross-validated agreement with the teacher (accuracy, or micro-F1 for several labels).
        margin: the least margin of an answer of the head; None: nothing was certified, and the teacher answers all.
        share: part of the texts that the head answers, estimated on the sample.
        stopped: why no lower margin was certified.
        head: digest of the head.
    """

    trained: int
    labelled: int
    quality: float
    margin: float | None
    share: float
    stopped: str
    head: str


@dataclass(frozen=True)
class OptimisedJob:
    """A job whose rows a certified head answers, and the answers of the teacher that are there already."""

    job: Job
    found: Optimised
    known: Sequence[StoredAnswer]
    folder: Path


def optimised(
    job: Job, plan: OptimisePlan, patience: float | None, meter: SpendMeter | None, log: OnNote
) -> OptimisedJob:
    """Train and certify a head for a job whose classifier is the teacher; an interrupted call is resumed by the same.

    Raises:
        InvalidDataset: the table has too few different texts.
        InvalidSetting: the folder belongs to another run.
        Interrupted: the teacher is unreachable, or the next labels would exceed the spend cap.
    """
    folder = job.out.with_name(f"{job.out.name}.optimize")
    with locked_folder(folder):
        _begin(job, plan, folder)
        sample = drawn(job, plan.budget // 2 + POOL, plan.seed)
        if len(sample) < LEAST:
            raise InvalidDataset(
                f"{len(sample)} different texts are too few for --optimize; give {LEAST} or more, or leave it out"
            )
        with JobStore(folder / _ANSWERS, job.taxonomy) as store:
            if meter and read_manifest(job.folder / _MANIFEST) is None:  # else the run of the job counts its answers
                meter.start(store.usage, len(store))
            teacher = BulkTeacher(job, store, patience, meter)
            found = _saved(folder) or _certified(job, plan, folder, sample, teacher, log)
            known = teacher.known(sample)
    return OptimisedJob(_with_head(job, folder, found), found, known, folder)


def _begin(job: Job, plan: OptimisePlan, folder: Path) -> None:
    remedy = "give another --out, or --overwrite to start over"
    manifest: Manifest = job.manifest() | {"plan": asdict(plan)}
    if saved := read_manifest(folder / _MANIFEST):
        checked_manifest(job, saved, folder, remedy)
        if saved.get("plan") != manifest["plan"]:
            raise InvalidSetting(f"{folder} belongs to another run: --max-error, --delta or --budget differ; {remedy}")
    else:
        clear(folder)
        write_manifest(folder / _MANIFEST, manifest)


def forget(job: Job) -> None:
    """Remove what an earlier optimisation of the same output has left."""
    folder = job.out.with_name(f"{job.out.name}.optimize")
    if folder.exists():
        with locked_folder(folder):
            clear(folder)


# --- the head ---


def _certified(
    job: Job, plan: OptimisePlan, folder: Path, sample: Sequence[Text], teacher: BulkTeacher, log: OnNote
) -> Optimised:
    most = min(plan.budget, len(sample)) // 2
    fitted, trained, quality = _trained(job, sample[:most], len(sample), teacher, plan.seed, log)
    fitted.save(folder / _HEAD)
    head = load(folder / _HEAD)  # as it answers later, in half precision
    certified, labelled = _margin(job, plan, head, sample, trained, teacher)
    found = Optimised(
        trained,
        trained + labelled,
        quality,
        certified.margin,
        certified.share,
        certified.stopped,
        _digest(folder / _HEAD),
    )
    write_text_atomically(folder / _RESULT, json.dumps(asdict(found), indent=2) + "\n")
    return found


def _trained(
    job: Job, texts: Sequence[Text], sampled: int, teacher: BulkTeacher, seed: int, log: OnNote
) -> tuple[FittedTable, int, float]:
    """The head, the number of its labels, and its quality; the labels are doubled while that helps."""
    size, before = min(max(_FIRST, sampled // _FIRST_SHARE), len(texts)), -1.0
    plan = TrainingPlan(KIND, seed=seed, data=job.source.files[0].name, teacher={"spec": job.classifier.spec})
    while True:
        fitted = fit_table(plan, job.taxonomy, _examples(job, texts[:size], teacher))
        name, interval = next(iter(fitted.fitted.items()))
        log(f"head fitted to {size:,} labels of the teacher: {name} {interval.value:.3f}, cross-validated")
        if size == len(texts) or interval.value < before + _GAIN:
            return fitted, size, interval.value
        size, before = min(2 * size, len(texts)), interval.value


def _examples(job: Job, texts: Sequence[Text], teacher: BulkTeacher) -> list[Example]:
    pairs = enumerate(zip(texts, teacher.labels(texts), strict=True))
    return [Example(str(n), text, job.taxonomy.in_order(labels)) for n, (text, labels) in pairs if labels is not None]


def _goal(plan: OptimisePlan, sample: Sequence[Text], trained: int) -> Goal:
    """What is certified on the texts that the head was not trained on.

    Where the sample is the whole table, the bound is for these texts alone, and those of the training have the
    teacher's labels: the errors that the table permits may all be in the rest.
    """
    if len(sample) >= plan.budget // 2 + POOL:
        return Goal(1 - plan.max_error, plan.delta)
    rest = len(sample) - trained
    return Goal(max(_LEAST_TARGET, 1 - plan.max_error * len(sample) / rest), plan.delta, table_only=True)


def _margin(
    job: Job, plan: OptimisePlan, head: Classifier, sample: Sequence[Text], trained: int, teacher: BulkTeacher
) -> tuple[Certified, int]:
    """The least certified margin, and the number of labels that it took; the first ``trained`` texts have theirs."""
    goal, pool = _goal(plan, sample, trained), sample[trained:]
    starts = range(0, len(pool), job.batch)
    answers = [one for start in starts for one in head.classify(pool[start : start + job.batch], job.taxonomy)]
    margins, labels = np.array([margin(one) for one in answers]), [one.labels for one in answers]
    none = bool(job.taxonomy.allow_none)
    (population,) = populations(labels, margins, goal, max(1, job.taxonomy.max_labels), none, False, plan.seed)
    budget = min(plan.budget - trained, len(pool))
    labeller = Labeller(lambda places: teacher.labels([pool[place] for place in places]), budget)
    return certify(population, goal, labeller, labeller.left), len(labeller.known)


def _saved(folder: Path) -> Optimised | None:
    """What an earlier call has certified; None where it was not finished, or its head is damaged."""
    if not (folder / _RESULT).exists():
        return None
    try:
        found = Optimised(**json.loads((folder / _RESULT).read_text(encoding="utf-8")))
        return found if found.head == _digest(folder / _HEAD) else None
    except (ValueError, TypeError, OSError):
        return None


def _digest(folder: Path) -> str:
    """Digest of a head's files but the manifest, which has times."""
    files = sorted(path for path in folder.iterdir() if path.name != "manifest.json")
    return digest_of("".join(digest_of(path) for path in files), 16)


# --- the job ---


def _with_head(job: Job, folder: Path, found: Optimised) -> Job:
    """The job with the cascade of head and teacher; the teacher alone where nothing was certified."""
    if found.margin is None:
        return job
    setup: dict[str, Any] = {**job.classifier.setup, "cascade": {"margin": found.margin, "head": found.head}}
    open = partial(_cascade, folder / _HEAD, job.classifier.open, found.margin)
    return replace(job, classifier=ClassifierSpec(f"{job.classifier.spec}, optimized", setup, open))


def _cascade(head: Path, teacher: Callable[[], Classifier], least: float) -> Classifier:
    return Cascade(load(head), teacher(), least)
