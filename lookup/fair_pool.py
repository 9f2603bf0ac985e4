"""A thread pool with round-robin scheduling between clients."""

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
    """Pending and running calls of one client, guarded by the pool's lock."""

    queue: deque[tuple[Future[Any], Callable[[], Any]]] = field(default_factory=deque)
    running: int = 0


class FairPool:
    """Runs calls on threads, one call of each client in turn.

    A hanging call blocks only its own client, since a client has at most ``per_client`` calls running. Queues are
    unbounded; cancelled calls are removed.

    Args:
        threads: maximum number of concurrent calls.
        per_client: maximum number of concurrent calls of one client.
    """

    def __init__(self, threads: int, per_client: int) -> None:
        self._threads, self._per_client = threads, per_client
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="lookup")
        self._lock = threading.Lock()
        self._turns: deque[PoolClient] = deque()  # clients with queued calls, in scheduling order
        self._running = 0

    def submit(self, client: PoolClient, call: Callable[[], Result]) -> Future[Result]:
        """Queue a call; the future has its result or its exception."""
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
        """Remove and return the next client with a queued call and a free slot."""
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
