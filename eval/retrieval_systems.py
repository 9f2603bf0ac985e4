"""The spaces in which an evaluation looks for neighbours: MiniLM's vectors, plain, tuned or with genres; TF-IDF."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval.baselines.embeddings import CachedEncoder, tuned
from eval.similarity_eval import Space
from llm.embedded.matcher import SHIPPED, Matcher
from llm.embedded.weights import load
from prompts import registry
from prompts.errors import InvalidSetting, UnknownName
from similarity.encoders.minilm import MiniLM

if TYPE_CHECKING:
    from llm.classifier import Classifier
    from prompts.taxonomy import Taxonomy
    from similarity.index.builder import IndexEncoder

    Around = Callable[[IndexEncoder], IndexEncoder]

Vectors = NDArray[np.float32]
OnProgress = Callable[[int], None]

_AT_ONCE = 1_024
_GENRES_WEIGH = 0.5  # of a genre profile against a text's vector; both have length 1


def nothing(done: int) -> None:
    """Tells nobody."""


class Encoded:
    """Texts by an encoder's vectors.

    Args:
        encoder: of unit vectors.
        texts: of the catalogue.
        on_progress: called with the number of texts encoded.
    """

    def __init__(self, encoder: IndexEncoder, texts: Sequence[str], on_progress: OnProgress = nothing) -> None:
        self._encoder = encoder
        self.vectors = _vectors(encoder, texts, on_progress)

    def scores(self, texts: Sequence[str]) -> Vectors:
        """See ``Space.scores``."""
        return np.asarray(self._encoder.encode(texts) @ self.vectors.T, np.float32)


class WithGenres:
    """An encoder's vectors with scores of genres appended: films of like genres move together.

    Args:
        encoder: of unit vectors.
        classifier: whose scores are appended, each text's brought to length ``weight``.
        taxonomy: its taxonomy.
        weight: of the scores against the vector's 1.
    """

    def __init__(
        self, encoder: IndexEncoder, classifier: Classifier, taxonomy: Taxonomy, weight: float = _GENRES_WEIGH
    ) -> None:
        self.name = f"{encoder.name} with genres by {classifier.name}"
        self.dimension = encoder.dimension + len(taxonomy.names)
        self._encoder, self._classifier, self._taxonomy, self._weight = encoder, classifier, taxonomy, weight

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, shape (texts, dimension)."""
        names = self._taxonomy.names
        predictions = self._classifier.classify(texts, self._taxonomy)
        scores = np.array([[found.scores.get(name, 0.0) for name in names] for found in predictions], np.float32)
        lengths = np.linalg.norm(scores, axis=1, keepdims=True)
        profiles = self._weight * np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)
        joined = np.hstack([self._encoder.encode(texts), profiles.reshape(len(texts), len(names))])
        return np.asarray(joined / np.linalg.norm(joined, axis=1, keepdims=True), np.float32)


class TfIdf:
    """Texts by their words: TF-IDF of words and pairs, scikit-learn's, English stop words left out.

    Args:
        texts: of the catalogue, from which the words are learnt too.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._words = TfidfVectorizer(
            sublinear_tf=True, min_df=2 if len(texts) > 1_000 else 1, ngram_range=(1, 2), stop_words="english",
            dtype=np.float32,
        )  # fmt: skip
        self._films: Any = self._words.fit_transform(texts).T.tocsr()

    def scores(self, texts: Sequence[str]) -> Vectors:
        """See ``Space.scores``."""
        return np.asarray((self._words.transform(texts) @ self._films).toarray(), np.float32)


def space(spec: str, texts: Sequence[str], kept: Path | None = None, on_progress: OnProgress = nothing) -> Space:
    """A system's space over the texts of a catalogue.

    Args:
        spec: a name in ``SYSTEMS``; behind it, where the system has learnt something, ``:`` and the file of weights in
            place of those that come with the program.
        texts: of the catalogue.
        kept: folder in which MiniLM's vectors are kept and found again; None keeps none.
        on_progress: called with the number of texts encoded.

    Raises:
        UnknownName: no such system.
        InvalidSetting: no such weights.
    """
    name, _, weights = spec.partition(":")
    if name not in SYSTEMS:
        raise UnknownName("system", name, SYSTEMS)
    encoder = SYSTEMS[name](Path(weights) if weights else SHIPPED, partial(_remembered, kept))
    return TfIdf(texts) if encoder is None else Encoded(encoder, texts, on_progress)


def _remembered(kept: Path | None, encoder: IndexEncoder) -> IndexEncoder:
    return CachedEncoder(encoder, kept) if kept else encoder


def _vectors(encoder: IndexEncoder, texts: Sequence[str], on_progress: OnProgress) -> Vectors:
    chunks = []
    for start in range(0, len(texts), _AT_ONCE):
        chunks.append(encoder.encode(texts[start : start + _AT_ONCE]))
        on_progress(min(start + _AT_ONCE, len(texts)))
    return np.concatenate(chunks)


def _minilm(weights: Path, around: Around) -> IndexEncoder:
    return around(MiniLM())


def _tuned(weights: Path, around: Around) -> IndexEncoder:
    """The part of the matcher that reads texts: MiniLM taught on plots."""
    return around(tuned(_there(weights)))


def _with_genres(weights: Path, around: Around) -> IndexEncoder:
    plain, reading = around(MiniLM()), around(tuned(_there(weights)))
    return WithGenres(plain, Matcher(plain, reading, load(weights)), registry.taxonomy("imdb"))


def _there(weights: Path) -> Path:
    if not weights.exists():
        raise InvalidSetting(f"there are no weights at {weights}; name a file of the matcher's: minilm+genres:FILE")
    return weights


# Name -> what makes its encoder of the matcher's weights, with something around every MiniLM; TF-IDF has none.
SYSTEMS: Mapping[str, Callable[[Path, Around], IndexEncoder | None]] = {
    "tfidf": lambda weights, around: None,
    "minilm": _minilm,
    "minilm-tuned": _tuned,
    "minilm+genres": _with_genres,
}
