"""Metrics of scores as probabilities: whether what is said at .7 is true seven times in ten."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.metrics.classification import Labels, Numbers

BINS = 15

Calibration = Callable[[Labels, Numbers], float]


@dataclass(frozen=True)
class ReliabilityCurve:
    """A reliability curve, a point per bin from low scores to high.

    Attributes:
        said: mean score of the bin, shape (bins,).
        came: share of the bin's texts of which the label is true, shape (bins,).
        texts: how many texts the bin holds, shape (bins,).
    """

    said: Numbers
    came: Numbers
    texts: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of the two, each bin weighing its texts."""
        return float(np.average(np.abs(self.said - self.came), weights=self.texts))


def curve(true: Labels, scores: Numbers, bins: int = BINS) -> ReliabilityCurve:
    """The reliability curve of one label over bins of equal mass (Nixon et al. 2019, adaptive calibration error).

    Equal scores share a bin, so that the order of the texts does not matter; there may be fewer bins for that.

    Args:
        true: whether the label is true of a text, shape (texts,).
        scores: from 0 to 1, shape (texts,).
        bins: how many to cut the texts into.
    """
    edges = np.sort(scores)[np.arange(1, bins) * len(scores) // bins]
    place = np.searchsorted(edges, scores, side="right")
    texts = np.bincount(place, minlength=bins)
    held = texts > 0
    said, came = (np.bincount(place, column, minlength=bins)[held] / texts[held] for column in (scores, true))
    return ReliabilityCurve(said, came, texts[held])


def ece(true: Labels, scores: Numbers) -> float:
    """Expected calibration error of one label, in 15 bins of equal mass; both of shape (texts,)."""
    return curve(true, scores).error


def macro_ece(true: Labels, scores: Numbers) -> float:
    """Mean of the labels' expected calibration errors; matrices of shape (texts, labels)."""
    return float(np.mean([ece(true[:, column], scores[:, column]) for column in range(true.shape[1])]))


def brier(true: Labels, scores: Numbers) -> float:
    """Mean squared distance of score and truth over all pairs of text and label (Brier 1950, per label)."""
    return float(np.square(scores - true).mean())


CALIBRATION: Mapping[str, Calibration] = {"ECE": macro_ece, "Brier": brier}
