"""Batches of texts without an answer, and the runner that classifies them in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from bulk.answer_store import RESUME, JobStore, StoredAnswer, answer_of
from bulk.job import Job
from llm.classifier import Classifier, Prediction
from prompts.errors import Interrupted
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from tabular import ReadPosition

# Problems of the endpoint at this moment, not of the text.
TRANSIENT = frozenset(["unreachable", "busy", "misconfigured", "timeout"])
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0


@dataclass(frozen=True)
class TextBatch:
    """Different texts to classify together, with their digests."""

    digests: tuple[bytes, ...]
    texts: tuple[Text, ...]


Unknown = Callable[[Sequence[bytes]], set[bytes]]
"""Returns those of some digests that have no answer."""
Batches = Callable[[Unknown], Iterator[TextBatch]]
"""Returns the batches of all texts that are unknown."""


def batches(
    job: Job, unknown: Unknown, position: ReadPosition | None = None,
    on_rows: Callable[[int], object] = lambda count: None,
) -> Iterator[TextBatch]:  # fmt: skip
    """Batches of ``job.batch`` different texts; the last one may be smaller.

    When a run resumes after whole batches, the remaining batches hold the same texts as without the interruption, so
    that scores that depend on the batch are the same.

    ``on_rows`` is called with the number of rows of each window.
    """
    pending: dict[bytes, Text] = {}
    for window in job.rows(position):
        texts = {row.key: row.text for row in window if row.key is not None and row.key not in pending}
        fresh = unknown(list(texts))
        pending |= {key: text for key, text in texts.items() if key in fresh}
        on_rows(len(window))
        while len(pending) >= job.batch:
            yield _take(pending, job.batch)
    if pending:
        yield _take(pending, job.batch)


def _take(pending: dict[bytes, Text], count: int) -> TextBatch:
    keys = tuple(islice(pending, count))
    return TextBatch(keys, tuple(pending.pop(key) for key in keys))


class Runner(Protocol):
    """Classifies batches, in any order."""

    def answers(self, batches: Batches, store: JobStore) -> Iterator[list[StoredAnswer]]:
        """Answers to whole batches as they come; the caller adds them to the store."""


class LocalRunner:
    """Runs one classifier in this process, batch by batch.

    ``patience`` is the time in seconds to wait for an endpoint that fails for every text; None stores its failures.
    """

    def __init__(self, open: Callable[[], Classifier], taxonomy: Taxonomy, patience: float | None = 60.0) -> None:
        self._open, self._taxonomy, self._patience = open, taxonomy, patience

    def answers(self, batches: Batches, store: JobStore) -> Iterator[list[StoredAnswer]]:
        """See ``Runner.answers``."""
        classifier: Classifier | None = None
        for batch in batches(store.unknown):
            classifier = classifier or self._open()
            yield classify_batch(classifier, batch, self._taxonomy, self._patience)


def classify_batch(
    classifier: Classifier, batch: TextBatch, taxonomy: Taxonomy, patience: float | None
) -> list[StoredAnswer]:
    """A batch's answers.

    Where every text has a transient problem, the endpoint is down: wait for it, then stop the run, instead of storing a
    million failures.

    Raises:
        Interrupted: the endpoint did not recover in time.
    """
    deadline, wait = time.monotonic() + (patience or 0), _FIRST_WAIT
    while True:
        predictions = classifier.classify(batch.texts, taxonomy)
        outage = None if patience is None else _outage(predictions)
        if outage is None:
            return answers_of(batch, predictions, taxonomy)
        if time.monotonic() + wait > deadline:
            raise Interrupted(f"{classifier.name} answers none of {len(predictions)} texts ({outage}); {RESUME}")
        time.sleep(wait)
        wait = min(_LONGEST_WAIT, 2 * wait)


def answers_of(batch: TextBatch, predictions: Sequence[Prediction], taxonomy: Taxonomy) -> list[StoredAnswer]:
    """The answers of a batch's predictions."""
    return [
        StoredAnswer(key, answer_of(prediction, taxonomy), prediction.usage)
        for key, prediction in zip(batch.digests, predictions, strict=True)
    ]


def _outage(predictions: Sequence[Prediction]) -> str | None:
    problems = [prediction.problem for prediction in predictions]
    if all(problem is not None and problem.kind in TRANSIENT for problem in problems):
        return next((problem.detail for problem in problems if problem), None)
    return None
