"""A run's manifest: everything that its numbers depend on, and the guard against mixing two runs in one folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eval.datasets import Example
from eval.environment import commit, hardware, libraries
from llm.provenance import differences, recorded_in_both
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.files import digest_of, write_text_atomically
from prompts.taxonomy import Taxonomy

MANIFEST = "manifest.json"
Manifest = dict[str, Any]


@dataclass(frozen=True)
class EvaluationData:
    """What systems are measured on.

    Attributes:
        data: the file or folder that the examples come from.
        split: the rows of which split; None where all were taken.
        limit: the most examples; None where all were taken.
        taxonomy: the taxonomy.
        examples: in the order in which they are asked about.
    """

    data: Path
    split: str | None
    limit: int | None
    taxonomy: Taxonomy
    examples: Sequence[Example]

    def __post_init__(self) -> None:
        ((often, times),) = Counter(example.id for example in self.examples).most_common(1) or [("", 0)]
        if times > 1:
            raise InvalidDataset(f"{self.data.name}: {times} examples have the id {often!r}; a run needs each id once")


def begin(
    material: EvaluationData, system: str, setup: Mapping[str, Any], decode_rule: str | None, command: str
) -> Manifest:
    """The manifest of a run that starts now.

    Args:
        material: what it is measured on.
        system: its spec.
        setup: what tells it from another system of the same spec.
        decode_rule: how scores become labels, in words; None where that is not known.
        command: the command line.
    """
    return {
        **identity(material, system, setup),
        **extent(material),
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


def identity(material: EvaluationData, system: str, setup: Mapping[str, Any]) -> Manifest:
    """What must be the same for rows to belong to one run."""
    taxonomy = material.taxonomy
    return {
        "data": {"name": material.data.name, "digest": digest_of(material.data)},
        "split": material.split,
        "taxonomy": {"name": taxonomy.name, "digest": taxonomy.digest, "labels": list(taxonomy.names)},
        "system": system,
        "setup": dict(setup),
    }


def extent(material: EvaluationData) -> Manifest:
    """How many of the examples were taken; may grow from one session to the next."""
    ids = "\n".join(example.id for example in material.examples)
    return {
        "limit": material.limit,
        "texts": len(material.examples),
        "ids_sha256": digest_of(ids),
    }


def refuse_another(kept: Manifest, asked: Manifest, folder: Path) -> None:
    """Let a run go on only as itself.

    Raises:
        InvalidSetting: the folder's run and the one asked for differ; says in what.
    """
    before, setup = recorded_in_both(kept.get("setup") or {}, asked["setup"])
    found = differences({key: kept.get(key) for key in asked} | {"setup": before}, asked | {"setup": setup})
    if words := "; ".join(one for name, one in found.items() if name != "data.name"):
        raise InvalidSetting(f"{folder} holds another run ({words}); give another --out, or --overwrite to start over")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run.

    Raises:
        InvalidDataset: there is none, or it is not a JSON object.
    """
    path = folder / MANIFEST
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidDataset(
            f"cannot read {path}: {error.strerror or error}; give the folder of a run, as main.py evaluate writes it"
        ) from None
    except (ValueError, RecursionError):
        kept = None
    if not isinstance(kept, dict):
        raise InvalidDataset(
            f"{path} is not a JSON object; restore the file, or run the evaluation into an empty folder"
        )
    return kept


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of a run; a reader finds the old one or the new one."""
    write_text_atomically(folder / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
