"""Text vectors cached on disk by the digest of the text, so that a second training encodes nothing."""

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
from similarity.encoders.minilm import MiniLM
from similarity.encoders.tokens import cut

if TYPE_CHECKING:
    from similarity.encoders.tokens import Vectors
    from similarity.index.builder import IndexEncoder

_BATCH = 128
_LOGIT_SCALE = np.float32(0.1)  # scales logits to about the size of the components of a unit vector
_KEYS_PER_QUERY = 500  # the variables of an SQLite query are limited to 999 in old versions


def tuned(weights: Path) -> MiniLM:
    """The matcher's fine-tuned MiniLM; its name has the digest of the weights, which separates cached vectors."""
    return MiniLM(load(weights).changes, f"matcher-{digest_of(weights, 8)}")


class MatcherEncoder:
    """The matcher's fine-tuned text vector, concatenated with its word logits of the labels seen in training.

    Args:
        weights: the matcher's file.
    """

    def __init__(self, weights: Path) -> None:
        self._tuned, self._words = tuned(weights), load(weights).words
        self.name = f"{self._tuned.name}-words"
        self.dimension = self._tuned.dimension + len(self._words.labels)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors, float32, shape (texts, dimension), in the order of the texts; not of length 1."""
        tokenised = cut(texts)
        return np.concatenate([self._tuned.encode(tokenised), _LOGIT_SCALE * self._words.logits(tokenised)], axis=1)


class CachedEncoder:
    """An encoder with a cache on disk.

    Args:
        encoder: encodes texts that are not cached.
        folder: folder of the cache.
    """

    def __init__(self, encoder: IndexEncoder, folder: Path) -> None:
        self.name, self.dimension = encoder.name, encoder.dimension
        self._encoder, self._folder = encoder, folder

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See ``IndexEncoder.encode``."""
        return embeddings(self._encoder, texts, self._folder)


def embeddings(encoder: IndexEncoder, texts: Sequence[str], folder: Path, track: Track = untracked) -> Vectors:
    """Vectors of the texts, float32, shape (texts, dimension), in their order; new vectors are cached.

    Args:
        encoder: the encoder.
        texts: texts; equal ones are encoded once.
        folder: folder of the cache, one SQLite file per encoder.
        track: shows progress over the batches to encode.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys = [hashlib.sha256(text.encode()).digest() for text in texts]
    with closing(sqlite3.connect(folder / f"{encoder.name}.sqlite", timeout=60)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS vectors (text BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")
        found = _cached(database, keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        by_length = sorted(missing.items(), key=lambda pair: len(pair[1]))  # less padding in a batch
        for start in track(range(0, len(by_length), _BATCH), "encoding") if by_length else ():
            batch = by_length[start : start + _BATCH]
            vectors = encoder.encode([text for _, text in batch])
            new = {key: vector.tobytes() for (key, _), vector in zip(batch, vectors, strict=True)}
            with database:  # a commit per batch: a killed training resumes here
                database.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", new.items())
            found |= new
    flat = np.frombuffer(b"".join(found[key] for key in keys), dtype=np.float32)
    return flat.reshape(len(texts), encoder.dimension).copy()


def _cached(database: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        part = keys[start : start + _KEYS_PER_QUERY]
        marks = ",".join("?" * len(part))
        found |= dict(database.execute(f"SELECT text, vector FROM vectors WHERE text IN ({marks})", part).fetchall())
    return found
