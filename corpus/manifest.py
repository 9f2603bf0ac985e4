"""What each step of a corpus was made from, so that a change is noticed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prompts.errors import InvalidDataset
from prompts.files import digest_of, write_text_atomically

NAME = "manifest.json"
_FORMAT = "marquee-corpus-1"


@dataclass(frozen=True)
class StepRecord:
    """A step that was run.

    Attributes:
        settings: what was set for it.
        inputs: digest of each file that it read.
        outputs: digest of each file that it wrote.
        versions: of the libraries that its outputs depend on.
        counts: what it did, in words and numbers.
        unfinished: rows that the same step may do better next time.
        seconds: that it took.
        at: when it ended (UTC, ISO 8601).
    """

    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    versions: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    unfinished: int = 0
    seconds: float = 0.0
    at: str = ""


def read_manifest(folder: Path) -> dict[str, StepRecord]:
    """The steps that were run, by name; none where there is no manifest.

    Raises:
        InvalidDataset: the file is something else.
    """
    path = folder / NAME
    if not path.exists():
        return {}
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["format"] != _FORMAT:
            raise ValueError(body["format"])
        return {name: StepRecord(**made) for name, made in body["steps"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidDataset(f"{path} is no manifest of a corpus; remove it to make all steps anew") from None


def write_manifest(folder: Path, steps: Mapping[str, StepRecord]) -> None:
    """Write it in one step."""
    body = {"format": _FORMAT, "steps": {name: asdict(made) for name, made in steps.items()}}
    write_text_atomically(folder / NAME, json.dumps(body, ensure_ascii=False, indent=1) + "\n")


def digest_at(path: Path) -> str:
    """12 hex digits of a file, or of the files of a folder; empty where there is none."""
    there = path.is_file() or any(one.is_file() for one in path.rglob("*"))
    return digest_of(path, 12) if there else ""
