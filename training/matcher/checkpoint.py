"""A training's state on disk, so that one that was ended goes on where it was."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prompts.files import replacing


@dataclass(frozen=True)
class Checkpoints:
    """A folder with one file for each stage of a training.

    Attributes:
        folder: made with the first state, gone with ``forget``.
    """

    folder: Path

    def state(self, stage: str) -> dict[str, Any] | None:
        """What was kept of a stage last; None where nothing was."""
        path = self._path(stage)
        return torch.load(path, weights_only=True) if path.exists() else None

    def keep(self, stage: str, state: dict[str, Any]) -> None:
        """Keep a stage's state in place of its earlier one; a kill in between leaves the earlier one."""
        with replacing(self._path(stage)) as new:
            torch.save(state, new)

    def forget(self) -> None:
        """Remove the states of all stages."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, stage: str) -> Path:
        return self.folder / f"{stage}.pt"
