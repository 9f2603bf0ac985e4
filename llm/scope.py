"""Out-of-scope detection of the embedded classifier: whether a text is about any label of a strange taxonomy.

The cosine of a text to its best label is compared with a bound. Two things raise the bound: the text's cosine to plain
nonsense (random keys resemble every short label a little), and the number of labels (the best of many unrelated labels
is nearer than the best of few). All cosines are of plain MiniLM's vectors, of texts less their mean.

The constants separate in-scope from out-of-scope texts over random subsets of two labels and more. Nine families of
labels chose them: 7.5% of their in-scope texts fall below the bound, 45% of the texts of other fields, 90% of random
keys. Over eleven other families it is 3%, 43% and 96%. ``python -m benchmarks.own_labels`` prints what they do to
whole taxonomies; ``eval/RESULTS.md`` has that table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

NONSENSE = ("asdf qwer jkl", "random letters", "12345 67890", "lorem ipsum dolor sit amet", "xyz abc", "test test test")
_NONSENSE_AT_LEAST, _PER_LOG_LABELS, _OFFSET = 0.08, 0.04, -0.11


def in_scope(labels: Array, nonsense: Array) -> NDArray[np.bool_]:
    """Whether each text is about one of the labels.

    Args:
        labels: centred cosines of texts and labels, shape (texts, labels).
        nonsense: centred cosines of texts and ``NONSENSE``, shape (texts, 6).

    Returns:
        Shape (texts,).
    """
    bound = np.maximum(nonsense.max(axis=1), _NONSENSE_AT_LEAST) + _PER_LOG_LABELS * np.log(labels.shape[1]) + _OFFSET
    return np.asarray(labels.max(axis=1) >= bound)
