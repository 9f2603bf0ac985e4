"""Threads of native libraries: how many cores they use, and how calls into them end before the interpreter does.

CPython 3.11 ends daemon threads with ``pthread_exit`` where they next take the GIL
(https://github.com/python/cpython/issues/87135). Inside OpenVINO, torch (pybind11) or tokenizers (Rust) this unwinds
frames that forbid it, and the process aborts at exit with status 134 or 139. At exit this module therefore waits for
running calls and lets daemon threads start no new ones.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_EXIT_SECONDS = 10.0  # at most; a batch of the embedded classifier takes less than one
_BLAS_LOCK = threading.Lock()  # the number of threads is global: concurrent blocks would restore each other's value
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container (cgroup v2)
_CPUS = Path("/sys/devices/system/cpu")


def cores() -> int:
    """Cores of the process's affinity mask; ``OMP_NUM_THREADS``, which other libraries read themselves, is a limit."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(limit)) if limit.isdigit() and int(limit) else allowed


def physical_cores(cpus: Path = _CPUS, quota: Path = _CPU_QUOTA) -> int:
    """Physical cores that this process may use: two threads of one core compute hardly more than one.

    Args:
        cpus: the kernel's folder of processors; where it says nothing, each processor is a core.
        quota: the kernel's file of the container's CPU quota.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    physical = {_siblings(cpus, number) for number in allowed}
    return max(1, min(len(physical), cores(), _quota_cores(quota, len(physical))))


def _siblings(cpus: Path, number: int) -> str:
    """The processors of the core that processor ``number`` belongs to, as the kernel lists them."""
    try:
        return (cpus / f"cpu{number}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(number)


def share_cores(workers: int, environment: MutableMapping[str, str] = os.environ, quota: Path = _CPU_QUOTA) -> None:
    """Make OpenMP's threads sleep while they wait, and give each worker process its share of the cores.

    Call it before torch is imported, which reads these variables only then. Variables that are set stay as they are.
    By default OpenMP's threads spin while they wait for each other. Where another process uses the same core, each
    layer of the model then costs a time slice: on two busy cores, a forward pass took 1.6 s instead of 29 to 200 ms.

    Args:
        workers: number of processes that compute at once.
        environment: receives the variables.
        quota: the kernel's file of the container's CPU quota.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    allowed = cores()
    threads = max(1, min(allowed, _quota_cores(quota, allowed)) // workers)
    if threads < allowed:  # else torch's own default is better: it counts no hyperthreads
        environment.setdefault("OMP_NUM_THREADS", str(threads))


def _quota_cores(quota: Path, allowed: int) -> int:
    """The quota in cores, rounded; ``allowed`` where there is none."""
    try:
        limit, period = quota.read_text().split()
        return allowed if limit == "max" else max(1, round(int(limit) / int(period)))
    except (OSError, ValueError):
        return allowed


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
        """Refuse new calls of daemon threads, and return whether those under way ended within so many seconds."""
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


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit numpy's matrix products to one thread in this block. Only one block runs at a time in the process.

    After a batch, the encoder's threads spin for a while. A product on all cores then waits for a time slice: 30 ms
    instead of half a millisecond on one thread.
    """
    with _BLAS_LOCK, _blas().limit(limits=1):
        yield


@cache
def _blas() -> Any:
    import numpy as np  # noqa: F401  (a library is found only once it is loaded)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
