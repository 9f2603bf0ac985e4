"""A run's metrics, from its rows and manifest alone: computed once after a run, and again whenever asked for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.measure import figures as measured
from eval.results import RunResults, run_folders
from eval.rows import RunRow
from llm.classifier import Usage
from llm.costs import cost

METRICS_FILE = "metrics.json"
Figures = Mapping[str, float | None]


def write_metrics(run: RunResults) -> Figures:
    """Compute a run's metrics and keep them in its ``metrics.json``; the same bytes for the same rows and manifest."""
    figures = {**measured(run), **expense(run.rows, run.manifest)}
    (run.folder / METRICS_FILE).write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return figures


def rescore(folder: Path) -> dict[str, Figures]:
    """``write_metrics`` for a run, or for every run in a folder, by their systems' specs.

    Raises:
        InvalidDataset: there is none.
    """
    return {run.system: write_metrics(run) for run in map(RunResults.read, run_folders(folder))}


def expense(rows: Sequence[RunRow], manifest: Mapping[str, Any]) -> Figures:
    """What the answers took, and how many were none; None where a figure cannot be told.

    Answers that were remembered have no say in time and tokens.
    """
    asked = [row for row in rows if not row.cached]
    return {
        **_failures(rows),
        **_speed(asked),
        "peak MB": manifest.get("peak_mb"),
        **_spent(asked),
        **_answerers(rows),
    }


def _failures(rows: Sequence[RunRow]) -> Figures:
    return {
        "invalid": sum(row.problem is not None for row in rows) / len(rows),
        "abstentions": sum(not row.labels and row.problem is None for row in rows) / len(rows),
        "dropped": sum(len(row.dropped) for row in rows),
        "remembered": sum(row.cached for row in rows),
    }


def _speed(asked: Sequence[RunRow]) -> Figures:
    """Latency of texts asked about alone, throughput of batches."""
    alone = [1000 * row.seconds for row in asked if row.alone]
    batched = [row.seconds for row in asked if not row.alone]
    return {
        "p50 ms": float(np.percentile(alone, 50)) if alone else None,
        "p95 ms": float(np.percentile(alone, 95)) if alone else None,
        "texts/s": len(batched) / sum(batched) if sum(batched) else None,
    }


def _spent(asked: Sequence[RunRow]) -> Figures:
    """Tokens and US dollars per 1,000 texts; nothing where no language model was asked."""
    used = [row.usage for row in asked]
    if not any(one.prompt_tokens for one in used):
        return {}
    costs = [cost(row.source.model, one) for row, one in zip(asked, used, strict=True) if one != Usage()]
    thousand = 1000 / len(asked)
    return {
        "prompt tokens per 1,000": thousand * sum(one.prompt_tokens for one in used),
        "cached tokens per 1,000": thousand * sum(one.cached_tokens for one in used),
        "written tokens per 1,000": thousand * sum(one.completion_tokens for one in used),
        "USD per 1,000": None if None in costs else thousand * sum(one for one in costs if one is not None),
    }


def _answerers(rows: Sequence[RunRow]) -> Figures:
    """How many texts each model answered, where it was not always the same one."""
    models = Counter(row.source.model for row in rows)
    return {f"by {model}": count for model, count in models.items()} if len(models) > 1 else {}
