"""Which of a provider's films is the one that was meant; what matches nothing exactly is not found."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from lookup.film import FilmQuery, LookupFailure

_ACCENTS = re.compile("[\u0300-\u036f]")
_GAPS = re.compile(r"[\W_]+")
_MOST_YEARS = 5


@dataclass(frozen=True)
class Candidate:
    """A film among a provider's answers.

    Attributes:
        id: the provider's own.
        titles: all that it is called.
        year: of its release, where told.
        fame: the higher, the better known; comparable within one answer.
    """

    id: str
    titles: tuple[str, ...]
    year: int | None
    fame: float


def spelling(title: str) -> str:
    """A title without what two spellings of it may differ in: case, accents, punctuation, ``&`` for "and"."""
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", title)).casefold().replace("&", " and ")
    return _GAPS.sub(" ", bare.replace("'", "").replace("’", "")).strip() or bare.strip()


def chosen(candidates: Sequence[Candidate], wanted: FilmQuery) -> tuple[Candidate, int] | LookupFailure:
    """The film that is meant, and how many films that could be; the best known of them is taken.

    A film is meant where one of its titles is spelt the same and its year is the one wanted. Providers differ by a year
    over films that were first shown at a festival: a year that is off by one counts where a single film is that near.
    """
    same = {one.id: one for one in candidates if spelling(wanted.title) in map(spelling, one.titles)}
    pool = _of_the_year(list(same.values()), wanted.year)
    if not pool:
        return _missing(list(same.values()), wanted)
    return max(pool, key=lambda one: one.fame), len(pool)


def _of_the_year(same: list[Candidate], year: int | None) -> list[Candidate]:
    if year is None:
        return same
    exact = [one for one in same if one.year == year]
    near = [one for one in same if one.year is not None and abs(one.year - year) == 1]
    return exact or (near if len(near) == 1 else [])


def _missing(same: Sequence[Candidate], wanted: FilmQuery) -> LookupFailure:
    if not same:
        return LookupFailure("not_found", f"no film is called exactly {wanted.title!r}")
    years = sorted({one.year for one in same if one.year is not None})
    told = ", ".join(map(str, years[:_MOST_YEARS])) + (", …" if len(years) > _MOST_YEARS else "")
    return LookupFailure("not_found", f"no film {wanted}; films of that title are from {told or 'years not told'}")
