"""The gate for those who edit prompts: it shuts when a change costs more than a stated margin, beyond chance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eval.compare import Difference, decimal, differences, sums
from eval.metrics.classification import METRICS
from eval.metrics.pairing import paired
from eval.results import RunResults
from prompts.errors import InvalidSetting

GUARDED = ("micro-F1", "macro-F1")


@dataclass(frozen=True)
class Verdict:
    """Whether a new run may pass.

    Attributes:
        passed: False where the loss is larger than the margin beyond chance.
        margin: the loss that may be, as a difference of F1.
        words: why, for a person.
        differences: new − old of every guarded metric, with intervals.
    """

    passed: bool
    margin: float
    words: str
    differences: tuple[Difference, ...]


def gate(old_run: Path, new_run: Path, margin: float, common: bool = False) -> Verdict:
    """Judge a new run by an old one over the same texts.

    It fails when, for micro-F1 or macro-F1, the whole 95% interval of new − old (paired grouped bootstrap) lies below
    −margin. Each metric is judged at 2.5% on its one side, so a change that costs exactly the margin on both is
    failed by chance at most once in twenty times. A pass is no proof of equality: where the interval reaches below
    −margin, the words say so.

    Args:
        old_run: folder of the run to hold on to.
        new_run: folder of the run to judge.
        margin: loss of F1 that may be, from 0 to less than 1.
        common: judge over the texts that both have, where they do not have the same.

    Raises:
        InvalidSetting: an impossible margin.
        InvalidDataset: a folder holds no run, or the runs cannot be paired.
    """
    if not 0 <= margin < 1:
        raise InvalidSetting(f"the gate's margin is {margin}; give a loss of F1 from 0 to less than 1, such as 0.01")
    pair = paired(RunResults.read(old_run), RunResults.read(new_run), common)
    guarded = {name: METRICS[name] for name in GUARDED}
    found = differences(sums(pair.a, guarded), sums(pair.b, guarded))
    lost = [one for one in found if one.high < -margin]
    return Verdict(not lost, margin, _words(found, lost, margin), tuple(found))


def _words(found: list[Difference], lost: list[Difference], margin: float) -> str:
    if lost:
        costs = " and ".join(f"{one.metric} by {_change(one)}" for one in lost)
        return f"gate failed: the new run changes {costs}, a loss beyond the margin of {decimal(margin)}"
    changes = ", ".join(f"{one.metric} {_change(one)}" for one in found)
    unsure = [one.metric for one in found if one.low < -margin]
    doubt = f"; too few texts to rule out a larger loss on {' and '.join(unsure)}" if unsure else ""
    return f"gate passed: no loss beyond the margin of {decimal(margin)} was shown ({changes}){doubt}"


def _change(one: Difference) -> str:
    low, high = (decimal(end, sign=True) for end in (one.low, one.high))
    return f"{decimal(one.difference, sign=True)} [{low}, {high}]"
