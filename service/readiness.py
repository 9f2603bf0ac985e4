"""The readiness check: asked of the model at most once a second, however often ``/readyz`` is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from llm.classifier import Problem

_SECONDS = 1.0  # that a result is used again
_STALE_SECONDS = 10.0  # that it is used while the next check runs


class Readiness:
    """Caches the result of a check. One check runs at a time; threads may share it.

    While a check runs, others get the last result where it is not old, so that an endpoint that does not answer costs
    one thread and not all that ask.

    Args:
        check: whether the model could answer now; None where it could.
    """

    def __init__(self, check: Callable[[], Problem | None]) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._last: tuple[Problem | None, float] | None = None  # a result, and the monotonic time when it was found
        self._running: Future[Problem | None] | None = None

    def __call__(self) -> Problem | None:
        """The result of a check that ran within the last second, or runs now."""
        with self._lock:
            known = self._within(_STALE_SECONDS if self._running else _SECONDS)
            if known is not None:
                return known[0]
            running, mine = self._running, self._running is None
            if running is None:
                running = self._running = Future()
        if mine:
            self._run(running)
        return running.result()

    def _within(self, seconds: float) -> tuple[Problem | None, float] | None:
        return self._last if self._last and time.monotonic() - self._last[1] < seconds else None

    def _run(self, running: Future[Problem | None]) -> None:
        try:
            found = self._check()
        except BaseException as error:
            self._end(None)
            running.set_exception(error)
        else:
            self._end((found, time.monotonic()))
            running.set_result(found)

    def _end(self, last: tuple[Problem | None, float] | None) -> None:
        with self._lock:
            self._last, self._running = last, None
