"""Who asks about batches: a classifier in this process. ``bulk.ray_cluster`` asks on many machines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from bulk.answer_store import JobStore, RowAnswer, answer_of
from bulk.reader import TextBatch, Unknown
from llm.classifier import Classifier, Prediction, Usage
from prompts.errors import Interrupted
from prompts.taxonomy import Taxonomy

# What says something about the moment and nothing about the text.
PASSING = frozenset(["unreachable", "busy", "misconfigured", "timeout"])
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0


# The batches of the texts that a function says are unknown.
Batches = Callable[[Unknown], Iterator[TextBatch]]


class Answered(NamedTuple):
    """A text's digest, its answer, and the tokens that it took."""

    key: bytes
    answer: RowAnswer
    usage: Usage


class Runner(Protocol):
    """Answers batches, in any order."""

    def answered(self, batches: Batches, store: JobStore) -> Iterator[list[Answered]]:
        """Answers of whole batches as they come.

        Args:
            batches: those of the texts that a function says are unknown.
            store: what is answered so far; the caller puts in what comes.
        """


class InProcess:
    """One classifier, one batch after the other.

    Args:
        open: loads the classifier, when the first batch is asked about.
        taxonomy: the taxonomy.
        patience: seconds for which an endpoint that answers nothing at all is waited for; None takes its failures for
            answers.
    """

    def __init__(self, open: Callable[[], Classifier], taxonomy: Taxonomy, patience: float | None = 60.0) -> None:
        self._open, self._taxonomy, self._patience = open, taxonomy, patience

    def answered(self, batches: Batches, store: JobStore) -> Iterator[list[Answered]]:
        """See ``Runner.answered``."""
        classifier: Classifier | None = None
        for batch in batches(lambda keys: set(keys) - store.known(keys)):
            classifier = classifier or self._open()
            yield ask(classifier, batch, self._taxonomy, self._patience)


def ask(classifier: Classifier, batch: TextBatch, taxonomy: Taxonomy, patience: float | None) -> list[Answered]:
    """A batch's answers.

    Where every text fails for a reason of the moment, the endpoint is down, and a million failed rows would help
    nobody: it is waited for, and then the work stops.

    Raises:
        Interrupted: it did not come back in time.
    """
    until, wait = time.monotonic() + (patience or 0), _FIRST_WAIT
    while True:
        predictions = classifier.classify(batch.texts, taxonomy)
        problem = _outage(predictions)
        if problem is None or patience is None:
            return answers_of(batch.digests, predictions, taxonomy)
        if time.monotonic() + wait > until:
            raise Interrupted(
                f"{classifier.name} answers none of {len(predictions)} texts ({problem}); what was answered before is "
                "kept: mend that and run the same command again"
            )
        time.sleep(wait)
        wait = min(_LONGEST_WAIT, 2 * wait)


def answers_of(keys: Sequence[bytes], predictions: Sequence[Prediction], taxonomy: Taxonomy) -> list[Answered]:
    """Predictions as they are kept."""
    return [
        Answered(key, answer_of(found, taxonomy), found.usage) for key, found in zip(keys, predictions, strict=True)
    ]


def _outage(predictions: Sequence[Prediction]) -> str | None:
    problems = [found.problem for found in predictions]
    if all(problem is not None and problem.kind in PASSING for problem in problems):
        return next((problem.detail for problem in problems if problem), None)
    return None
