"""Calls into native libraries that have to be over before the interpreter ends.

CPython 3.11 ends daemon threads with ``pthread_exit`` where they next take the GIL
(https://github.com/python/cpython/issues/87135). Inside OpenVINO, torch (pybind11) or tokenizers (Rust) this unwinds
frames that forbid it, and the process aborts after its work is done, with status 134 or 139. At exit this module
therefore waits for calls under way, and lets daemon threads begin no more.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_EXIT_SECONDS = 10.0  # at most; a batch of the embedded classifier takes less than one


class NativeCalls:
    """Counts calls under way, for threads of one process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._closed = False

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a call while it runs. After ``close``, daemon threads wait here until the process ends."""
        with self._changed:
            while self._closed and threading.current_thread().daemon:
                self._changed.wait()
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def close(self, seconds: float = _EXIT_SECONDS) -> bool:
        """Refuse new calls of daemon threads and wait for those under way.

        Returns:
            Whether all ended within so many seconds.
        """
        with self._changed:
            self._closed = True
            return self._changed.wait_for(lambda: not self._running, seconds)


_calls = NativeCalls()
atexit.register(lambda: _calls.close())


def _reset() -> None:
    """In a forked process: the threads that the parent counted are not there."""
    global _calls
    _calls = NativeCalls()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)


def native(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a function that computes in a native library."""

    @wraps(function)
    def counted(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with _calls.one():
            return function(*args, **kwargs)

    return counted
