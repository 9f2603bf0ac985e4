"""Runs as an evaluation writes them, made of what a test says."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ABC = ("a", "b", "c")


def row(name: str, truth: Sequence[str], answered: Sequence[str], **more: Any) -> dict[str, Any]:
    """A row; ``more`` adds to it or overrides it."""
    return {"id": name, "truth": list(truth), "labels": list(answered), "scores": {}, "problem": None, **more}


def write_run(
    folder: Path, rows: Sequence[Mapping[str, Any]], labels: Sequence[str] = ABC, data: str = "d1", taxonomy: str = "t1"
) -> Path:
    """Write the folder of a run and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    manifest = {
        "system": folder.name,
        "taxonomy": {"name": "label_tokens", "labels": list(labels), "digest": taxonomy},
        "data": {"name": "made", "digest": data, "split": "test"},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def noisy_rows(texts: int, right: float, seed: int, labels: Sequence[str] = ABC) -> list[dict[str, Any]]:
    """Rows over always the same truths, in groups of two, where each decision is right with a given probability."""
    truths = np.random.default_rng(7).random((texts, len(labels))) < 0.4
    order_sensitivity = np.random.default_rng(seed).random(truths.shape) >= right
    return [
        row(str(at), _names(truth, labels), _names(truth ^ flip, labels), group=str(at // 2))
        for at, (truth, flip) in enumerate(zip(truths, order_sensitivity, strict=True))
    ]


def _names(chosen: Any, labels: Sequence[str]) -> list[str]:
    return [label for label, taken in zip(labels, chosen, strict=True) if taken]
