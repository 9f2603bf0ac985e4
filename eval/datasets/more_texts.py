"""Other texts of the same films: another table's plots with this data's labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from eval.datasets.example import Example
from eval.datasets.grouping import normal

_NOT_ONE = "of a title and year that more than one film has"
_ELSEWHERE = "of a film that stands on another side there"
_KNOWN = "with a text that the data has"


@dataclass(frozen=True)
class MoreTexts:
    """What another table gave.

    Attributes:
        examples: its texts, with the labels of the examples whose films they are of.
        left_out: rows of such films that became no example, by reason.
    """

    examples: tuple[Example, ...]
    left_out: Mapping[str, int]


def more_texts(training: Sequence[Example], everything: Sequence[Example], others: Sequence[Example]) -> MoreTexts:
    """Texts of films that are learnt from, joined by title and year.

    Args:
        training: the examples that are learnt from.
        everything: those of all sides of the same data. What is said of a film that two of them may be, and a text
            that one of them has, is left out: it might be of a film that is judged by.
        others: the other table's rows; their own labels are not looked at.
    """
    named_once = _named_once(everything) & _named_once(others)
    known = {normal(one.text.body) for one in everything}
    left_out: Counter[str] = Counter()
    found = []
    by_film = {one.film: one for one in training if _is_told_apart(one)}
    for other in others:
        if (example := by_film.get(other.film)) is None:
            continue
        if why := _against(example, other, named_once, known):
            left_out[why] += 1
        else:
            text = replace(example.text, body=other.text.body)
            found.append(replace(example, id=f"{example.id}+{other.id}", text=text, truncated=other.truncated))
    return MoreTexts(tuple(found), left_out)


def _against(example: Example, other: Example, named_once: set[str], known: set[str]) -> str | None:
    """Why a row is not learnt from."""
    if other.film not in named_once:
        return _NOT_ONE
    if other.split and other.split != example.split:
        return _ELSEWHERE
    return _KNOWN if normal(other.text.body) in known else None


def _named_once(examples: Iterable[Example]) -> set[str]:
    counts = Counter(one.film for one in examples)
    return {film for film, count in counts.items() if count == 1}


def _is_told_apart(example: Example) -> bool:
    """By a title alone films are not."""
    return bool(example.film) and not example.film.endswith("()")
