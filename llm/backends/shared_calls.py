"""Calls whose result serves all requests, such as a capability check: each request waits no longer than it may."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from llm.request_context import CURRENT_REQUEST
from similarity.micro_batching import check_waiting

Result = TypeVar("Result")
_LOOK_SECONDS = 0.5  # between two looks whether the client is still connected


class SharedCalls:
    """Runs calls in threads of their own, outside any request. Equal calls at the same time are one call.

    A call goes on when a request gives up: the next request finds its result, and a client that allows little time
    fails no check for others.
    """

    def __init__(self) -> None:
        self._running: dict[Hashable, Future[Any]] = {}
        self._lock = threading.Lock()

    def result(self, key: Hashable, call: Callable[[], Result]) -> Result:
        """The call's result.

        Args:
            key: equal for equal calls.
            call: keeps its result itself where later requests should not repeat it.

        Raises:
            Expired: the deadline of the request has passed.
            Disconnected: the client of the request has closed its connection.
            Exception: what the call raised.
        """
        running, asking = self._started((os.getpid(), key), call), CURRENT_REQUEST.get()
        while not wait([running], max(0.0, min(asking.remaining, _LOOK_SECONDS))).done:
            check_waiting(asking)
        found: Result = running.result()
        return found

    def _started(self, key: Hashable, call: Callable[[], Any]) -> Future[Any]:
        with self._lock:
            running = self._running.get(key)
            if running is None:
                running = self._running[key] = Future()
                threading.Thread(target=self._run, args=(key, call, running), name="shared call", daemon=True).start()
            return running

    def _run(self, key: Hashable, call: Callable[[], Any], running: Future[Any]) -> None:
        try:
            found = call()
        except BaseException as error:
            self._end(key)
            running.set_exception(error)
        else:
            self._end(key)
            running.set_result(found)

    def _end(self, key: Hashable) -> None:
        with self._lock:
            del self._running[key]
