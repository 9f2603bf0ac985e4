"""How many requests an endpoint is given at once: raised while its latency holds, cut when it pushes back.

Additive increase, multiplicative decrease, as TCP does it (Chiu and Jain, 1989), after a start that doubles the bound
with every round of replies until the first push-back (Jacobson, 1988): by addition alone it would take 2,000 replies to
come from 8 to 64.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_START = 8.0
_CUT = 0.7
_CUT_SECONDS = 1.0  # one overload answers many requests at once; it counts as one push-back
_RECENT, _USUAL = 0.2, 0.02  # weights of the newest latency in the two running means
_HOLDS = 1.5  # latency holds while the recent mean is below this multiple of the usual one


class Limiter:
    """A bound on the requests under way; belongs to one event loop.

    Args:
        most: the bound never rises above this.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = min(_START, float(most))
        self._starting = True
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._recent = self._usual = 0.0
        self._cut_at = -_CUT_SECONDS

    @property
    def limit(self) -> int:
        """How many requests may be under way now."""
        return max(1, int(self._limit))

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place among the requests under way; hold it for the length of the block."""
        await self._enter()
        start = time.monotonic()
        try:
            yield
            self._took(time.monotonic() - start)
        finally:
            self._leave()

    def push_back(self) -> None:
        """The endpoint said that this is too much."""
        self._starting = False
        if time.monotonic() - self._cut_at >= _CUT_SECONDS:
            self._cut_at = time.monotonic()
            self._limit = max(1.0, self._limit * _CUT)

    async def _enter(self) -> None:
        if self._busy < self.limit and not self._waiting:
            self._busy += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn  # whoever grants the turn has counted it as busy
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # granted and given up in the same moment
            raise

    def _leave(self) -> None:
        self._busy -= 1
        while self._waiting and self._busy < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._busy += 1
                turn.set_result(None)

    def _took(self, seconds: float) -> None:
        self._recent += _RECENT * (seconds - self._recent) if self._recent else seconds
        self._usual += _USUAL * (seconds - self._usual) if self._usual else seconds
        if self._recent <= _HOLDS * self._usual:
            more = 1.0 if self._starting else 1 / self._limit
            self._limit = min(float(self._most), self._limit + more)
