"""The many ways in which a label can be put, so that the matcher learns what is meant and not how it is said."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from prompts import registry
from prompts.taxonomy import Label

_FILE = Path(__file__).parent / "label_phrasings.yaml"
_COMMON = 40  # a sub-genre that is held out should have so many films, or nothing could be measured on it


@dataclass(frozen=True)
class Concept:
    """A label of training.

    Attributes:
        kind: ``genres``, ``interests`` (IMDb's sub-genres) or ``reviews``.
        name: as the data calls it.
        wordings: what it may be called in a vocabulary: names, descriptions, or both.
    """

    kind: str
    name: str
    wordings: tuple[str, ...]


def concepts(held_out: Iterable[str]) -> tuple[Concept, ...]:
    """IMDb's genres, its sub-genres but for those held out, and the two opinions of a review."""
    written = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    shipped = {
        "genres": {label.name: label for label in registry.taxonomy("imdb").predictable},
        "reviews": {label.name: label for label in registry.taxonomy("sentiment").predictable},
    }
    left_out = set(held_out)
    return tuple(
        Concept(kind, name, _wordings(name, entry, shipped.get(kind, {}).get(name)))
        for kind, entries in written.items()
        for name, entry in entries.items()
        if name not in left_out
    )


def held_out(interests: Iterable[Sequence[str]], count: int = 40) -> tuple[str, ...]:
    """Sub-genres that training never sees, so that one can tell how well the matcher takes to new labels.

    Args:
        interests: those of every film of the data, whatever its split.
        count: how many.
    """
    counted = Counter(name for names in interests for name in names)
    known = yaml.safe_load(_FILE.read_text(encoding="utf-8"))["interests"]
    common = [name for name in known if counted[name] >= _COMMON]
    return tuple(sorted(common, key=lambda name: hashlib.sha256(name.encode()).digest())[:count])


def _wordings(name: str, entry: Mapping[str, Sequence[str]], label: Label | None) -> tuple[str, ...]:
    names = list(dict.fromkeys([name, *entry["names"], *(label.aliases if label else ())]))
    descriptions = [*entry["descriptions"], *([label.description] if label else [])]
    both = [f"{one}: {description}" for one in names[:3] for description in descriptions]
    return (*names, *both, *descriptions)
