"""On whose behalf texts are labelled just now: what the rooms below know of a request without being handed it."""

from __future__ import annotations

import math
import time
from contextvars import ContextVar
from dataclasses import dataclass

from llm.classifier import Prediction, Problem, Source, label_source
from prompts.taxonomy import Taxonomy

_LATE = Problem("late", "the time that the request allowed was over before its turn came")


@dataclass(frozen=True)
class Asking:
    """A request.

    Attributes:
        request_id: passed on to the endpoint, so that its log and ours can be read together.
        cache_salt: askers with different salts share no prefix cache in vLLM, where one could tell from the time an
            answer takes what another has asked. Empty: all share one.
        until: monotonic time after which nobody waits for the answer.
    """

    request_id: str = ""
    cache_salt: str = ""
    until: float = math.inf

    @property
    def left(self) -> float:
        """Seconds until nobody waits any more; infinite where no time was set."""
        return self.until - time.monotonic()


ASKING: ContextVar[Asking] = ContextVar("asking", default=Asking())  # noqa: B039  (frozen)


def late(count: int, name: str, taxonomy: Taxonomy) -> list[Prediction]:
    """Answers for texts whose time was over, all the same."""
    return [Prediction((), Source(name, label_source(taxonomy)), problem=_LATE)] * count


def late_problem() -> Problem:
    """The same for a request to an endpoint."""
    return _LATE
