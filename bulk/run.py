"""A run: every different text is classified once, every row is written once, and a run resumes after a crash.

Batches of texts go to the runner, and each answer is stored before the next batch starts. When every text has an
answer, the rows are read again and written with their answers to a temporary file, which then replaces the output.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from bulk.answer_store import JobStore, RowAnswer, Runner, StoredAnswer, TextBatch, Unknown, model_of
from bulk.job import (
    EVIDENCE_COLUMNS,
    InputRow,
    Job,
    Manifest,
    check_unchanged,
    checked_manifest,
    clear,
    final_manifest,
    locked_folder,
    read_manifest,
    write_errors,
    write_manifest,
)  # fmt: skip
from bulk.progress import Progress, Summary
from llm.classifier import ServedModels, Usage, total_usage
from llm.spending.spend_cap import SpendMeter
from prompts.errors import Interrupted, InvalidDataset, InvalidSetting, MarqueeError
from prompts.files import publish, sync
from tabular import Row, open_table
from tabular.table import Schema
from tabular.writing import check_schema, writer_of

_MANIFEST, _ANSWERS, _OUTPUT, _MERGED = "manifest.json", "answers.sqlite", "out", "merged"
_GROUP = 4  # windows of about a thousand rows that are written together: a row group of Parquet

OnProgress = Callable[[Progress], object]


def run(
    job: Job, runner: Runner, on_progress: OnProgress = lambda progress: None, *, overwrite: bool = False,
    retry_failed: bool = False, meter: SpendMeter | None = None, known: Sequence[StoredAnswer] = (),
) -> Summary | None:  # fmt: skip
    """Classify all rows, or resume an interrupted run.

    Args:
        job: the job.
        runner: classifies the batches: in this process, from Batch API results, or on Ray.
        on_progress: called after every batch, and while the output is written.
        overwrite: start over: discard an unfinished run and replace an existing output.
        retry_failed: classify again the rows of a finished output that have a problem.
        meter: limits what the run spends, with its earlier processes; None: no limit.
        known: answers that are there already.

    Returns:
        None where the output is finished already, by the same command.

    Raises:
        InvalidSetting: the folder or the output belongs to another run, or another process is writing to it.
        Interrupted: the disk is full, the endpoint is down, the input has changed, or the next batch would exceed the
            spend cap; finished answers are kept.
        InvalidDataset: the input cannot be read.
    """
    writer_of(job.out)
    if job.out.resolve() in {path.resolve() for path in job.source.files}:
        raise InvalidSetting(f"--out {job.out} is a file that is read; give another name")
    with locked_folder(job.folder):
        if not _begin(job, overwrite, retry_failed):
            return None
        schema = _schema(job)
        with _store(job) as store:
            if meter:
                meter.start(store.usage, len(store))
            store.put(known)
            _answer(job, runner, store, on_progress, meter)
            summary = _merge(job, store, schema, on_progress)
        _finish(job, summary)
    return summary


def _store(job: Job) -> JobStore:
    return JobStore(job.folder / _ANSWERS, job.taxonomy)


# --- beginning and resuming ---


def _begin(job: Job, overwrite: bool, retry_failed: bool) -> bool:
    """Prepare the folder; False where the output is finished already."""
    if overwrite:
        clear(job.folder)
    if saved := read_manifest(job.folder / _MANIFEST):
        _resume(job, saved)
        return True
    clear(job.folder)  # without a manifest it is the rest of an interrupted clean-up
    if job.out.exists() and not overwrite and not retry_failed:
        missing = f"{job.out} exists already, and not by a run of this command; give another --out"
        _finished_manifest(job, missing, "give another --out, or --overwrite to replace it")
        return False
    manifest = job.manifest()
    if retry_failed:
        with _store(job) as store:
            manifest["setup"] = _restore_answers(job, store)
    write_manifest(job.folder / _MANIFEST, manifest | {"replaces": job.out.exists()})
    return True


def _resume(job: Job, saved: Manifest) -> None:
    """Check that the folder belongs to this job."""
    manifest = checked_manifest(job, saved, job.folder, "give another --out, or --overwrite to start over")
    if job.out.exists() and not (saved["replaces"] or (job.folder / _MERGED).exists()):
        raise InvalidSetting(f"{job.out} was not there when this run began; move it away, or give --overwrite")
    # The saved setup stays: an earlier version may not have recorded all of it.
    updated = manifest | {"setup": saved["setup"], "replaces": bool(saved["replaces"])}
    if updated != saved:
        write_manifest(job.folder / _MANIFEST, updated)


def _finished_manifest(job: Job, missing: str, remedy: str) -> Manifest:
    """The manifest of the output, which this job has finished."""
    finished = read_manifest(final_manifest(job.out)) if job.out.exists() else None
    if finished is None:
        raise InvalidSetting(missing)
    checked_manifest(job, finished, job.out, remedy)
    return finished


def _schema(job: Job) -> Schema:
    """The columns to write, after a look at all rows; a run that cannot begin leaves nothing behind."""
    try:
        schema = job.schema()
        check_schema(job.out, schema, job.added_types())
    except MarqueeError:
        if not (job.folder / _ANSWERS).exists():
            clear(job.folder)
        raise
    return schema


# --- retrying failed rows ---


def _restore_answers(job: Job, store: JobStore) -> Any:
    """Put into the store all answers of a finished output that have no problem; returns the setup of its system."""
    missing = f"--retry-failed: {job.out} is no finished output of this command; leave it out"
    finished = _finished_manifest(job, missing, "give the options that it was made with")
    if finished["prefix"] != job.prefix:
        raise InvalidSetting(f"{job.out} was made with --prefix {finished['prefix']!r}; give the same")
    written = open_table(job.out).rows()
    for window in job.rows():
        rows = list(islice(written, len(window)))
        if len(rows) < len(window):
            raise InvalidDataset(f"{job.out} has fewer rows than the input; start over with --overwrite")
        answers = [(row.key, _read_answer(job, done)) for row, done in zip(window, rows, strict=True)]
        store.put([StoredAnswer(key, answer) for key, answer in answers if key is not None and answer is not None])
    return finished["setup"]


def _read_answer(job: Job, row: Row) -> RowAnswer | None:
    """The answer in a row of the output; None where it has a problem."""
    labels, scores, source, problem, *more = (row.cells.get(name) for name in job.added_columns)
    explained = more[: len(EVIDENCE_COLUMNS)] if job.explain else ()
    if problem or row.problem:
        return None
    try:
        names = tuple(_parsed(labels))
        evidence, reasons = map(_parsed, explained or (None, None))
        return RowAnswer(names, _given(_parsed(scores)), str(source), None, evidence, _given(reasons))
    except (TypeError, ValueError, AttributeError):
        raise InvalidDataset(f"{row.where}: the labels cannot be read; start over with --overwrite") from None


def _given(cell: Mapping[str, Any] | None) -> dict[str, Any]:
    """An object without the members that Parquet has for the other labels."""
    return {name: value for name, value in (cell or {}).items() if value is not None}


def _parsed(cell: Any) -> Any:
    """A list or an object; CSV has it as JSON in a cell."""
    return json.loads(cell) if isinstance(cell, str) and cell else cell


# --- classifying ---


def _answer(
    job: Job, runner: Runner, store: JobStore, on_progress: OnProgress, meter: SpendMeter | None = None
) -> None:
    """Classify every text that has no answer."""
    tracker = _Tracker(job, on_progress, meter)
    setup = (read_manifest(job.folder / _MANIFEST) or {}).get("setup", {})
    models = ServedModels(setup, store.models, job.folder)
    for answers in runner.answers(tracker.batches, store):
        models.check({name for stored in answers if (name := model_of(stored.answer, job.taxonomy))})
        store.put(answers)
        tracker.add_answers(answers)
    if meter and tracker.refused:
        raise Interrupted(meter.refusal(tracker.refused))


class _Tracker:
    """Reports progress. A runner may read ahead, so the share done is that of the rows times that of their texts."""

    def __init__(self, job: Job, on_progress: OnProgress, meter: SpendMeter | None) -> None:
        self._job, self._on_progress, self._meter = job, on_progress, meter
        self.refused = 0  # texts of the batch that the spend cap does not pay for
        self._progress, self._planned, self._position = Progress(), 0, job.source.position

    def batches(self, unknown: Unknown) -> Iterator[TextBatch]:
        """The job's batches; a runner may read them several times."""
        self._planned, self._position = self._progress.texts, self._job.source.position
        self._progress = replace(self._progress, rows=0)
        for batch in self._job.batches(unknown, self._position, self._add_rows):
            # A runner that reads ahead has texts whose cost is not counted yet.
            if self._meter and not self._meter.fits(self._planned - self._progress.texts + len(batch.texts)):
                self.refused = len(batch.texts)
                return
            self._planned += len(batch.texts)
            yield batch

    def _add_rows(self, rows: int) -> None:
        self._report(replace(self._progress, rows=self._progress.rows + rows))

    def add_answers(self, answers: Sequence[StoredAnswer]) -> None:
        before, failed = self._progress, sum(stored.answer.problem is not None for stored in answers)
        usages = [stored.usage for stored in answers]
        if self._meter:
            self._meter.add(usages)
        usage: Usage = total_usage([before.usage, *usages])
        self._report(replace(before, texts=before.texts + len(answers), failed=before.failed + failed, usage=usage))

    def _report(self, progress: Progress) -> None:
        answered = min(1.0, progress.texts / self._planned) if self._planned else 1.0
        self._progress = replace(progress, share=self._position.share * answered)
        self._on_progress(self._progress)


# --- writing the output ---


def _merge(job: Job, store: JobStore, schema: Schema, on_progress: OnProgress) -> Summary:
    """Write every row with its answer to a temporary file."""
    summary, position = Summary(texts=len(store), usage=store.usage, models=sorted(store.models)), job.source.position
    windows, path = job.rows(position), job.folder / _OUTPUT
    with write_errors(job.folder):
        writer = writer_of(job.out)(path, job.out, schema, job.added_types())
        while rows := [row for window in islice(windows, _GROUP) for row in window]:
            answers = _answers_to(rows, store)
            sets = [job.set_of(answer) for answer in answers]
            for row, answer, (_, abstains) in zip(rows, answers, sets, strict=True):
                summary.count(job, row, answer, abstains)
            cells = [_cells(job, answer, found) for answer, found in zip(answers, sets, strict=True)]
            writer.write([row.row.cells for row in rows], cells)
            on_progress(Progress(rows=summary.rows, share=position.share, writing=True))
        writer.close()
        sync(path)
    return summary


def _answers_to(rows: Sequence[InputRow], store: JobStore) -> list[RowAnswer]:
    stored = store.answers(list({row.key for row in rows if row.key is not None}))
    return [RowAnswer(None, {}, None, row.problem) if row.key is None else stored[row.key] for row in rows]


def _cells(job: Job, answer: RowAnswer, found: tuple[object, object]) -> dict[str, Any]:
    cells = (answer.labels, answer.scores or None, answer.source, answer.problem)
    explained = (answer.evidence, answer.unexplained or None) if job.explain else ()
    return dict(zip(job.added_columns, (*cells, *explained, *(found if job.sets else ())), strict=True))


def _finish(job: Job, summary: Summary) -> None:
    """Put the output in its place. After a crash at any step, the same command does the remaining steps."""
    saved = read_manifest(job.folder / _MANIFEST) or {}
    check_unchanged(job.source, saved)
    with write_errors(job.out):
        (job.folder / _MERGED).touch()
        publish(job.folder / _OUTPUT, job.out)
        write_manifest(final_manifest(job.out), _final_manifest(job, saved, summary))
        (job.folder / _MANIFEST).unlink()
        clear(job.folder)


def _final_manifest(job: Job, saved: Manifest, summary: Summary) -> Manifest:
    counts = {"rows": summary.rows, "texts": summary.texts, "problems": dict(summary.problems)}
    counts |= {"warnings": dict(summary.warnings)} if summary.warnings else {}
    counts |= {"sets": summary.sets, "abstained": summary.abstained} if job.sets else {}
    made = {"prefix": job.prefix, "counts": counts, "tokens": asdict(summary.usage), "served": summary.models}
    facts = {name: value for name, value in saved.items() if name != "replaces"}
    return facts | made | {"ended": datetime.now(UTC).isoformat(timespec="seconds")}
