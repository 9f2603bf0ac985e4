"""TF-IDF over words and pairs of words: scikit-learn's vectoriser, kept without pickle.

A pickle runs whatever its writer put into it, so that a model from a stranger could not be opened safely. The
vocabulary is JSON here, the numbers are NumPy arrays, and both are read without running anything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

_FILE, _WEIGHTS = "vocabulary.json", "idf.npz"


@dataclass(frozen=True)
class TfIdfSettings:
    """How texts become terms.

    Attributes:
        ngrams: longest run of words that counts as a term.
        min_count: terms of fewer training texts are left out.
    """

    ngrams: int = 2
    min_count: int = 2


@dataclass(frozen=True)
class TfIdfVectors:
    """Texts to TF-IDF vectors of length 1; sublinear counts, accents folded."""

    settings: TfIdfSettings
    vectoriser: TfidfVectorizer

    @classmethod
    def fit(cls, texts: Sequence[str], settings: TfIdfSettings) -> TfIdfVectors:
        """Learn terms and their weights from the training texts."""
        # A term in fewer texts than there are to ask for would leave nothing of a tiny data set.
        least = settings.min_count if len(texts) >= 1000 else 1
        return cls(settings, _vectoriser(settings, min_df=least).fit(texts))

    @classmethod
    def restore(cls, folder: Path) -> TfIdfVectors:
        """What ``save`` wrote."""
        kept = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        settings = TfIdfSettings(**kept["settings"])
        vectoriser = _vectoriser(settings, vocabulary={term: place for place, term in enumerate(kept["terms"])})
        vectoriser.idf_ = np.load(folder / _WEIGHTS)["idf"].astype(np.float64)
        return cls(settings, vectoriser)

    def save(self, folder: Path) -> None:
        """Write the terms and their weights."""
        kept = {"settings": asdict(self.settings), "terms": self.vectoriser.get_feature_names_out().tolist()}
        (folder / _FILE).write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
        np.savez(folder / _WEIGHTS, idf=self.vectoriser.idf_)

    def vectors(self, texts: Sequence[str]) -> Any:
        """A scipy CSR matrix of shape (texts, terms)."""
        return self.vectoriser.transform(texts)


def _vectoriser(settings: TfIdfSettings, **more: Any) -> TfidfVectorizer:
    return TfidfVectorizer(
        sublinear_tf=True,
        strip_accents="unicode",
        ngram_range=(1, settings.ngrams),
        token_pattern=r"(?u)\b\w+\b",
        dtype=np.float32,
        **more,
    )
