"""A text with its true labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prompts.taxonomy import Taxonomy
from prompts.text import Text


@dataclass(frozen=True)
class Example:
    """A text with its true labels.

    Attributes:
        id: unique within its data set.
        text: what is to be labelled.
        labels: names from the taxonomy that may be answered, in its order; at least one.
        group: examples of one film (same title and year, or same description) share it; they must not stand on two
            sides of a split, and a bootstrap draws them together. Empty where an example stands for itself.
        complete: False where a missing label is unknown, not false.
        truncated: whether the text breaks off.
        extra: further labels from outside the taxonomy, such as IMDb's interests.
        split: the side on which it stands; empty where the data has no sides.
        film: title and year in one spelling; empty where the data has no title.
    """

    id: str
    text: Text
    labels: tuple[str, ...]
    group: str = ""
    complete: bool = True
    truncated: bool = False
    extra: tuple[str, ...] = ()
    split: str = ""
    film: str = ""


@dataclass(frozen=True)
class LoadedDataset:
    """What a data set gave.

    Attributes:
        examples: of the split that was asked for, or of all.
        taxonomy: the taxonomy; labels that were too rare are kept out of prediction.
        left_out: rows that became no example, by reason.
        changed: rows that were mended on the way, by what was done.
        kept: examples of each label among those that rarity is counted over, where labels were dropped for it.
        dropped: the same of the labels that were dropped.
        digest: 12 hex digits of all rows of the data, whatever split was asked for.
    """

    examples: tuple[Example, ...]
    taxonomy: Taxonomy
    left_out: Mapping[str, int] = field(default_factory=dict)
    changed: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""


def sample(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """At most ``limit`` examples, the same ones every time, independent of the file's order."""
    chosen = sorted(examples, key=lambda example: hashlib.sha256(example.id.encode()).digest())
    return chosen[:limit]
