"""How the model's threads share the processor with others; settled before torch is loaded, which looks then only."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

from similarity.native import cores

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of the container, where there is one (cgroup v2)


def share(workers: int, environment: MutableMapping[str, str] = os.environ, quota: Path = _QUOTA) -> None:
    """Let threads sleep while they wait for each other, and give each worker process its part of the cores.

    OpenMP's threads wait by turning in a loop. Where something else wants the same core (another worker, a container's
    quota), the one that is waited for is not running, and every layer of the model costs a time slice: on two busy
    cores a forward pass took 1.6 s that takes 29 to 200 ms when threads sleep. What is set already stays as it is.

    Args:
        workers: processes that compute at once.
        environment: where OpenMP finds its settings.
        quota: the container's share of processor time, as the kernel tells it.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    allowed = cores()
    granted = max(1, min(allowed, _granted(quota, allowed)) // workers)
    if granted < allowed:  # else torch knows better: it counts no hyperthreads
        environment.setdefault("OMP_NUM_THREADS", str(granted))


def _granted(quota: Path, allowed: int) -> int:
    """Cores' worth of processor time, rounded; all where there is no quota."""
    try:
        most, period = quota.read_text().split()
        return allowed if most == "max" else max(1, round(int(most) / int(period)))
    except (OSError, ValueError):
        return allowed
