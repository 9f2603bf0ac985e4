"""Vectors of labels in files: a process that labels one text need not load the encoder of the labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from prompts.files import replacing
from prompts.installation import user_cache
from similarity.encoders.minilm import MiniLM, computed_by_torch
from similarity.encoders.precision import cpu_instructions, number_format, openvino
from similarity.encoders.tokens import Cut, weights_folder
from similarity.native import cores

if TYPE_CHECKING:
    from similarity.encoders.tokens import Vectors

_FORMAT = 1  # raised when the encoder computes other vectors from the same weights and libraries
_MAX_BYTES = 32 * 2**20  # about 200 taxonomies of 50 labels


class StoredVectors(MiniLM):
    """Plain MiniLM that keeps the vectors of labels in a folder, under a digest of all that decides on them.

    A list of labels is one file, because a vector differs in its last digits with the batch that it is computed in:
    an answer is the same with and without the files. Texts to label come with their word pieces (``Cut``); they are
    encoded and not stored. A file that is damaged or cannot be written costs time only.

    Args:
        folder: receives the files; above 32 MB the least recently used ones are removed.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See ``LazyEncoder.encode``."""
        if not texts or any(isinstance(text, Cut) for text in texts) or computed_by_torch():
            return super().encode(texts)
        path = self._folder / f"{self._digest(texts)}.npy"
        found = _read(path, (len(texts), self.dimension))
        if found is None:
            found = super().encode(texts)
            with suppress(OSError):  # a read-only or full disk
                _write(path, found)
        return found

    def _digest(self, texts: Sequence[str]) -> str:
        return hashlib.sha256(json.dumps([*self._computed_with, *texts]).encode()).hexdigest()[:32]

    @cached_property
    def _computed_with(self) -> Sequence[str]:
        """Weights, libraries, number format and processor: vectors depend on each."""
        weights = Path(weights_folder()) / "model.safetensors"
        versions = (np.__version__, str(openvino().__version__))
        machine = (number_format(), str(cores()), " ".join(sorted(cpu_instructions())))
        return (f"{_FORMAT} {self.name} {weights} {weights.stat().st_size}", *versions, *machine)


def label_encoder() -> MiniLM:
    """Return plain MiniLM that stores vectors of labels in the user's cache folder, where there is one."""
    folder = user_cache()
    return StoredVectors(folder / "labels") if folder else MiniLM()


def _read(path: Path, shape: tuple[int, int]) -> Vectors | None:
    try:
        found = np.load(path, allow_pickle=False)
        path.touch()
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.float32 and np.isfinite(found).all() else None


def _write(path: Path, vectors: Vectors) -> None:
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    with replacing(path, 0o600) as new, new.open("wb") as file:
        np.save(file, vectors, allow_pickle=False)
    total = 0
    for stored in sorted(path.parent.glob("*.npy"), key=lambda one: one.stat().st_mtime, reverse=True):
        total += stored.stat().st_size
        if total > _MAX_BYTES:
            stored.unlink(missing_ok=True)
