"""Vectors on the disk: rows of float32, one after another, without a header; the manifest says their shape."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
_BYTES = 4


def append(path: Path, held: int, vectors: Vectors) -> None:
    """Put vectors behind the first ``held`` rows, dropping whatever stands there; on the disk when this returns."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(held * vectors.shape[1] * _BYTES)
        file.seek(0, os.SEEK_END)
        file.write(np.ascontiguousarray(vectors, "<f4").tobytes())
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, dimension: int, rows: NDArray[np.int64], vectors: Vectors) -> None:
    """Write vectors into these rows; rows behind the end make the file longer."""
    longest = max(int(rows.max()) + 1, path.stat().st_size // (dimension * _BYTES))
    os.truncate(path, longest * dimension * _BYTES)
    mapped = np.memmap(path, "<f4", "r+", shape=(longest, dimension))
    mapped[rows] = vectors
    mapped.flush()


def mapped(path: Path, rows: int, dimension: int) -> Vectors:
    """So many rows, mapped for reading: only what is touched is in memory."""
    return np.asarray(np.memmap(path, "<f4", "r", shape=(rows, dimension)))
