"""Metrics of hierarchical taxonomies, whose labels are paths such as ``Electronics > Cameras``.

Hierarchical precision, recall and F1 count each label together with the labels above it (Kiritchenko et al. 2006; Silla
and Freitas 2011, doi:10.1007/s10618-010-0175-9), so that an error within the right branch costs less than one outside.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval.metrics import EXACT, METRICS, Labels
from prompts.label_tree import SEPARATOR, ancestors, level_of


def hierarchical_metrics(true: Labels, predicted: Labels, labels: Sequence[str]) -> dict[str, float]:
    """The metrics of labels that are paths; empty where none is.

    The accuracy of a level is the share of texts whose labels, cut to this level, are predicted exactly. Both matrices
    have shape (texts, labels).
    """
    if not any(SEPARATOR in label for label in labels):
        return {}
    paths = {path: place for place, path in enumerate(dict.fromkeys(p for name in labels for p in _with_above(name)))}
    within = np.zeros((len(labels), len(paths)), bool)
    for row, label in enumerate(labels):
        within[row, [paths[path] for path in _with_above(label)]] = True
    true, predicted = true @ within, predicted @ within
    found = {
        f"hierarchical {name}": METRICS[f"micro-{name}"](true, predicted) for name in ("precision", "recall", "F1")
    }
    levels = np.array([level_of(path) for path in paths])
    for level in range(1, int(levels.max()) + 1):
        found[f"level {level} accuracy"] = EXACT(true[:, levels <= level], predicted[:, levels <= level])
    return found


def _with_above(label: str) -> tuple[str, ...]:
    return label, *ancestors(label)
