"""A run: every different text asked about once, every row written once, whatever happens on the way.

Batches of texts go to the runner, and each answer is in the store before the next batch starts. When every text has an
answer, the rows are read again and written with their answers to a temporary file, which then replaces the output.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from bulk.answer_store import JobStore, RowAnswer, model_of
from bulk.job import (
    ANSWERS,
    MANIFEST,
    MERGED,
    Job,
    Manifest,
    check_unchanged,
    clear,
    held,
    read_manifest,
    refuse_another,
    write_whole,
    writing,
)
from bulk.reader import Read, TextBatch, Unknown, batches, read, schema_of
from bulk.runners import Runner
from llm.classifier import Usage, total_usage
from llm.provenance import ServedModels
from prompts.errors import InvalidSetting, MarqueeError
from prompts.files import publish
from tabular import ReadPosition
from tabular.detection import PARQUET_SUFFIXES, suffix
from tabular.table import Schema
from tabular.writing import TableWriter, check_schema, writer_of

_NAMES_TOLD = 5
_GROUP = 4  # windows of a thousand rows that are written together: a row group of Parquet


@dataclass(frozen=True)
class Stage:
    """How far a run is.

    Attributes:
        rows: read in this process.
        asked: texts that were asked about in this process.
        failed: of them, those that got no answer.
        share: of the input that is done, from 0 to 1.
        usage: tokens taken in this process.
        writing: whether all is answered and the output is being written.
    """

    rows: int = 0
    asked: int = 0
    failed: int = 0
    share: float = 0.0
    usage: Usage = Usage()
    writing: bool = False


@dataclass
class Summary:
    """What a run came to.

    Attributes:
        rows: of the output.
        texts: different ones that were answered.
        problems: rows by the kind of their problem.
        examples: the first rows of each kind, by their id.
        usage: tokens of all answers, earlier processes' too.
        models: names of the models that answered.
    """

    rows: int = 0
    texts: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    usage: Usage = Usage()
    models: Sequence[str] = ()

    def count(self, job: Job, one: Read, problem: str | None) -> None:
        """Take note of a row."""
        self.rows += 1
        if problem:
            kind = problem.partition(":")[0]
            self.problems[kind] += 1
            if len(named := self.examples.setdefault(kind, [])) < _NAMES_TOLD:
                named.append(job.columns.name_of(one.row))


Seed = Callable[[Job, JobStore], object]


def run(
    job: Job, runner: Runner, on_progress: Callable[[Stage], object] = lambda stage: None, *, overwrite: bool = False,
    seed: Seed | None = None,
) -> Summary | None:  # fmt: skip
    """Label all rows, going on where an earlier run was ended.

    Args:
        job: what and where.
        runner: how texts are classified: in this process, through batch files, or by Ray.
        on_progress: called after every batch, and now and then while the output is written.
        overwrite: drop what an unfinished run of something else has left, and replace an output that is there.
        seed: puts answers in the store before the first text is asked about; the output is then there already, and is
            replaced.

    Returns:
        None where the output is there already, whole, as the same command made it.

    Raises:
        InvalidSetting: the folder belongs to another run, or another process is at it.
        Interrupted: the disk is full, the endpoint is down, the input has changed; what was answered is kept.
        InvalidDataset: the input cannot be read.
    """
    _check_out(job)
    with held(job.folder):
        if not _begin(job, overwrite, seed):
            clear(job.folder)
            return None
        schema = _schema(job)
        store = JobStore(job.folder / ANSWERS, job.taxonomy)
        try:
            _answer(job, runner, store, on_progress)
            summary = _merge(job, store, schema, on_progress)
        finally:
            store.close()
        _finish(job, summary)
    return summary


def _check_out(job: Job) -> None:
    """An impossible output should stop the start, not the end.

    Raises:
        InvalidSetting: its name says no form, or is that of an input.
    """
    writer_of(job.out)
    if job.out.resolve() in {path.resolve() for path in job.source.files}:
        raise InvalidSetting(f"--out {job.out} is a file that is read; give another name")


def _schema(job: Job) -> Schema:
    """The columns to write, after a look at all rows; nothing of a run that could not begin is left.

    Raises:
        InvalidDataset: the input cannot be read to its end, or has a column that is to be added.
        InvalidSetting: the output cannot hold the columns.
    """
    try:
        schema = schema_of(job)
        check_schema(job.out, schema, _added_types(job))
    except MarqueeError:
        if not (job.folder / ANSWERS).exists():
            clear(job.folder)
        raise
    return schema


def _added_types(job: Job) -> dict[str, Any]:
    """Arrow's types of the added columns, which only Parquet asks for."""
    if suffix(job.out) not in PARQUET_SUFFIXES:
        return dict.fromkeys(job.added)
    import pyarrow

    scores = pyarrow.struct([(name, pyarrow.float64()) for name in job.taxonomy.names])
    kinds = (pyarrow.list_(pyarrow.string()), scores, pyarrow.string(), pyarrow.string())
    return dict(zip(job.added, kinds, strict=True))


def _begin(job: Job, overwrite: bool, seed: Seed | None) -> bool:
    """Make the folder ready; False where there is nothing to do."""
    path = job.folder / MANIFEST
    if overwrite:
        clear(job.folder)
    kept = read_manifest(path)
    if kept is None and not overwrite and seed is None and job.out.exists():
        return _is_unfinished(job)
    if kept is None:
        clear(job.folder)  # a manifest is what comes first and goes first: without it, the rest is nobody's
    manifest = job.manifest(kept)
    if kept is not None:
        refuse_another(kept, manifest, job.folder, "give another --out, or --overwrite to start over")
        if job.out.exists() and not (kept["replaces"] or (job.folder / MERGED).exists()):
            raise InvalidSetting(f"{job.out} was not there when this run began; move it away, or give --overwrite")
        if [file["changed"] for file in manifest["files"]] == [file["changed"] for file in kept["files"]]:
            return True
    replaces = bool(kept["replaces"]) if kept else job.out.exists()
    if seed is not None and kept is None:
        _seeded(job, seed)
        kept = read_manifest(job.done)
    if kept is not None:
        manifest["setup"] = kept["setup"]  # an earlier version may not have recorded all that the new one has
    write_whole(path, json.dumps(manifest | {"replaces": replaces}, indent=1))
    return True


def _seeded(job: Job, seed: Seed) -> None:
    store = JobStore(job.folder / ANSWERS, job.taxonomy)
    try:
        seed(job, store)
    finally:
        store.close()


def _is_unfinished(job: Job) -> bool:
    """Whether there is something to do though the output is there, which only this command's own may be.

    Raises:
        InvalidSetting: it is another's.
    """
    done = read_manifest(job.done)
    if done is None:
        raise InvalidSetting(f"{job.out} is there already, and not by a run of this command; give another --out")
    refuse_another(done, job.manifest(done), job.out, "give another --out, or --overwrite to replace it")
    return False


def _answer(job: Job, runner: Runner, store: JobStore, on_progress: Callable[[Stage], object]) -> None:
    """Ask about every text that has no answer."""
    stage = _Stages(on_progress)
    setup = (read_manifest(job.folder / MANIFEST) or {}).get("setup", {})
    models = ServedModels(setup, store.models, job.folder)
    for found in runner.answered(partial(_batches, job, stage), store):
        models.check({name for one in found if (name := model_of(one.answer, job.taxonomy))})
        store.put(found)
        failed = sum(one.answer.problem is not None for one in found)
        stage.answered(len(found), failed, [one.usage for one in found])


def _batches(job: Job, stage: _Stages, unknown: Unknown) -> Iterator[TextBatch]:
    position = stage.begin(job.source.position)
    for batch in batches(job, unknown, position, stage.read):
        stage.planned += len(batch.texts)
        yield batch


class _Stages:
    """The stage that a run is at, told every time that it changes.

    A backend may read far ahead of what is answered, so what is done is the share that was read, as far as the texts
    found there are answered.
    """

    def __init__(self, on_progress: Callable[[Stage], object]) -> None:
        self._stage, self._told, self.planned = Stage(), on_progress, 0
        self._position = ReadPosition(0)

    def begin(self, position: ReadPosition) -> ReadPosition:
        """Strategy begins, maybe a second time."""
        self._position, self.planned, self._stage = position, self._stage.asked, replace(self._stage, rows=0)
        return position

    def read(self, rows: int) -> None:
        """Take note of rows that were read."""
        self._tell(replace(self._stage, rows=self._stage.rows + rows))

    def answered(self, asked: int, failed: int, usages: list[Usage]) -> None:
        """Take note of a batch's answers."""
        before, usage = self._stage, total_usage([self._stage.usage, *usages])
        self._tell(replace(before, asked=before.asked + asked, failed=before.failed + failed, usage=usage))

    def _tell(self, stage: Stage) -> None:
        done = min(1.0, stage.asked / self.planned) if self.planned else 1.0
        self._stage = replace(stage, share=self._position.share * done)
        self._told(self._stage)


def _merge(job: Job, store: JobStore, schema: Schema, on_progress: Callable[[Stage], object]) -> Summary:
    """Write every row with its answer to a file beside the output."""
    summary, position = Summary(texts=len(store), usage=store.usage, models=sorted(store.models)), job.source.position
    with writing(job.folder):
        writer = writer_of(job.out)(job.folder / "out", job.out, schema, _added_types(job))
        for some in _groups(job, position):
            _write(writer, job, store, some, summary)
            on_progress(Stage(rows=summary.rows, share=position.share, writing=True))
        writer.close()
    return summary


def _groups(job: Job, position: ReadPosition) -> Iterator[list[Read]]:
    group: list[Read] = []
    for number, window in enumerate(read(job, position), 1):
        group += window
        if number % _GROUP == 0:
            yield group
            group = []
    if group:
        yield group


def _write(writer: TableWriter, job: Job, store: JobStore, some: list[Read], summary: Summary) -> None:
    known = store.answers(list({one.key for one in some if one.key is not None}))
    answers = [one.answer or known[one.key] for one in some if one.answer or one.key is not None]  # type: ignore[index]
    for one, answer in zip(some, answers, strict=True):
        summary.count(job, one, answer.problem)
    writer.write([one.row.cells for one in some], [_added(job, answer) for answer in answers])


def _added(job: Job, answer: RowAnswer) -> dict[str, Any]:
    found = (answer.labels, answer.scores or None, answer.source, answer.problem)
    return dict(zip(job.added, found, strict=True))


def _finish(job: Job, summary: Summary) -> None:
    """Put the output in its place. Ended anywhere in between, the same command finds what is left to do."""
    kept = read_manifest(job.folder / MANIFEST) or {}
    check_unchanged(job.source, kept)
    with writing(job.out):
        (job.folder / MERGED).touch()
        publish(job.folder / "out", job.out)
        write_whole(job.done, json.dumps(_done(job, kept, summary), indent=1))
        (job.folder / MANIFEST).unlink()
        clear(job.folder)


def _done(job: Job, kept: Manifest, summary: Summary) -> dict[str, Any]:
    counts = {"rows": summary.rows, "texts": summary.texts, "problems": dict(summary.problems)}
    made = {"prefix": job.prefix, "counts": counts, "tokens": asdict(summary.usage), "served": summary.models}
    kept = {name: value for name, value in kept.items() if name != "replaces"}
    return kept | made | {"ended": datetime.now(UTC).isoformat(timespec="seconds")}
