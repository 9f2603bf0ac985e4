"""A thread pool that several clients share fairly: one with many calls does not keep the others waiting."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass(eq=False)
class PoolClient:
    """One client's calls. Fields change under the pool's lock."""

    queue: deque[tuple[Future[Any], Callable[[], Any]]] = field(default_factory=deque)
    running: int = 0


class FairPool:
    """Runs calls on threads; clients take turns, call by call.

    A call that hangs costs its own client's share alone: no client has more than ``per_client`` calls running. The
    queue is as long as its clients make it; a cancelled call leaves it.

    Args:
        threads: calls that run at once.
        per_client: of these, at most so many of one client.
    """

    def __init__(self, threads: int, per_client: int) -> None:
        self._threads, self._per_client = threads, per_client
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="lookup")
        self._lock = threading.Lock()
        self._turns: deque[PoolClient] = deque()  # clients with queued calls, the next one first
        self._running = 0

    def submit(self, client: PoolClient, call: Callable[[], Result]) -> Future[Result]:
        """Queue a call of a client; the future gives its result, or raises what it raised."""
        future: Future[Result] = Future()
        with self._lock:
            client.queue.append((future, call))
            if len(client.queue) == 1:
                self._turns.append(client)
            self._start()
        return future

    def _start(self) -> None:
        while self._running < self._threads and (client := self._next()):
            client.running += 1
            self._running += 1
            self._pool.submit(self._run, client, *client.queue.popleft())
            if client.queue:
                self._turns.append(client)

    def _next(self) -> PoolClient | None:
        """The next client that has a call and may run one more; it is taken out of the turns."""
        for _ in range(len(self._turns)):
            client = self._turns.popleft()
            while client.queue and client.queue[0][0].cancelled():
                client.queue.popleft()
            if client.queue and client.running < self._per_client:
                return client
            if client.queue:
                self._turns.append(client)
        return None

    def _run(self, client: PoolClient, future: Future[Any], call: Callable[[], Any]) -> None:
        try:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)
        finally:
            with self._lock:
                client.running -= 1
                self._running -= 1
                self._start()
