"""A sequential test of a mean by betting: valid for every sample size and every rule of stopping.

Sources: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting (JRSS B 2024,
arXiv 2010.09686), for draws of a distribution and for draws without replacement; Ville's inequality.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
# Bets, as shares of the highest bet that cannot lose more than the capital. The capital is their mean, so none is
# chosen by the data: small bets win where the mean is near the limit, high ones where every value is 0.
BETS = np.array([0.9999, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05])[:, None]
_ALMOST_ONE = 1 - 1e-9
_ENDLESS = 1e18  # size of a population that is a distribution
_MOST = 700.0  # largest exponent
_FIRST = 128  # values after which most tests have reached their level


class BettingTest:
    """Tests the hypothesis that the mean of values in [0, 1] is ``limit`` or more.

    Under the hypothesis, the capital ever reaches 1 / delta with a probability of at most delta.

    Args:
        limit: the mean, above 0 and below 1.
        populations: the hypothesis is about the mean of each of them, and has a test of its own. A number is that of
            values which are drawn without replacement, in random order; None is a distribution.
    """

    def __init__(self, limit: float, populations: Sequence[int | None] = (None,)) -> None:
        self._limit = limit
        self._sizes = np.array([[_ENDLESS if size is None else size] for size in populations], float)
        self._capital = np.zeros((len(populations), len(BETS), 1))  # logarithms
        self._count, self._total = 0, np.zeros((1, 1))
        self.each: Numbers = np.zeros(len(populations))
        """Logarithm of the highest capital so far in each test."""

    @property
    def highest(self) -> float:
        """Logarithm of the highest capital so far, in the test where it is lowest."""
        return float(self.each.min())

    def add(self, values: Numbers) -> BettingTest:
        """Bet on further values, shape (values,), or (populations, values) where each has its own."""
        if values.shape[-1]:
            paths = self._paths(values)
            self.each = np.maximum(self.each, _mean(paths).max(axis=-1))
            self._capital = paths[..., -1:]
            self._count += values.shape[-1]
            self._total = self._total + values.sum(axis=-1, keepdims=True)
        return self

    def reaches(self, level: float, values: Numbers) -> int | None:
        """Number of further values after which all logarithms of the capital were ``level``; None: they never are."""
        for size in (_FIRST, len(values)):
            reached = _mean(self._paths(values[:size])) >= level
            reached[self.each >= level] = True
            if reached.any(axis=1).all():
                return int(reached.argmax(axis=1).max()) + 1
        return None

    def _paths(self, values: Numbers) -> Numbers:
        """Logarithm of the capital after each value, shape (tests, bets, values)."""
        places = np.arange(values.shape[-1])
        seen = self._total + np.cumsum(values, axis=-1) - values
        # The mean of what is left, if the mean of the population is the limit.
        limits = (self._sizes * self._limit - seen) / np.maximum(1, self._sizes - self._count - places)
        limits = np.clip(limits, 0.0, _ALMOST_ONE)
        won = (limits - values) / (1 - limits)
        return np.asarray(self._capital + np.cumsum(np.log(1 + BETS * won[:, None, :]), axis=-1))


def _mean(paths: Numbers) -> Numbers:
    """Logarithm of the mean capital, shape (tests, values)."""
    return np.asarray(np.log(np.exp(np.clip(paths, -_MOST, _MOST)).mean(axis=1)))
