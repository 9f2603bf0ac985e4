"""Systems of ``eval.similarity_eval``: MiniLM, its fine-tuned form, MiniLM with genre scores, and TF-IDF."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.baselines.embeddings import CachedEncoder, tuned
from eval.similarity_eval import Space, Vectors
from llm.embedded.matcher import SHIPPED, Matcher
from llm.embedded.weights import load
from prompts import registry
from prompts.errors import InvalidSetting, UnknownName
from similarity.encoders.minilm import MiniLM

if TYPE_CHECKING:
    from llm.classifier import Classifier
    from prompts.taxonomy import Taxonomy
    from similarity.index.builder import IndexEncoder

    Wrap = Callable[[IndexEncoder], IndexEncoder]

OnProgress = Callable[[int], object]
_BATCH = 1_024
_GENRE_WEIGHT = 0.5  # length of the genre scores; the text vector has length 1


class Encoded:
    """A catalogue as vectors of an encoder; ``on_progress`` is called with the number of texts encoded."""

    def __init__(
        self, encoder: IndexEncoder, texts: Sequence[str], on_progress: OnProgress = lambda done: None
    ) -> None:
        self._encoder = encoder
        vectors = []
        for start in range(0, len(texts), _BATCH):
            vectors.append(encoder.encode(texts[start : start + _BATCH]))
            on_progress(min(start + _BATCH, len(texts)))
        self.vectors = np.concatenate(vectors)

    def scores(self, texts: Sequence[str]) -> Vectors:
        """See ``Space.scores``."""
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
        """See ``Space.scores``."""
        return np.asarray((self._vectorizer.transform(texts) @ self._films).toarray(), np.float32)


def space(
    spec: str, texts: Sequence[str], cache: Path | None = None, on_progress: OnProgress = lambda done: None
) -> Space:
    """The space of a system over the texts of a catalogue.

    Args:
        spec: a name in ``SYSTEMS``, optionally with ``:`` and a file of the matcher's weights.
        texts: of the catalogue.
        cache: folder of cached MiniLM vectors; None for no cache.
        on_progress: called with the number of texts encoded.

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
    encoder = SYSTEMS[name](weights, partial(_cached, cache))
    return TfIdf(texts) if encoder is None else Encoded(encoder, texts, on_progress)


def _cached(cache: Path | None, encoder: IndexEncoder) -> IndexEncoder:
    return CachedEncoder(encoder, cache) if cache else encoder


def _with_genres(weights: Path, wrap: Wrap) -> IndexEncoder:
    plain, fine_tuned = wrap(MiniLM()), wrap(tuned(weights))
    return WithGenres(plain, Matcher(plain, fine_tuned, load(weights)), registry.taxonomy("imdb"))


# Name -> its encoder, from the matcher's weights and a wrapper of every MiniLM; TF-IDF has none.
SYSTEMS: Mapping[str, Callable[[Path, Wrap], IndexEncoder | None]] = {
    "tfidf": lambda weights, wrap: None,
    "minilm": lambda weights, wrap: wrap(MiniLM()),
    "minilm-tuned": lambda weights, wrap: wrap(tuned(weights)),
    "minilm+genres": _with_genres,
}
