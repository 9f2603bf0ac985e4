"""Labels with too few training examples to learn or to measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from eval.datasets.example import Example
from prompts.errors import InvalidDataset
from prompts.taxonomy import Taxonomy


@dataclass(frozen=True)
class WithoutRare:
    """Examples without rare labels, the taxonomy without them, and how many each label has in training."""

    examples: Sequence[Example]
    taxonomy: Taxonomy
    kept: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)


def without_rare(examples: Sequence[Example], taxonomy: Taxonomy, minimum: int) -> WithoutRare:
    """Keep labels out of prediction that fewer than ``minimum`` training examples have.

    Counted over the split ``train``, so that no other side tells which labels are asked for; over everything where
    no example stands on a side.

    Raises:
        InvalidDataset: no label is frequent enough, or the data has sides and none of them is ``train``.
    """
    if minimum <= 1:
        return WithoutRare(examples, taxonomy)
    counts = _counts(examples)
    kept = {name: counts[name] for name in taxonomy.names if counts[name] >= minimum}
    dropped = {name: counts[name] for name in taxonomy.names if counts[name] < minimum}
    if not kept:
        raise InvalidDataset(f"no label has {minimum} training examples; the commonest has {max(counts.values())}")
    smaller = _without(taxonomy, dropped)
    fewer = [replace(example, labels=smaller.in_order(example.labels)) for example in examples]
    return WithoutRare(fewer, smaller, kept, dropped)


def _counts(examples: Sequence[Example]) -> Counter[str]:
    sides = {example.split for example in examples} - {""}
    if sides and "train" not in sides:
        raise InvalidDataset(f"no example has split 'train' to count labels over; splits: {', '.join(sorted(sides))}")
    training = (example for example in examples if example.split == "train" or not sides)
    return Counter(label for example in training if not example.text.empty for label in example.labels)


def _without(taxonomy: Taxonomy, dropped: Mapping[str, int]) -> Taxonomy:
    """The same taxonomy with some labels never answered."""
    labels = tuple(replace(label, predict=False) if label.name in dropped else label for label in taxonomy.labels)
    return replace(taxonomy, labels=labels)
