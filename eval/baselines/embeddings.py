"""Vectors of texts, kept on disk by the text's digest, so that a second training encodes nothing."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eval.baselines.data import Track, untracked
from llm.embedded.weights import load
from prompts.files import digest_of
from similarity.encoders.minilm import MiniLM, cut

if TYPE_CHECKING:
    from similarity.encoders.minilm import Vectors
    from similarity.index.builder import IndexEncoder

_BATCH = 128
_OF_WORDS = np.float32(0.1)  # brings logits to about the size of the numbers of a vector of length 1
_ASKED_AT_ONCE = 500  # SQLite takes no more than 999 variables everywhere


def tuned(weights: Path) -> MiniLM:
    """MiniLM as the matcher of a file of weights reads texts; its name tells one file's vectors from another's."""
    digest = digest_of(weights, 8)
    return MiniLM(load(weights).changes, f"matcher-{digest}")


class AsRead:
    """Texts as the matcher reads them: the tuned vector, and beside it what single words tell of the labels it knows.

    Args:
        weights: the matcher's file.
    """

    def __init__(self, weights: Path) -> None:
        self._tuned, self._words = tuned(weights), load(weights).words
        self.name = f"{self._tuned.name}-words"
        self.dimension = self._tuned.dimension + len(self._words.labels)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors, float32, shape (texts, dimension), in the order of the texts; not of length 1."""
        read = cut(texts)
        return np.concatenate([self._tuned.encode(read), _OF_WORDS * self._words.logits(read)], axis=1)


class Remembered:
    """An encoder whose vectors are kept on disk, by its name and the texts' digests.

    Args:
        encoder: makes what is not there.
        folder: where vectors are kept.
    """

    def __init__(self, encoder: IndexEncoder, folder: Path) -> None:
        self.name, self.dimension = encoder.name, encoder.dimension
        self._encoder, self._folder = encoder, folder

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See ``IndexEncoder.encode``."""
        return embeddings(self._encoder, texts, self._folder)


def embeddings(encoder: IndexEncoder, texts: Sequence[str], folder: Path, track: Track = untracked) -> Vectors:
    """Vectors of the texts, float32, shape (texts, dimension), in their order; what is new is encoded and kept.

    Args:
        encoder: whose vectors.
        texts: what to encode; equal ones are encoded once.
        folder: where vectors are kept, one SQLite file per encoder.
        track: shows progress over batches that must be encoded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys = [hashlib.sha256(text.encode()).digest() for text in texts]
    with closing(sqlite3.connect(folder / f"{encoder.name}.sqlite", timeout=60)) as kept:
        kept.execute("CREATE TABLE IF NOT EXISTS vectors (text BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")
        found = _kept(kept, keys)
        # Texts of like length together: a batch is as long as its longest.
        missing = sorted({key: text for key, text in zip(keys, texts, strict=True) if key not in found}.items(),
                         key=lambda pair: len(pair[1]))  # fmt: skip
        for start in track(range(0, len(missing), _BATCH), "encoding") if missing else ():
            batch = missing[start : start + _BATCH]
            vectors = encoder.encode([text for _, text in batch])
            fresh = {key: vector.tobytes() for (key, _), vector in zip(batch, vectors, strict=True)}
            with kept:  # batch by batch, so that a killed training goes on where it was
                kept.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", fresh.items())
            found |= fresh
    flat = np.frombuffer(b"".join(found[key] for key in keys), dtype=np.float32)
    return flat.reshape(len(texts), encoder.dimension).copy()


def _kept(kept: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for start in range(0, len(keys), _ASKED_AT_ONCE):
        some = keys[start : start + _ASKED_AT_ONCE]
        marks = ",".join("?" * len(some))
        found |= dict(kept.execute(f"SELECT text, vector FROM vectors WHERE text IN ({marks})", some).fetchall())
    return found
