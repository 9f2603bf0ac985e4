"""Writes the learned parameters of the matcher to one file, which ``llm.embedded.weights.load`` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.embedded.weights import GENERAL, PARTS, GeneralWeights, MatcherWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


def save(weights: MatcherWeights, path: Path, rank: int) -> None:
    """Write the weights in half precision, and word features in int8.

    Every matrix of changes is written as a product of two low-rank matrices (Eckart and Young 1936).
    """
    from safetensors.numpy import save_file

    tensors: dict[str, Any] = {name: getattr(weights, name) for name in PARTS}
    steps = np.abs(weights.words.weights).max(axis=0) / 127 + 1e-6  # each label's weights in eight bits
    tensors |= {"words.steps": steps, "words.rarity": weights.words.rarity}
    tensors |= {f"tower.{name}": one for name, one in weights.tower.items()}
    tensors |= _stored_changes(weights.changes, rank)
    tensors |= {f"{GENERAL}{name}": one for name, one in _stored_general(weights.general, rank).items()}
    halves = {name: np.ascontiguousarray(tensor, np.float16) for name, tensor in tensors.items()}
    metadata = {"name": weights.name} | {name: repr(float(value)) for name, value in weights.numbers.items()}
    whole = {"labels": weights.labels, "words.labels": weights.words.labels}
    whole["words.weights"] = np.round(weights.words.weights / steps).astype(np.int8)
    save_file(halves | whole, path, metadata=metadata)


def _stored_general(weights: GeneralWeights, rank: int) -> dict[str, Array]:
    tower = {f"tower.{name}": one for name, one in weights.tower.items()}
    return {"centre": weights.centre, **tower, **_stored_changes(weights.changes, rank)}


def _stored_changes(changes: Mapping[str, Array], rank: int) -> dict[str, Array]:
    """Changes as ``StoredChanges`` reads them; each matrix as a product of two of a rank (Eckart and Young 1936)."""
    factors = (_factors(name, change, rank) for name, change in changes.items())
    return {name: one for found in factors for name, one in found.items()}


def _factors(name: str, change: Array, rank: int) -> dict[str, Array]:
    if change.ndim == 1:
        return {f"change.{name}": change}
    left, middle, right = np.linalg.svd(change, full_matrices=False)
    root = np.sqrt(middle[:rank])
    return {f"left.{name}": left[:, :rank] * root, f"right.{name}": root[:, None] * right[:rank]}
