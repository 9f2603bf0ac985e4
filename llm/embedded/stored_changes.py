"""Changes of a model's weights in a file of weights: each matrix is stored as a product of two of low rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


class StoredChanges(Mapping[str, "Array"]):
    """Changes of a model's weights as ``save`` stored them: a matrix is the product of two, computed when it is read.

    The 42 MB of a branch are then computed only where its model is loaded, and not kept.
    """

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        self._whole, self._left, self._right = (under(prefix, tensors) for prefix in ("change.", "left.", "right."))

    def __getitem__(self, name: str) -> Array:
        return self._whole[name] if name in self._whole else self._left[name] @ self._right[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self._whole, *self._left))

    def __len__(self) -> int:
        return len(self._whole) + len(self._left)


def stored_changes(changes: Mapping[str, Array], rank: int) -> dict[str, Array]:
    """Changes as ``StoredChanges`` reads them; each matrix as a product of two of a rank (Eckart and Young 1936)."""
    factors = (_factors(name, change, rank) for name, change in changes.items())
    return {name: one for found in factors for name, one in found.items()}


def _factors(name: str, change: Array, rank: int) -> dict[str, Array]:
    if change.ndim == 1:
        return {f"change.{name}": change}
    left, middle, right = np.linalg.svd(change, full_matrices=False)
    root = np.sqrt(middle[:rank])
    return {f"left.{name}": left[:, :rank] * root, f"right.{name}": root[:, None] * right[:rank]}


def under(prefix: str, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Tensors whose names start with a prefix, without it."""
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}
