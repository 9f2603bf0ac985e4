"""When a host may be asked again: so many requests a second, and not while it wants to be left alone."""

from __future__ import annotations

import threading
import time

from lookup.film import LookupFailure


class RateLimiter:
    """Deals out turns to the threads that ask one host.

    Args:
        per_second: the most requests in a second.
    """

    def __init__(self, per_second: float) -> None:
        self._gap = 1 / per_second
        self._next = 0.0
        self._rest_until, self._why = 0.0, LookupFailure("busy", "")
        self._lock = threading.Lock()

    def rest(self, seconds: float, why: LookupFailure) -> None:
        """Leave the host alone for a while, whoever asks."""
        with self._lock:
            deadline = time.monotonic() + seconds
            if deadline > self._rest_until:
                self._rest_until, self._why = deadline, why

    def turn(self, deadline: float) -> LookupFailure | None:
        """Wait for a turn; where none comes before ``until``, or the host refused the key, why not, at once.

        Args:
            deadline: monotonic time.
        """
        with self._lock:
            now = time.monotonic()
            resting = self._rest_until > now
            start = max(now, self._next, self._rest_until)
            if resting and (self._why.kind == "refused" or start >= deadline):
                return self._why
            if start >= deadline:
                return LookupFailure("timeout", "the time was over before its turn came")
            self._next = start + self._gap
        time.sleep(max(0.0, start - now))
        return None
