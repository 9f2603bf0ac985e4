"""Two runs over the same texts: how far apart they are, and whether chance could have done it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from eval.measure import headlines
from eval.metrics import Metric, Numbers
from eval.ranking import macro_average_precision
from eval.rows import Run
from eval.significance import (
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
from prompts.errors import InvalidDataset

_ALPHA = 1 - LEVEL


@dataclass(frozen=True)
class Pair:
    """Two runs with the same texts in the same order, the same labels in the same order, and all labels known.

    Attributes:
        a: the first, or old one.
        b: the second, or new one.
        notes: what a reader must know about the pairing, a sentence each.
    """

    a: Run
    b: Run
    notes: tuple[str, ...] = ()


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


def compare(a: Run, b: Run, common: bool = False, seed: int = 0) -> Comparison:
    """Every headline of two runs over the same texts, with intervals and corrected p.

    Macro average precision, where both have scores, comes with its interval and without a test: swapping scores of
    two systems would mix two scales in one ranking.

    Args:
        a: the first, or old one.
        b: the second, or new one.
        common: compare over the texts that both have, where they do not have the same.
        seed: of all draws; one seed, one outcome.

    Raises:
        InvalidDataset: the runs cannot be paired; see ``paired``.
    """
    pair = paired(a, b, common)
    metrics = headlines(pair.a, pair.b)
    first, second = (sums(run, metrics) for run in (pair.a, pair.b))
    chances = holm(randomisation(first, second, seed=seed))
    tested = [replace(one, p=chances[one.metric]) for one in differences(first, second, seed)]
    return Comparison(pair, (*tested, *_average_precision(pair, seed)))


def paired(a: Run, b: Run, common: bool = False) -> Pair:
    """Bring two runs to the same texts and labels.

    Args:
        a: the first; its order of texts and labels is kept.
        b: the second.
        common: leave out texts that only one of them has.

    Raises:
        InvalidDataset: other vocabularies, other texts (without ``common``), other true labels or groups for a text,
            or no text with all of its true labels known.
    """
    if set(a.labels) != set(b.labels):
        raise InvalidDataset(
            f"the runs answer from different vocabularies: {_only(a.labels, b.labels)}; "
            "evaluate both with the same taxonomy"
        )
    place = {name: row for row, name in enumerate(b.ids)}
    shared = [row for row, name in enumerate(a.ids) if name in place]
    notes = [*_texts(a, b, len(shared), common), *_told(a, b)]
    first = a.rows(shared)
    second = b.columns(a.labels).rows([place[name] for name in first.ids])
    _same_truth(first, second)
    return _known(first, second, notes)


def sums(run: Run, metrics: Mapping[str, Metric]) -> Sums:
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


def _known(a: Run, b: Run, notes: Sequence[str]) -> Pair:
    complete = a.complete & b.complete
    first, second = (replace(run, complete=complete).known() for run in (a, b))
    left_out = int((~complete).sum())
    told = [f"{left_out} texts whose true labels are not all known are left out"] if left_out else []
    return Pair(first, second, (*notes, *told))


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


def _texts(a: Run, b: Run, shared: int, common: bool) -> list[str]:
    if shared == len(a) == len(b):
        return []
    told = f"{shared} texts are in both runs, {len(a) - shared} only in A, {len(b) - shared} only in B"
    if not shared:
        raise InvalidDataset(f"the runs have no text in common: {a.folder} and {b.folder} are over different data")
    if not common:
        raise InvalidDataset(f"{told}; evaluate both over the same texts, or compare those in both with --common")
    return [f"{told}; compared over those in both"]


def _told(a: Run, b: Run) -> list[str]:
    """Differences in how the runs were made that do not forbid a comparison but belong beside it."""
    notes = {
        "data": "the data files differ, though ids and true labels agree: the texts themselves may not be the same",
        "taxonomy": "the vocabularies have the same labels but differ otherwise (descriptions, aliases, shape)",
    }
    return [note for key, note in notes.items() if _digest(a, key) != _digest(b, key)]


def _digest(run: Run, key: str) -> Any:
    part = run.manifest.get(key)
    return part.get("digest") if isinstance(part, Mapping) else None


def _same_truth(a: Run, b: Run) -> None:
    for row, name in enumerate(a.ids):
        if (a.true[row] != b.true[row]).any():
            raise InvalidDataset(
                f"text {name!r} has other true labels in B than in A: the runs are over different data"
            )
        if a.groups[row] != b.groups[row]:
            raise InvalidDataset(
                f"text {name!r} is of group {a.groups[row]!r} in A and {b.groups[row]!r} in B; evaluate both over the "
                "same data"
            )


def _only(a: Sequence[str], b: Sequence[str]) -> str:
    extra = [(who, sorted(set(own) - set(other))) for who, own, other in (("A", a, b), ("B", b, a))]
    return "; ".join(f"only {who} has {', '.join(names)}" for who, names in extra if names)
