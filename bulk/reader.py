"""From rows to batches of texts that have no answer yet, in an order that is the same every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from bulk.answer_store import RowAnswer, digest
from bulk.job import Job
from llm.classifier import Problem
from prompts.text import Text
from tabular import ReadPosition, Row
from tabular.table import Schema

_WINDOW = 1_024
_EMPTY = Problem("empty", "there is no text to label")

Unknown = Callable[[Sequence[bytes]], set[bytes]]
OnProgress = Callable[[int], object]


@dataclass(frozen=True)
class TextBatch:
    """Different texts to ask about together, with their digests."""

    digests: tuple[bytes, ...]
    texts: tuple[Text, ...]


@dataclass(frozen=True)
class Read:
    """A row as it is labelled: with its text's digest, or with the answer that it gets without being asked about."""

    row: Row
    key: bytes | None
    answer: RowAnswer | None
    text: Text = Text()


def schema_of(job: Job) -> Schema:
    """The columns of all rows.

    Text files are read to their end, so that an error in one is reported before the first text is paid for.

    Raises:
        InvalidDataset: a file that cannot be read, or a column of a name that is to be added.
    """
    return Schema.of(job.source.tables(), job.added)


def read(job: Job, position: ReadPosition | None = None) -> Iterator[list[Read]]:
    """The rows in windows of a thousand or so."""
    rows = job.source.rows(position)
    while window := list(islice(rows, _WINDOW)):
        yield [_read(job, row) for row in window]


def _read(job: Job, row: Row) -> Read:
    if row.problem:
        return Read(row, None, _failed("malformed", f"{row.where}: {row.problem}"))
    try:
        text = job.columns.text_of(row)
    except ValueError as error:
        return Read(row, None, _failed("malformed", f"{row.where}: {error}"))
    if text.empty:
        return Read(row, None, _failed(_EMPTY.kind, _EMPTY.detail))
    return Read(row, digest(text), None, text)


def _failed(kind: str, detail: str) -> RowAnswer:
    return RowAnswer(None, {}, None, f"{kind}: {detail}")


def batches(
    job: Job, unknown: Unknown, position: ReadPosition | None = None, on_progress: OnProgress | None = None
) -> Iterator[TextBatch]:
    """Batches of ``job.batch`` texts, the last one may be smaller; no text is in two of them.

    Whatever was answered before, in whole batches, the others are made up of the same texts: what a classifier computes
    together is the same after a crash as without one.

    Args:
        job: what is read.
        unknown: those of some digests that have no answer.
        position: kept up to date.
        on_progress: called with the number of rows of each window.
    """
    pending: dict[bytes, Text] = {}
    for window in read(job, position):
        found = {one.key: one.text for one in window if one.key is not None and one.key not in pending}
        fresh = unknown(list(found))
        pending |= {key: text for key, text in found.items() if key in fresh}
        if on_progress:
            on_progress(len(window))
        while len(pending) >= job.batch:
            yield _taken(pending, job.batch)
    if pending:
        yield _taken(pending, job.batch)


def _taken(pending: dict[bytes, Text], count: int) -> TextBatch:
    keys = tuple(islice(pending, count))
    return TextBatch(keys, tuple(pending.pop(key) for key in keys))
