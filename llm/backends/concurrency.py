"""Concurrency of requests to an endpoint: an adaptive limit, calls that requests share, and an event loop thread."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from concurrent.futures import Future, wait
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from llm.request_context import CURRENT_REQUEST
from similarity.micro_batching import check_waiting

Result = TypeVar("Result")

_START_LIMIT = 8.0
_CUT = 0.7
_CUT_SECONDS = 1.0  # one overload rejects many requests at once; it counts as one push-back
_RECENT, _USUAL = 0.2, 0.02  # weights of the newest latency in the two running means
_STEADY = 1.5  # latency is steady while the recent mean is below this multiple of the usual mean
_POLL_SECONDS = 0.5  # between two checks whether the client is still connected
_CLOSING_SECONDS = 1.0


class ConcurrencyLimiter:
    """Limits requests in flight: raised while latency is steady, cut when the endpoint pushes back.

    Additive increase, multiplicative decrease as in TCP (Chiu and Jain, 1989), after a slow start that doubles the
    limit with every round of replies (Jacobson, 1988): additions alone need 2,000 replies from 8 to 64. Belongs to one
    event loop.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = float(maximum)
        self._limit = min(_START_LIMIT, self._maximum)
        self._slow_start = True
        self._in_flight = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._recent = self._usual = 0.0
        self._cut_at = -_CUT_SECONDS

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return max(1, int(self._limit))

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        """Wait for a slot; it is released at the end of the block."""
        await self._enter()
        start = time.monotonic()
        try:
            yield
            self._record(time.monotonic() - start)
        finally:
            self._leave()

    def push_back(self) -> None:
        """Cut the limit: the endpoint is overloaded."""
        self._slow_start = False
        if time.monotonic() - self._cut_at >= _CUT_SECONDS:
            self._cut_at = time.monotonic()
            self._limit = max(1.0, self._limit * _CUT)

    async def _enter(self) -> None:
        if self._in_flight < self.limit and not self._queue:
            self._in_flight += 1
            return
        slot = asyncio.get_running_loop().create_future()
        self._queue.append(slot)
        try:
            await slot  # ``_leave`` counts it as in flight
        except asyncio.CancelledError:
            if slot.done() and not slot.cancelled():
                self._leave()  # granted and cancelled at the same moment
            raise

    def _leave(self) -> None:
        self._in_flight -= 1
        while self._queue and self._in_flight < self.limit:
            slot = self._queue.popleft()
            if not slot.done():
                self._in_flight += 1
                slot.set_result(None)

    def _record(self, seconds: float) -> None:
        self._recent += _RECENT * (seconds - self._recent) if self._recent else seconds
        self._usual += _USUAL * (seconds - self._usual) if self._usual else seconds
        if self._recent <= _STEADY * self._usual:
            increase = 1.0 if self._slow_start else 1 / self._limit
            self._limit = min(self._maximum, self._limit + increase)


class SharedCalls:
    """Runs calls whose result serves all requests, such as a capability check, in threads outside any request.

    Equal calls at the same time are one call. A call continues when a request gives up: the next request finds its
    result, and a client with a short deadline fails no check for others.
    """

    def __init__(self) -> None:
        self._running: dict[Hashable, Future[Any]] = {}
        self._lock = threading.Lock()

    def result(self, key: Hashable, call: Callable[[], Result]) -> Result:
        """The call's result; equal keys mean equal calls. The call itself stores a result that later requests need.

        Raises:
            Expired: the deadline of the current request has passed.
            Disconnected: the client of the current request has closed its connection.
            Exception: any error of the call.
        """
        future, request = self._start((os.getpid(), key), call), CURRENT_REQUEST.get()
        while not wait([future], max(0.0, min(request.remaining, _POLL_SECONDS))).done:
            check_waiting(request)
        result: Result = future.result()
        return result

    def _start(self, key: Hashable, call: Callable[[], Any]) -> Future[Any]:
        with self._lock:
            future = self._running.get(key)
            if future is None:
                future = self._running[key] = Future()
                threading.Thread(target=self._run, args=(key, call, future), name="shared call", daemon=True).start()
            return future

    def _run(self, key: Hashable, call: Callable[[], Any], future: Future[Any]) -> None:
        try:
            finish = partial(future.set_result, call())
        except BaseException as error:
            finish = partial(future.set_exception, error)
        with self._lock:
            del self._running[key]
        finish()


class LoopThread:
    """An event loop in a daemon thread; ``close`` ends its connections (aiohttp logs an error for open ones)."""

    def __init__(self, close: Callable[[], Awaitable[None]]) -> None:
        self.process = os.getpid()
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_serve, args=(self._loop, close), name="endpoint", daemon=True)
        thread.start()
        weakref.finalize(self, _stop, self._loop, thread)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _serve(loop: asyncio.AbstractEventLoop, close: Callable[[], Awaitable[None]]) -> None:
    loop.run_forever()
    loop.run_until_complete(close())
    loop.close()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """Stop the loop at the end of the process or at garbage collection, which may run in the loop's own thread."""
    loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        thread.join(_CLOSING_SECONDS)
