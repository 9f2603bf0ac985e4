"""Rows of a finished output that got no answer are asked about again, and only they."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from bulk.answer_store import JobStore, RowAnswer
from bulk.job import Job, read_manifest, refuse_another
from bulk.reader import Read, read
from bulk.runners import Answered
from llm.classifier import Usage
from prompts.errors import InvalidDataset, InvalidSetting
from tabular import Row, open_table

_NO_USAGE = Usage()


def answered_before(job: Job, store: JobStore) -> None:
    """Put into the store what a finished output has: every answer but those with a problem.

    Raises:
        InvalidSetting: the output is not there, or another run's.
        InvalidDataset: the output and the input do not belong together.
    """
    done = read_manifest(job.done) if job.out.exists() else None
    if done is None:
        raise InvalidSetting(f"--retry-failed: {job.out} is no finished output of this command; leave it out")
    refuse_another(done, job.manifest(done), job.out, "give the options that it was made with")
    if done["prefix"] != job.prefix:
        raise InvalidSetting(f"{job.out} was made with --prefix {done['prefix']!r}; give the same")
    written = open_table(job.out).rows()
    for window in read(job):
        rows = list(islice(written, len(window)))
        if len(rows) < len(window):
            raise InvalidDataset(f"{job.out} has fewer rows than the input; label it anew with --overwrite")
        store.put(list(_kept(job, window, rows)))


def _kept(job: Job, window: list[Read], rows: list[Row]) -> Iterator[Answered]:
    for one, row in zip(window, rows, strict=True):
        answer = _answer(job, row)
        if one.key is not None and answer is not None:
            yield Answered(one.key, answer, _NO_USAGE)


def _answer(job: Job, row: Row) -> RowAnswer | None:
    labels, scores, source, problem = (row.cells.get(name) for name in job.added)
    if problem or row.problem:
        return None
    try:
        names = tuple(_decoded(labels))
        scored = {name: score for name, score in (_decoded(scores) or {}).items() if score is not None}
        return RowAnswer(names, scored, str(source), None)
    except (TypeError, ValueError, AttributeError):
        raise InvalidDataset(f"{row.where}: the labels cannot be read back; label anew with --overwrite") from None


def _decoded(cell: Any) -> Any:
    """A list or an object; CSV has it as JSON in a cell."""
    return json.loads(cell) if isinstance(cell, str) and cell else cell
