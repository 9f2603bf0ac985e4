"""Comparison of two runs over the same texts: differences with intervals, significance tests, and a regression gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.metrics import METRICS, Labels, Metric, Numbers, macro_average_precision
from eval.results import Pair, RunResults, paired
from eval.run_metrics import headlines
from eval.significance import (
    LEVEL,
    RESAMPLES,
    SWAPS,
    Sums,
    bootstrap,
    bootstrap_average_precision,
    group_numbers,
    holm,
    interval,
    randomisation_test,
)
from prompts.errors import InvalidSetting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ALPHA = 1 - LEVEL
_COMPARED = ("micro-F1", "macro-F1", "accuracy")
_GATED = {name: METRICS[name] for name in ("micro-F1", "macro-F1")}


@dataclass(frozen=True)
class Difference:
    """One metric of two runs, and the difference b − a.

    Attributes:
        low: lower end of the 95% interval of the difference, by paired grouped bootstrap; ``high`` is the upper end.
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
        """``"A"`` or ``"B"`` where p is below 0.05, else None."""
        if self.p is None or self.p >= _ALPHA:
            return None
        return "B" if self.difference > 0 else "A"


@dataclass(frozen=True)
class Comparison:
    """The differences between two runs."""

    pair: Pair
    differences: tuple[Difference, ...]

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        tested = [difference for difference in self.differences if difference.p is not None]
        parts = []
        for run in ("A", "B"):
            if gains := [_gain(difference) for difference in tested if difference.better == run]:
                parts.append(f"{run} is better on {_join(gains)}")
        if equal := [difference.metric for difference in tested if not difference.better]:
            parts.append(f"no difference found on {_join(equal)}")
        sentence = "; ".join(parts) + "."
        return sentence[0].upper() + sentence[1:]

    def as_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
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


@dataclass(frozen=True)
class GateResult:
    """Whether a new run passes: False where the loss of F1 is significantly larger than the margin.

    ``summary`` is the reason in one sentence; ``differences`` are new − old of micro-F1 and macro-F1, with intervals.
    """

    passed: bool
    margin: float
    summary: str
    differences: tuple[Difference, ...]


def compare(a: RunResults, b: RunResults, common: bool = False, seed: int = 0) -> Comparison:
    """Compare every headline metric of two runs over the same texts, with intervals and corrected p values.

    Where both runs have scores, macro average precision has an interval and no test: swapping scores of two systems
    would mix two scales in one ranking. Errors and ``common`` are those of ``eval.results.paired``.
    """
    pair = paired(a, b, common)
    metrics = headlines(pair.a, pair.b)
    tested = corrected_differences(_sums(pair.a, metrics), _sums(pair.b, metrics), seed)
    return Comparison(pair, (*tested, *_average_precision(pair, seed)))


def corrected_differences(first: Sums, second: Sums, seed: int = 0) -> list[Difference]:
    """Every metric's difference over the same texts, with its interval and its corrected p value."""
    p_values = holm(randomisation_test(first, second, seed=seed))
    return [replace(one, p=p_values[one.metric]) for one in _differences(first, second, seed)]


def compare_with_others(run: RunResults, others: Sequence[RunResults], seed: int = 0) -> list[Comparison]:
    """Compare F1 (or accuracy) of one run, as B, with that of each other run, as A, over the texts that both have.

    The p values are Holm-corrected over all metrics and runs. Errors are those of ``eval.results.paired``.
    """
    found: list[Comparison] = []
    p_values: dict[tuple[int, str], float] = {}
    for place, other in enumerate(others):
        pair = paired(other, run, common=True)
        metrics = {name: metric for name, metric in headlines(pair.a, pair.b).items() if name in _COMPARED}
        first, second = _sums(pair.a, metrics), _sums(pair.b, metrics)
        found.append(Comparison(pair, tuple(_differences(first, second, seed))))
        p_values |= {(place, name): p for name, p in randomisation_test(first, second, seed=seed).items()}
    corrected = holm(p_values)
    return [
        replace(one, differences=tuple(replace(row, p=corrected[place, row.metric]) for row in one.differences))
        for place, one in enumerate(found)
    ]


def gate(old_run: Path, new_run: Path, margin: float, common: bool = False) -> GateResult:
    """Regression gate for changes of prompts: fail if F1 drops by more than a margin and the drop is significant.

    It fails when, for micro-F1 or macro-F1, the whole 95% interval of new − old (paired grouped bootstrap) lies below
    −margin. Each metric is tested one-sided at 2.5%, so a change that costs exactly the margin on both fails by chance
    at most once in twenty times. A pass does not prove equality: the summary says where the interval reaches below
    −margin.

    Raises:
        InvalidSetting: an impossible margin.
        InvalidDataset: a folder has no run, or the runs cannot be paired.
    """
    if not 0 <= margin < 1:
        raise InvalidSetting(f"the gate's margin is {margin}; give a loss of F1 from 0 to less than 1, such as 0.01")
    pair = paired(RunResults.read(old_run), RunResults.read(new_run), common)
    differences = _differences(_sums(pair.a, _GATED), _sums(pair.b, _GATED))
    losses = [one for one in differences if one.high < -margin]
    return GateResult(not losses, margin, _gate_summary(differences, losses, margin), tuple(differences))


def _sums(run: RunResults, metrics: Mapping[str, Metric]) -> Sums:
    return Sums.of(metrics, run.true, run.predicted, group_numbers(run.groups))


def _differences(first: Sums, second: Sums, seed: int = 0) -> list[Difference]:
    """Every metric's difference and its interval, without a test."""
    old, new = first.totals(), second.totals()
    resampled = bootstrap(first, seed=seed), bootstrap(second, seed=seed)
    return [_difference(name, old[name], new[name], resampled[1][name] - resampled[0][name]) for name in first.metrics]


def _difference(name: str, a: float, b: float, resampled: Numbers) -> Difference:
    limits = interval(b - a, resampled)
    return Difference(name, a, b, limits.value, limits.low, limits.high)


def _average_precision(pair: Pair, seed: int) -> list[Difference]:
    if not (pair.a.scored and pair.b.scored):
        return []
    return [average_precision_difference(pair.a.true, pair.a.scores, pair.b.scores, group_numbers(pair.a.groups), seed)]


def average_precision_difference(
    true: Labels, first: Numbers, second: Numbers, groups: NDArray[np.intp], seed: int = 0
) -> Difference:
    """The difference of macro average precision, from scores of shape (texts, labels); untested, see ``compare``."""
    old, new = (macro_average_precision(true, scores) for scores in (first, second))
    before, after = (bootstrap_average_precision(true, scores, groups, seed=seed) for scores in (first, second))
    return _difference("macro-AP", old, new, after - before)


def _gain(one: Difference) -> str:
    low, high = (-one.high, -one.low) if one.better == "A" else (one.low, one.high)
    p = one.p or 0.0
    chance = "p<0.001" if p < 0.001 else f"p={p:.3f}"
    return f"{one.metric} by {abs(one.difference):.3f} [{low:z.3f}, {high:z.3f}], {chance}"


def _join(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _gate_summary(differences: Sequence[Difference], losses: Sequence[Difference], margin: float) -> str:
    if losses:
        changes = " and ".join(f"{one.metric} by {_change(one)}" for one in losses)
        return f"gate failed: the new run changes {changes}, a loss beyond the margin of {margin:.3f}"
    changes = ", ".join(f"{one.metric} {_change(one)}" for one in differences)
    unsure = [one.metric for one in differences if one.low < -margin]
    doubt = f"; too few texts to rule out a larger loss on {' and '.join(unsure)}" if unsure else ""
    return f"gate passed: no loss beyond the margin of {margin:.3f} was shown ({changes}){doubt}"


def _change(one: Difference) -> str:
    return f"{one.difference:+z.3f} [{one.low:+z.3f}, {one.high:+z.3f}]"
