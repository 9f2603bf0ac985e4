"""A random sample of a bulk job's texts, and the labels that a language model, the teacher, gives them."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence

from bulk.answer_store import (
    RESUME,
    TRANSIENT,
    JobStore,
    RowAnswer,
    StoredAnswer,
    TextBatch,
    classify_batch,
    text_digest,
)
from bulk.job import Job
from eval.certified_cascade import Labels
from llm.classifier import Classifier
from llm.spending.spend_cap import SpendMeter
from prompts.errors import Interrupted
from prompts.text import Text

_BATCH = 64  # texts that the teacher gets at once


def drawn(job: Job, count: int, seed: int) -> list[Text]:
    """Different texts of the table, drawn at random by a hash: the same ones in every process, in bounded memory."""
    chosen, seen = list[tuple[int, int, Text]](), set[bytes]()
    for window in job.rows():
        for row in window:
            if row.key is None or row.key in seen:
                continue
            rank = -int.from_bytes(
                hashlib.blake2b(row.key, digest_size=8, salt=seed.to_bytes(8, "big")).digest(), "big"
            )
            if len(chosen) == count and rank <= chosen[0][0]:
                continue
            entry = (rank, int.from_bytes(row.key, "big"), row.text)
            seen.add(row.key)
            if len(chosen) < count:
                heapq.heappush(chosen, entry)
            else:
                seen.discard(text_digest(heapq.heappushpop(chosen, entry)[2]))
    return [text for *_, text in sorted(chosen, key=lambda one: (-one[0], one[1]))]


class BulkTeacher:
    """Labels of the teacher for texts of the sample; each is requested once, and stored before it is used."""

    def __init__(self, job: Job, store: JobStore, patience: float | None, meter: SpendMeter | None) -> None:
        self._job, self._store, self._patience, self._meter = job, store, patience, meter
        self._classifier: Classifier | None = None

    def labels(self, texts: Sequence[Text]) -> list[Labels | None]:
        """The labels of each text; None where the teacher cannot label it."""
        keys = list(map(text_digest, texts))
        unknown = self._store.unknown(keys)
        waiting = {key: text for key, text in zip(keys, texts, strict=True) if key in unknown}
        while waiting:
            self._request(TextBatch.taken_from(waiting, _BATCH))
        found = self._store.answers(keys)
        return [found[key].labels for key in keys]

    def known(self, texts: Sequence[Text]) -> list[StoredAnswer]:
        """All answers so far; a failure is left out, so that the text is sent again."""
        answers: dict[bytes, RowAnswer] = self._store.answers(list(map(text_digest, texts)))
        return [StoredAnswer(key, one, self._store.usage_of(key)) for key, one in answers.items() if not one.problem]

    def _request(self, batch: TextBatch) -> None:
        if self._meter and not self._meter.fits(len(batch.texts)):
            raise Interrupted(self._meter.refusal(len(batch.texts)))
        self._classifier = self._classifier or self._job.classifier.open()
        answers = classify_batch(self._classifier, batch, self._job.taxonomy, self._patience)
        failed = [one.answer.problem for one in answers if _is_transient(one.answer)]
        self._store.put([one for one in answers if not _is_transient(one.answer)])
        if self._meter:
            self._meter.add([one.usage for one in answers])
        if failed:
            raise Interrupted(f"{len(failed)} of {len(answers)} texts failed at the teacher: {failed[0]}; {RESUME}")


def _is_transient(answer: RowAnswer) -> bool:
    """Whether the text may be labelled at another time; a bound needs the labels of all texts that were drawn."""
    return (answer.problem or "").partition(":")[0] in TRANSIENT
