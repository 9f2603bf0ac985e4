"""Text vectors cached on disk by the digest of the text, and the systems of similarity search that are compared."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from eval.baselines.trained import Track, untracked
from llm.embedded.matcher import SHIPPED, Matcher, matcher
from llm.embedded.weights import load
from prompts import registry
from prompts.errors import InvalidSetting, UnknownName
from prompts.files import digest_of
from similarity.encoders.minilm import MiniLM
from similarity.encoders.tokens import cut

if TYPE_CHECKING:
    from llm.classifier import Classifier
    from prompts.taxonomy import Taxonomy
    from similarity.encoders.tokens import Vectors
    from similarity.index.builder import IndexEncoder

    Wrap = Callable[[IndexEncoder], IndexEncoder]

OnProgress = Callable[[int], object]  # called with the number of texts encoded
_BATCH, _ENCODED_AT_ONCE = 128, 1_024
_LOGIT_SCALE = np.float32(0.1)  # scales logits to about the size of the components of a unit vector
_GENRE_WEIGHT = 0.5  # length of the genre scores; the text vector has length 1


def tuned(weights: Path) -> MiniLM:
    """The matcher's fine-tuned MiniLM; its name has the digest of the weights, which separates cached vectors."""
    return MiniLM(load(weights).changes, f"matcher-{digest_of(weights, 8)}")


class MatcherEncoder:
    """The matcher's fine-tuned text vector, concatenated with its word logits of the labels seen in training."""

    def __init__(self, weights: Path) -> None:
        self._tuned, self._words = tuned(weights), load(weights).words
        self.name = f"{self._tuned.name}-words"
        self.dimension = self._tuned.dimension + len(self._words.labels)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors, float32, shape (texts, dimension), in the order of the texts; not of length 1."""
        tokenised = cut(texts)
        return np.concatenate([self._tuned.encode(tokenised), _LOGIT_SCALE * self._words.logits(tokenised)], axis=1)


class CachedEncoder:
    """An encoder with a cache on disk, in ``folder``."""

    def __init__(self, encoder: IndexEncoder, folder: Path) -> None:
        self.name, self.dimension = encoder.name, encoder.dimension
        self._encoder, self._folder = encoder, folder

    def encode(self, texts: Sequence[str]) -> Vectors:
        return embeddings(self._encoder, texts, self._folder)


def embeddings(encoder: IndexEncoder, texts: Sequence[str], folder: Path, track: Track = untracked) -> Vectors:
    """Vectors of the texts, float32, shape (texts, dimension), in their order.

    New vectors are cached in ``folder``, one SQLite file per encoder; equal texts are encoded once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys = [hashlib.sha256(text.encode()).digest() for text in texts]
    with closing(sqlite3.connect(folder / f"{encoder.name}.sqlite", timeout=60)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS vectors (text BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")
        rows = ((key, database.execute("SELECT vector FROM vectors WHERE text = ?", (key,)).fetchone()) for key in keys)
        found: dict[bytes, bytes] = {key: row[0] for key, row in rows if row}
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


class Space(Protocol):
    """A catalogue of texts with a similarity."""

    def scores(self, texts: Sequence[str]) -> Vectors:
        """Cosines of texts with all films of the catalogue, shape (texts, films)."""


class Encoded:
    """A catalogue as vectors of an encoder."""

    def __init__(
        self, encoder: IndexEncoder, texts: Sequence[str], on_progress: OnProgress = lambda done: None
    ) -> None:
        self._encoder = encoder
        vectors = []
        for start in range(0, len(texts), _ENCODED_AT_ONCE):
            vectors.append(encoder.encode(texts[start : start + _ENCODED_AT_ONCE]))
            on_progress(min(start + _ENCODED_AT_ONCE, len(texts)))
        self.vectors = np.concatenate(vectors)

    def scores(self, texts: Sequence[str]) -> Vectors:
        return np.asarray(self._encoder.encode(texts) @ self.vectors.T, np.float32)


class WithGenres:
    """Vectors of an encoder with the genre scores of a classifier appended, scaled to length ``weight``."""

    def __init__(
        self, encoder: IndexEncoder, classifier: Classifier, taxonomy: Taxonomy, weight: float = _GENRE_WEIGHT
    ) -> None:
        self.name = f"{encoder.name} with genres by {classifier.name}"
        self.dimension = encoder.dimension + len(taxonomy.names)
        self._encoder, self._classifier, self._taxonomy, self._weight = encoder, classifier, taxonomy, weight

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, shape (texts, dimension)."""
        names = self._taxonomy.names
        predictions = self._classifier.classify(texts, self._taxonomy)
        scores = np.array([[one.scores.get(name, 0.0) for name in names] for one in predictions], np.float32)
        lengths = np.linalg.norm(scores, axis=1, keepdims=True)
        profiles = self._weight * np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)
        joined = np.hstack([self._encoder.encode(texts), profiles.reshape(len(texts), len(names))])
        return np.asarray(joined / np.linalg.norm(joined, axis=1, keepdims=True), np.float32)


class TfIdf:
    """A catalogue as TF-IDF of words and word pairs, without English stop words, fitted to the catalogue."""

    def __init__(self, texts: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer = TfidfVectorizer(
            sublinear_tf=True,
            min_df=2 if len(texts) > 1_000 else 1,
            ngram_range=(1, 2),
            stop_words="english",
            dtype=np.float32,
        )
        self._films: Any = self._vectorizer.fit_transform(texts).T.tocsr()

    def scores(self, texts: Sequence[str]) -> Vectors:
        return np.asarray((self._vectorizer.transform(texts) @ self._films).toarray(), np.float32)


def space(
    spec: str, texts: Sequence[str], cache: Path | None = None, on_progress: OnProgress = lambda done: None
) -> Space:
    """The space of a system over the texts of a catalogue.

    ``spec`` is a name in ``SYSTEMS``, optionally with ``:`` and a file of the matcher's weights; ``cache`` is a folder.

    Raises:
        UnknownName: no such system.
        InvalidSetting: no such weights.
    """
    name, _, file = spec.partition(":")
    if name not in SYSTEMS:
        raise UnknownName("system", name, SYSTEMS)
    weights = Path(file) if file else SHIPPED
    if not weights.exists():
        raise InvalidSetting(f"there are no weights at {weights}; name a file of the matcher's: minilm+genres:FILE")
    encoder = SYSTEMS[name](weights, lambda plain: CachedEncoder(plain, cache) if cache else plain)
    return TfIdf(texts) if encoder is None else Encoded(encoder, texts, on_progress)


def _with_genres(weights: Path, wrap: Wrap) -> IndexEncoder:
    plain, fine_tuned = wrap(MiniLM()), wrap(tuned(weights))
    whole = matcher(weights)
    return WithGenres(plain, Matcher(plain, fine_tuned, whole.general, whole.weights), registry.taxonomy("imdb"))


# Name -> its encoder, from the matcher's weights and a wrapper of every MiniLM; TF-IDF has none.
SYSTEMS: Mapping[str, Callable[[Path, Wrap], IndexEncoder | None]] = {
    "tfidf": lambda weights, wrap: None,
    "minilm": lambda weights, wrap: wrap(MiniLM()),
    "minilm-tuned": lambda weights, wrap: wrap(tuned(weights)),
    "minilm+genres": _with_genres,
}
