"""Per-request context (deadline, cancellation, span, cache salt) in a ``ContextVar``.

``Classifier.classify`` therefore needs no extra arguments.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from opentelemetry.trace import INVALID_SPAN, Span

from llm.classifier import AnswerSource, Prediction, Problem
from prompts.taxonomy import Taxonomy
from similarity.errors import Disconnected, Expired, Rejected

TIMEOUT = Problem("timeout", str(Expired()))
_DISCONNECTED = Problem("client_disconnected", str(Disconnected()))


@dataclass(frozen=True)
class RequestContext:
    """What the layers below ``service`` know about the current request."""

    request_id: str = ""  # sent to the endpoint, so that both logs can be joined
    # Requests with different salts share no prefix cache in vLLM; response times would otherwise reveal what another
    # API key has sent. Empty: all requests share one cache.
    cache_salt: str = ""
    deadline: float = math.inf  # monotonic time in seconds after which the result is not needed
    disconnected: Callable[[], bool] = lambda: False  # whether the client has closed its connection
    span: Span = INVALID_SPAN  # OpenTelemetry span of the request; micro-batches link to it

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; infinite without one."""
        return self.deadline - time.monotonic()

    @property
    def stop_reason(self) -> Problem | None:
        """Why the result is not needed any more (deadline passed or client disconnected); None while it is."""
        if self.remaining <= 0:
            return TIMEOUT
        return _DISCONNECTED if self.disconnected() else None


CURRENT_REQUEST: ContextVar[RequestContext] = ContextVar("current_request", default=RequestContext())  # noqa: B039  (frozen)


def failed_predictions(problem: Problem, count: int, name: str, taxonomy: Taxonomy) -> list[Prediction]:
    """Predictions for texts that were not classified, all with the same problem."""
    return [Prediction((), AnswerSource(name, taxonomy.versioned_name), problem=problem)] * count


def waiting_problem(error: Rejected | Expired | Disconnected) -> Problem:
    """The problem of a text whose request was rejected, or given up while it waited."""
    if isinstance(error, Rejected):
        return Problem("busy", str(error), error.retry_after)
    return TIMEOUT if isinstance(error, Expired) else _DISCONNECTED
