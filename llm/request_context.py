"""On whose behalf texts are labelled just now: what the rooms below know of a request without being handed it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from opentelemetry.trace import INVALID_SPAN, Span

from llm.classifier import AnswerSource, Prediction, Problem, label_source
from prompts.taxonomy import Taxonomy
from similarity.errors import Disconnected, Expired, Rejected

_LATE = Problem("late", str(Expired()))
_GONE = Problem("gone", str(Disconnected()))


def stays() -> bool:
    """Nobody hangs up: what is asked here has no connection that could be lost."""
    return False


@dataclass(frozen=True)
class RequestContext:
    """A request.

    Attributes:
        request_id: passed on to the endpoint, so that its log and ours can be read together.
        cache_salt: askers with different salts share no prefix cache in vLLM, where one could tell from the time an
            answer takes what another has asked. Empty: all share one.
        until: monotonic time after which nobody waits for the answer.
        gone: tells whether whoever asked has hung up by now.
        span: OpenTelemetry's span of the request, under which shared batches add theirs.
    """

    request_id: str = ""
    cache_salt: str = ""
    until: float = math.inf
    gone: Callable[[], bool] = stays
    span: Span = INVALID_SPAN

    @property
    def left(self) -> float:
        """Seconds until nobody waits any more; infinite where no time was set."""
        return self.until - time.monotonic()

    @property
    def over(self) -> Problem | None:
        """Why nobody waits for the answer any more; None while somebody does."""
        if self.left <= 0:
            return _LATE
        return _GONE if self.gone() else None

    @property
    def deadline(self) -> float:
        """See ``similarity.micro_batching.Caller.deadline``."""
        return self.until

    def disconnected(self) -> bool:
        """See ``similarity.micro_batching.Caller.disconnected``."""
        return self.gone()


ASKING: ContextVar[RequestContext] = ContextVar("asking", default=RequestContext())  # noqa: B039  (frozen)


def unread(problem: Problem, count: int, name: str, taxonomy: Taxonomy) -> list[Prediction]:
    """Answers for texts that were not read, all for the same reason."""
    return [Prediction((), AnswerSource(name, label_source(taxonomy)), problem=problem)] * count


def late_problem() -> Problem:
    """What a request to an endpoint gets whose time is over."""
    return _LATE


def waiting_problem(error: Rejected | Expired | Disconnected) -> Problem:
    """The problem of a text whose request was rejected, or given up while it waited."""
    if isinstance(error, Rejected):
        return Problem("busy", str(error), error.retry_after)
    return _LATE if isinstance(error, Expired) else _GONE
