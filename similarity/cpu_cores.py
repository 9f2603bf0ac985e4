"""The number of processor cores that this process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores of the process's affinity mask; ``OMP_NUM_THREADS``, which other libraries read themselves, is a limit."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(limit)) if limit.isdigit() and int(limit) else allowed
