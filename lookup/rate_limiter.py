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
            until = time.monotonic() + seconds
            if until > self._rest_until:
                self._rest_until, self._why = until, why

    def turn(self, until: float) -> LookupFailure | None:
        """Wait for a turn; where none comes before ``until``, or the host refused the key, why not, at once.

        Args:
            until: monotonic time.
        """
        with self._lock:
            now = time.monotonic()
            resting = self._rest_until > now
            start = max(now, self._next, self._rest_until)
            if resting and (self._why.kind == "refused" or start >= until):
                return self._why
            if start >= until:
                return LookupFailure("late", "the time was over before its turn came")
            self._next = start + self._gap
        time.sleep(max(0.0, start - now))
        return None
