"""Per-request context (deadline, cancellation, trace, cache salt) in a ``ContextVar``, so that ``Classifier.classify``
needs no extra arguments."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from llm.classifier import AnswerSource, Prediction, Problem, label_source
from prompts.taxonomy import Taxonomy
from similarity.errors import Disconnected, Expired, Rejected

_TIMEOUT = Problem("timeout", str(Expired()))
_DISCONNECTED = Problem("client_disconnected", str(Disconnected()))


def never_disconnects() -> bool:
    """A request without a client connection, such as one from the command line or a notebook."""
    return False


@dataclass(frozen=True)
class Span:
    """A stretch of work in a trace.

    Attributes:
        headers: what passes the trace on to whoever is asked.
        failed: to be called with the reason where the work fails.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    failed: Callable[[str], None] = lambda why: None


class Trace(Protocol):
    """Where it is noted what a request waits for."""

    def span(self, name: str, attributes: Mapping[str, str | int]) -> AbstractContextManager[Span]:
        """A span for the length of the block; OpenTelemetry's names for the attributes."""


class Untraced:
    """Notes nothing."""

    def span(self, name: str, attributes: Mapping[str, str | int]) -> AbstractContextManager[Span]:
        """See ``Trace.span``."""
        return _NOT_NOTED


_NOT_NOTED = nullcontext(Span())
_UNTRACED = Untraced()


@dataclass(frozen=True)
class RequestContext:
    """What the layers below ``service`` know about the current request.

    Attributes:
        request_id: sent to the endpoint, so that both logs can be joined.
        cache_salt: requests with different salts share no prefix cache in vLLM; response times would otherwise reveal
            what another API key has sent. Empty: all requests share one cache.
        deadline: monotonic time in seconds after which the result is not needed.
        disconnected: returns whether the client has closed its connection.
        trace: records what the request waits for.
    """

    request_id: str = ""
    cache_salt: str = ""
    deadline: float = math.inf
    disconnected: Callable[[], bool] = never_disconnects
    trace: Trace = _UNTRACED

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; infinite without one."""
        return self.deadline - time.monotonic()

    @property
    def stop_reason(self) -> Problem | None:
        """Why the result is not needed any more (deadline passed or client disconnected); None while it is."""
        if self.remaining <= 0:
            return _TIMEOUT
        return _DISCONNECTED if self.disconnected() else None


CURRENT_REQUEST: ContextVar[RequestContext] = ContextVar("current_request", default=RequestContext())  # noqa: B039  (frozen)


def unread(problem: Problem, count: int, name: str, taxonomy: Taxonomy) -> list[Prediction]:
    """Predictions for texts that were not classified, all with the same problem."""
    return [Prediction((), AnswerSource(name, label_source(taxonomy)), problem=problem)] * count


def timeout_problem() -> Problem:
    """The problem of a request to an endpoint whose deadline has passed."""
    return _TIMEOUT


def waiting_problem(error: Rejected | Expired | Disconnected) -> Problem:
    """The problem of a text whose request was rejected, or given up while it waited."""
    if isinstance(error, Rejected):
        return Problem("busy", str(error), error.retry_after)
    return _TIMEOUT if isinstance(error, Expired) else _DISCONNECTED
