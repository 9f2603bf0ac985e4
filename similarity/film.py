"""A film of a catalogue, and what makes two texts or two titles the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Film:
    """One film.

    Attributes:
        id: unique within the catalogue.
        title: empty where it is not known.
        year: None where it is not known.
        genres: in the order in which the catalogue gives them.
        text: its plot; a film without one is known by its title.
    """

    id: str
    title: str = ""
    year: int | None = None
    genres: tuple[str, ...] = ()
    text: str = ""

    @property
    def words(self) -> str:
        """What is encoded: the text, or else the title; empty where there is neither."""
        return self.text.strip() or self.title.strip()


def digest_of(text: str) -> str:
    """The same for texts that differ only in case and white space: 32 hexadecimal digits."""
    return hashlib.blake2b(folded(text).encode("utf-8", "replace"), digest_size=16).hexdigest()


def folded(text: str) -> str:
    """Without differences of case and white space."""
    return " ".join(text.casefold().split())
