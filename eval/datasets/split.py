"""A grouped, stratified split: groups stay whole, and every side gets its share of every label.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011, ECML PKDD), over groups in place of single examples.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eval.datasets.example import Example
from prompts.errors import InvalidSetting

_ROWS = ""  # a label that every row has: it keeps the sides' sizes, and serves groups without any other


@dataclass
class _Need:
    """What a side still wants: rows of each label."""

    name: str
    rows: dict[str, float] = field(default_factory=dict)

    def take(self, counts: Mapping[str, int]) -> None:
        for label, count in counts.items():
            self.rows[label] -= count


def assign(examples: Sequence[Example], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """The side of each example by its id; the same for the same examples in any order, shares and seed.

    Args:
        examples: with ids and groups; those without labels are dealt out too.
        shares: side to share of the rows; they sum to 1.
        seed: of the order in which equals are dealt out.

    Raises:
        InvalidSetting: shares that are not above 0 or do not sum to 1.
    """
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise InvalidSetting(f"shares must be above 0 and sum to 1, not {dict(shares)}")
    counts = _counts(examples)
    totals = sum((Counter(count) for count in counts.values()), Counter[str]())
    needs = [_Need(name, {label: share * totals[label] for label in totals}) for name, share in shares.items()]
    sides = _dealt(_shuffled(counts, seed), counts, totals, needs)
    return {example.id: sides[example.group] for example in examples}


def _counts(examples: Sequence[Example]) -> dict[str, Counter[str]]:
    """Rows of each label in each group."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        counts[example.group].update((*example.labels, _ROWS))
    return counts


def _shuffled(counts: Mapping[str, Counter[str]], seed: int) -> list[str]:
    """Groups in a random order, the largest first: what is large fits ever worse."""
    order = sorted(counts)
    random.Random(seed).shuffle(order)
    return sorted(order, key=lambda group: -counts[group][_ROWS])


def _dealt(
    order: Sequence[str], counts: Mapping[str, Counter[str]], totals: Counter[str], needs: Sequence[_Need]
) -> dict[str, str]:
    """Deal groups out, the label with the fewest rows left first, each to the side that wants that label most."""
    left, sides = Counter(totals), dict[str, str]()
    holders: dict[str, list[str]] = defaultdict(list)
    for group in order:
        for label in counts[group]:
            holders[label].append(group)
    while holders:
        label = min(holders, key=lambda name: (name == _ROWS, left[name], name))
        for group in holders.pop(label):
            if group not in sides:
                side = max(needs, key=lambda need: (need.rows[label], need.rows[_ROWS]))
                side.take(counts[group])
                left.subtract(counts[group])
                sides[group] = side.name
    return sides
