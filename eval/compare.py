"""Two runs over the same texts: how far apart they are, and whether chance could have done it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from eval.measure import headlines
from eval.metrics.classification import Metric, Numbers
from eval.metrics.pairing import Pair, paired
from eval.metrics.ranking import macro_average_precision
from eval.metrics.significance import (
    LEVEL,
    RESAMPLES,
    SWAPS,
    Sums,
    bootstrap,
    bootstrap_average_precision,
    holm,
    interval,
    numbered,
    randomisation,
)
from eval.results import RunResults

_ALPHA = 1 - LEVEL


@dataclass(frozen=True)
class Difference:
    """One metric of two runs.

    Attributes:
        metric: its name.
        a: its figure for A.
        b: its figure for B.
        difference: b − a.
        low: lower end of the 95% interval of the difference, by paired grouped bootstrap.
        high: upper end.
        p: of the paired randomisation test, Holm-corrected over all metrics tested; None where it was not tested.
    """

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float | None = None

    @property
    def better(self) -> str | None:
        """``"A"`` or ``"B"`` where p is below .05, else None."""
        if self.p is None or self.p >= _ALPHA:
            return None
        return "B" if self.difference > 0 else "A"


@dataclass(frozen=True)
class Comparison:
    """What was found between two runs."""

    pair: Pair
    differences: tuple[Difference, ...]

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        tested = [one for one in self.differences if one.p is not None]
        found = [f"{who} is better on {_listed([_gain(one) for one in won])}" for who, won in _won(tested)]
        equal = [one.metric for one in tested if not one.better]
        if equal:
            found.append(f"no difference found on {_listed(equal)}")
        sentence = "; ".join(found) + "."
        return sentence[0].upper() + sentence[1:]

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON takes it."""
        a, b = self.pair.a, self.pair.b
        return {
            "a": {"run": str(a.folder), "system": a.system},
            "b": {"run": str(b.folder), "system": b.system},
            "texts": len(a),
            "groups": len(set(a.groups)),
            "resamples": RESAMPLES,
            "swaps": SWAPS,
            "notes": list(self.pair.notes),
            "differences": [asdict(one) | {"better": one.better} for one in self.differences],
            "verdict": self.verdict,
        }


def compare(a: RunResults, b: RunResults, common: bool = False, seed: int = 0) -> Comparison:
    """Every headline of two runs over the same texts, with intervals and corrected p.

    Macro average precision, where both have scores, comes with its interval and without a test: swapping scores of
    two systems would mix two scales in one ranking.

    Args:
        a: the first, or old one.
        b: the second, or new one.
        common: compare over the texts that both have, where they do not have the same.
        seed: of all draws; one seed, one outcome.

    Raises:
        InvalidDataset: the runs cannot be paired; see ``eval.metrics.pairing``.
    """
    pair = paired(a, b, common)
    metrics = headlines(pair.a, pair.b)
    first, second = (sums(run, metrics) for run in (pair.a, pair.b))
    chances = holm(randomisation(first, second, seed=seed))
    tested = [replace(one, p=chances[one.metric]) for one in differences(first, second, seed)]
    return Comparison(pair, (*tested, *_average_precision(pair, seed)))


def sums(run: RunResults, metrics: Mapping[str, Metric]) -> Sums:
    """A run's sums per group."""
    return Sums.of(metrics, run.true, run.predicted, numbered(run.groups))


def differences(first: Sums, second: Sums, seed: int = 0) -> list[Difference]:
    """Every metric's difference and its interval, without a test."""
    old, new = first.totals(), second.totals()
    drawn = bootstrap(first, seed=seed), bootstrap(second, seed=seed)
    return [_difference(name, old[name], new[name], drawn[1][name] - drawn[0][name]) for name in first.metrics]


def decimal(value: float, sign: bool = False) -> str:
    """Three decimals without the zero before the point, as figures between 0 and 1 are printed: ``.021``."""
    rounded = round(value, 3) + 0.0  # which makes -0 a 0
    shown = f"{rounded:+.3f}" if sign else f"{rounded:.3f}"
    return shown.replace("0.", ".", 1) if abs(rounded) < 1 else shown


def chance(p: float) -> str:
    """A p value as it is printed: ``p=.034``, ``p<.001``."""
    return "p<.001" if p < 0.001 else f"p={decimal(p)}"


def _difference(name: str, a: float, b: float, drawn: Numbers) -> Difference:
    around = interval(b - a, drawn)
    return Difference(name, a, b, around.value, around.low, around.high)


def _average_precision(pair: Pair, seed: int) -> list[Difference]:
    if not (pair.a.scored and pair.b.scored):
        return []
    groups = numbered(pair.a.groups)
    old, new = (macro_average_precision(run.true, run.scores) for run in (pair.a, pair.b))
    was, now = (bootstrap_average_precision(run.true, run.scores, groups, seed=seed) for run in (pair.a, pair.b))
    return [_difference("macro-AP", old, new, now - was)]


def _won(tested: Iterable[Difference]) -> list[tuple[str, list[Difference]]]:
    won = [(who, [one for one in tested if one.better == who]) for who in ("A", "B")]
    return [(who, ones) for who, ones in won if ones]


def _gain(one: Difference) -> str:
    near, far = (-one.high, -one.low) if one.better == "A" else (one.low, one.high)
    size = decimal(abs(one.difference))
    return f"{one.metric} by {size} [{decimal(near)}, {decimal(far)}], {chance(one.p or 0.0)}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
