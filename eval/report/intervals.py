"""95% intervals of the headline figures, for the runs of an evaluation that can be resampled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from eval.journal import run_folders
from eval.measure import intervals
from eval.rows import read_run
from prompts.errors import InvalidDataset


def intervals_of(folder: Path) -> dict[str, Mapping[str, tuple[float, float]]]:
    """Bounds by system and metric; a run that lacks what resampling needs has none, and the report warns of it."""
    found: dict[str, Mapping[str, tuple[float, float]]] = {}
    for one in run_folders(folder):
        try:
            run = read_run(one)
            bounds = intervals(run)
        except InvalidDataset:
            continue
        found[run.system] = {name: (bound.low, bound.high) for name, bound in bounds.items()}
    return found
