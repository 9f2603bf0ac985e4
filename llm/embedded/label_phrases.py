"""What an encoder reads of labels: names and descriptions, less the words that all labels of a taxonomy share.

Labels such as "This text is about sport." and "This text is about politics." have vectors that are near one another,
because most of their words are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from prompts.taxonomy import Label

# Shorter shared parts may carry meaning: "Movies" of "Sports Movies" and "Horror Movies".
_LEAST_WORDS = 2


def label_phrases(labels: Sequence[Label]) -> list[tuple[str, str]]:
    """Name, and name with description, of each label of a taxonomy, in order."""
    names = without_shared([label.own_name for label in labels])
    phrases = without_shared([label.phrase for label in labels])
    descriptions = without_shared([label.description for label in labels])
    return [
        (name, f"{phrase}: {description}" if description else phrase)
        for name, phrase, description in zip(names, phrases, descriptions, strict=True)
    ]


def without_shared(phrases: Sequence[str]) -> list[str]:
    """The phrases without their shared first and last words, where there are two such words or more.

    A phrase keeps one word at least. Fewer than two phrases share nothing.
    """
    words = [phrase.split() for phrase in phrases]
    if len(set(phrases)) < 2:
        return list(phrases)
    shortest = min(map(len, words))
    first = _shared(words, shortest - 1)
    last = _shared([one[::-1] for one in words], shortest - 1 - first)
    if not first and not last:
        return list(phrases)
    return [" ".join(one[first : len(one) - last]) for one in words]


def _shared(words: Sequence[Sequence[str]], most: int) -> int:
    """Number of first words that are equal, at most ``most``; 0 if they are too few."""
    columns = takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False))
    count = min(most, sum(1 for _ in columns))
    return count if count >= _LEAST_WORDS else 0
