"""Requests that come together share a forward pass; one that comes alone waits for nobody.

Whoever finds the classifier idle asks it at once. Whoever comes meanwhile waits, and the first of them then asks for
those who wait with the same vocabulary. Where several passes may be under way at once, each takes its share of them:
one is computed while the answers of another are sent. There is no thread for it, and no window while one client is
alone: batches grow with the load by themselves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from llm.asking import ASKING, Asking, late_problem, unread
from llm.bounded import Gate
from llm.classifier import Classifier, Prediction, Problem
from prompts.taxonomy import Taxonomy
from prompts.text import Text

_MOST = 128  # texts of a shared pass; a request that brings more has a pass to itself
_FEW = 2  # texts that make a pass worth while
# After a pass for many, they come back for more one by one: the next pass waits for them this share of the last one's
# time, and this long at most. Without it, passes for one and for all the others take turns.
_SHARE, _LONGEST = 0.2, 0.01


@dataclass(eq=False)
class _Job:
    """A request that waits."""

    texts: Sequence[str | Text]
    taxonomy: Taxonomy
    asking: Asking
    woken: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    answers: list[Prediction] | None = None
    error: Exception | None = None

    @cached_property
    def length(self) -> float:
        """Characters of a text, on average."""
        return sum(len(Text.of(text).body) for text in self.texts) / len(self.texts)

    @property
    def settled(self) -> bool:
        return self.answers is not None or self.error is not None


class Batched:
    """A classifier whose concurrent requests share calls of the inner one. Safe under threads.

    Args:
        inner: who answers.
        gate: how many requests may wait.
        told: is given the number of texts of every pass.
        passes: how many may be under way at once.
    """

    def __init__(
        self, inner: Classifier, gate: Gate, told: Callable[[int], object] = lambda texts: None, passes: int = 1
    ) -> None:
        self._inner, self._gate, self._told, self._passes = inner, gate, told, passes
        self._lock = threading.Lock()
        self._waiting: list[_Job] = []
        self._under_way = 0
        self._company, self._seconds = 1, 0.0  # of the last pass

    @property
    def name(self) -> str:
        """The inner classifier's name."""
        return self._inner.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``. A text that nobody waits for any more, because the asker's time (``llm.asking``)
        is over or the asker has hung up, is not read."""
        if not texts:
            return []
        with self._gate.place() as admitted:
            if not admitted:
                return self._gate.turned_away(len(texts), self.name, taxonomy)
            return self._answers(_Job(texts, taxonomy, ASKING.get()))

    def _answers(self, job: _Job) -> list[Prediction]:
        self._enter(job)
        if not job.leads:
            job.woken.wait(min(max(0.0, job.asking.left), threading.TIMEOUT_MAX))
            self._give_up_if_late(job)
        if job.leads:
            self._lead(job)
        if job.error:
            raise job.error
        return job.answers or []

    def _enter(self, job: _Job) -> None:
        with self._lock:
            job.leads = self._under_way < self._passes
            if job.leads:
                self._under_way += 1
            else:
                self._waiting.append(job)

    def _give_up_if_late(self, job: _Job) -> None:
        """Its time may have run out; but who was given the lead in that very moment has to pass it on."""
        with self._lock:
            if not job.leads and not job.settled:
                self._waiting = [other for other in self._waiting if other is not job]
                self._leave_unread(job, job.asking.over or late_problem())

    def _lead(self, job: _Job) -> None:
        try:
            if self._under_way == 1 and len(self._waiting) + 1 < self._company:
                time.sleep(min(_LONGEST, _SHARE * self._seconds))
            self._pass(self._take(job))
        finally:
            self._hand_over()

    def _take(self, job: _Job) -> list[_Job]:
        """The leader's job, and of those waiting the nearest in length that fit beside it: texts of about one length
        are computed with little padding. The rest wait on, in their order, so that who waited longest leads the next
        pass. Who does not wait any more takes up no room, and gives up the place in the queue."""
        with self._lock:
            room = self._share(job) - len(job.texts)
            here, taken = [other for other in self._waiting if not self._left(other)], {job}
            for other in sorted(here, key=lambda other: abs(other.length - job.length)):
                if len(other.texts) <= room and other.taxonomy == job.taxonomy:
                    taken.add(other)
                    room -= len(other.texts)
            self._waiting = [other for other in here if other not in taken]
        return [job, *(other for other in here if other in taken)]

    def _share(self, job: _Job) -> int:
        """Texts of a pass: of all that wait, as many as leave each other pass the same, and never too many."""
        waiting = len(job.texts) + sum(len(other.texts) for other in self._waiting)
        return min(_MOST, max(_FEW, -(-waiting // self._passes)))

    def _pass(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            self._let_go(job)
        start = time.monotonic()
        self._ask([job for job in jobs if not job.settled])
        self._company, self._seconds = len(jobs), time.monotonic() - start
        for job in jobs:
            job.woken.set()

    def _ask(self, jobs: Sequence[_Job]) -> None:
        texts = [text for job in jobs for text in job.texts]
        if not texts:
            return
        try:
            with self._noted(jobs, len(texts)):
                found = iter(self._inner.classify(texts, jobs[0].taxonomy))
            self._told(len(texts))
        except Exception as error:
            self._ask_apart(jobs, error)
            return
        for job in jobs:
            job.answers = [next(found) for _ in job.texts]

    @contextmanager
    def _noted(self, jobs: Sequence[_Job], texts: int) -> Iterator[None]:
        """The pass stands in the trace of every request that shares it."""
        with ExitStack() as spans:
            for job in jobs:
                told: dict[str, str | int] = {"marquee.model": self.name}
                told |= {"marquee.texts": texts, "marquee.requests": len(jobs)}
                spans.enter_context(job.asking.trace.span("forward pass", told))
            yield

    def _ask_apart(self, jobs: Sequence[_Job], error: Exception) -> None:
        """What one request has broken, the others should not have to bear."""
        if len(jobs) == 1:
            jobs[0].error = error
            return
        for job in jobs:
            self._ask([job])

    def _hand_over(self) -> None:
        with self._lock:
            if not self._waiting:
                self._under_way -= 1
                return
            following = self._waiting.pop(0)
            following.leads = True
        following.woken.set()

    def _let_go(self, job: _Job) -> bool:
        """Whether nobody waits for the job any more, which settles it."""
        if over := job.asking.over:
            self._leave_unread(job, over)
        return over is not None

    def _left(self, job: _Job) -> bool:
        """The same of a job that waits: whoever gave it up is woken."""
        if gone := self._let_go(job):
            job.woken.set()
        return gone

    def _leave_unread(self, job: _Job, why: Problem) -> None:
        job.answers = unread(why, len(job.texts), self.name, job.taxonomy)
