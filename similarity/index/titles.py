"""Titles of a catalogue that are spelled like a given one."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

_BUCKETS = 32  # that the characters of a title are counted in
_COMPARED = 400  # titles compared letter by letter
_BLOCK = 65_536  # titles counted at once, so that a million of them take little memory
_LIKE = 0.6  # ratio from which a title is like another, as in ``difflib.get_close_matches``


class Titles:
    """Finds near spellings among many titles: 100,000 in about 20 ms.

    ``difflib`` alone takes seconds for so many. Its ratio is at most the share of characters that two titles have in
    common in any order, so only titles with a high share are compared letter by letter.

    Args:
        titles: folded; see ``similarity.film.folded``.
    """

    def __init__(self, titles: Sequence[str]) -> None:
        self._titles = titles
        self._lengths = np.fromiter(map(len, titles), np.int64, len(titles))
        blocks = [_counts(titles[start : start + _BLOCK]) for start in range(0, len(titles), _BLOCK)]
        self._counts = np.concatenate(blocks) if blocks else np.empty((0, _BUCKETS), np.uint8)

    def like(self, title: str, count: int = 3) -> list[str]:
        """Titles that are spelled like this one, the nearest first."""
        if not title or not len(self._titles):
            return []
        common = np.minimum(self._counts, _counts([title])).sum(axis=1, dtype=np.int64)
        highest = 2 * common / (self._lengths + len(title))
        near = np.flatnonzero(highest >= _LIKE)
        near = near[np.argsort(-highest[near], kind="stable")[:_COMPARED]]
        matcher = SequenceMatcher(autojunk=False)
        matcher.set_seq2(title)
        found: list[tuple[float, str]] = []
        for other in (self._titles[row] for row in near.tolist()):
            matcher.set_seq1(other)
            found.append((matcher.ratio(), other))
        found.sort(key=lambda one: -one[0])
        return [other for ratio, other in found[:count] if ratio >= _LIKE]


def _counts(titles: Sequence[str]) -> NDArray[np.uint8]:
    """How often each bucket's characters are in each title, shape (titles, buckets)."""
    rows = np.repeat(np.arange(len(titles)), np.fromiter(map(len, titles), np.int64, len(titles)))
    characters = np.frombuffer("".join(titles).encode("utf-32-le", "surrogatepass"), np.uint32)
    counts = np.bincount(rows * _BUCKETS + characters % _BUCKETS, minlength=len(titles) * _BUCKETS)
    return np.minimum(counts, 255).astype(np.uint8).reshape(-1, _BUCKETS)
