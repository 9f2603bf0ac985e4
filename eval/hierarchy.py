"""Metrics of hierarchical taxonomies, whose labels are paths such as ``Electronics > Cameras``.

Hierarchical precision, recall and F1 count each label together with the labels above it (Kiritchenko et al. 2006; Silla
and Freitas 2011, doi:10.1007/s10618-010-0175-9), so that an error within the right branch costs less than one outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from eval.metrics import EXACT, METRICS, Labels, Metric, Numbers
from prompts.label_tree import SEPARATOR, ancestors, level_of

F1 = "hierarchical F1"


def hierarchical_metrics(labels: Sequence[str]) -> Mapping[str, Metric]:
    """The metrics of labels that are paths; empty where none is.

    The accuracy of a level is the share of texts whose labels, cut to this level, are predicted exactly.
    """
    return _metrics(tuple(labels)) if any(SEPARATOR in label for label in labels) else {}


@lru_cache(8)
def _metrics(labels: tuple[str, ...]) -> Mapping[str, Metric]:
    found = {f"hierarchical {name}": _on_paths(METRICS[f"micro-{name}"], labels) for name in ("precision", "recall")}
    found[F1] = _on_paths(METRICS["micro-F1"], labels)
    levels = range(1, max(map(level_of, labels)) + 1)
    return found | {f"level {level} accuracy": _on_paths(EXACT, labels, level) for level in levels}


def _on_paths(metric: Metric, labels: Sequence[str], level: int | None = None) -> Metric:
    """The metric over the labels and those above them, down to a level; None: all levels."""
    within = [[one for one in (label, *ancestors(label)) if not level or level_of(one) <= level] for label in labels]
    columns = {path: place for place, path in enumerate(dict.fromkeys(path for paths in within for path in paths))}
    places = [[columns[path] for path in paths] for paths in within]

    def expanded(matrix: Labels) -> Labels:
        found = np.zeros((len(columns), len(matrix)), bool)
        for column, rows in zip(matrix.T, places, strict=True):
            found[rows] |= column
        return found.T

    def parts(true: Labels, predicted: Labels) -> Numbers:
        return metric.parts(expanded(true), expanded(predicted))

    return Metric(parts, metric.value)
