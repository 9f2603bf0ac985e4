"""What single words tell of a label, beside what the text means as a whole.

An encoder has one vector for a plot, in which a word that settles the matter ("sheriff", "android") is one of many. A
weight for each word piece and label, over TF-IDF (Spärck Jones 1972), knows no more than such words; the two err on
different texts, so that their sum is better than either (``eval/RESULTS.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from similarity.encoders.wordpieces import cut, tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


@dataclass(frozen=True)
class WordFeatures:
    """Weights of word pieces.

    Attributes:
        weights: what each piece adds to a label's logit, shape (pieces, labels).
        rarity: inverse document frequency of each piece; 0 for those that training hardly had, shape (pieces,).
        labels: of which label seen in training each column is.
    """

    weights: Array
    rarity: Array
    labels: NDArray[np.int64]

    def logits(self, texts: Sequence[str]) -> Array:
        """What the words of each text add to the logits, shape (texts, labels)."""
        found = np.empty((len(texts), len(self.labels)), np.float32)
        for row, text in enumerate(cut(texts)):
            pieces, counts = counted(text.pieces, self.rarity)
            found[row] = counts @ self.weights[pieces]
        return found


def no_words() -> WordFeatures:
    """Words that say nothing of any label."""
    pieces = tokenizer().get_vocab_size()
    return WordFeatures(np.zeros((pieces, 0), np.float32), np.zeros(pieces, np.float32), np.zeros(0, np.int64))


def counted(tokens: Sequence[int], rarity: Array) -> tuple[NDArray[Any], Array]:
    """The pieces of a text, each once, and their TF-IDF: logarithms of counts, at length 1 together."""
    pieces, counts = np.unique(np.asarray(tokens, np.int64), return_counts=True)
    weighed = ((1 + np.log(counts)) * rarity[pieces]).astype(np.float32)
    return pieces, weighed / max(float(np.linalg.norm(weighed)), 1e-9)
