"""Types of the film look-up: query, record, failure; and the choice of the film that a query means."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prompts.text import Text

_TITLE_WITH_YEAR = re.compile(r"^(.*\S)\s*\((1[89]\d\d|20\d\d)\)$", re.DOTALL)

Kind = Literal["not_found", "no_plot", "ambiguous", "no_key", "refused", "unreachable", "busy", "unreadable", "timeout"]
"""``ambiguous``: several films match; ``refused``: the key; ``unreadable``: an unexpected reply."""
_TRANSIENT: frozenset[Kind] = frozenset(("unreachable", "busy", "timeout"))
_CACHEABLE: frozenset[Kind] = frozenset(("not_found", "no_plot"))
_ACCENTS = re.compile("[\u0300-\u036f]")
_SEPARATORS = re.compile(r"[\W_]+")
_MAX_YEARS_SHOWN = 5


@dataclass(frozen=True)
class FilmQuery:
    """A title to look up, without a year in brackets, and the year of release where it is known."""

    title: str
    year: int | None = None

    @classmethod
    def of(cls, title: str, year: int | None = None) -> FilmQuery:
        """Parse a title; ``Alien (1979)`` sets the year too, unless ``year`` is given."""
        title = " ".join(Text(title=title).title.split())  # Text removes lone surrogates, which are invalid in URLs
        match = _TITLE_WITH_YEAR.match(title) if year is None else None
        return cls(match[1], int(match[2])) if match else cls(title, year)

    def __str__(self) -> str:
        return f"{self.title!r} ({self.year})" if self.year else repr(self.title)


@dataclass(frozen=True)
class FilmRecord:
    """A film as a provider describes it.

    Attributes:
        year: year of release, where the provider has it.
        url: web page of the film, built from the id and never taken from a reply.
        plot: plot text, never empty.
        plot_from: name of the provider's text that the plot was taken from.
        genres: the provider's genre names, may be empty.
        same_title: number of the provider's films that match the query; this one is the most popular.
    """

    provider: str
    title: str
    year: int | None
    id: str
    url: str
    plot: str
    plot_from: str
    genres: tuple[str, ...] = ()
    same_title: int = 1


@dataclass(frozen=True)
class LookupFailure:
    """Why a provider has no record for a query; ``detail`` is a sentence."""

    kind: Kind
    detail: str

    @property
    def is_transient(self) -> bool:
        """Whether the same query may succeed later."""
        return self.kind in _TRANSIENT

    @property
    def is_cacheable(self) -> bool:
        """Whether the failure is a fact about the film, which may be cached."""
        return self.kind in _CACHEABLE


class ProviderFailure(Exception):
    """Raised while a provider is queried; ``failure`` says why."""

    def __init__(self, failure: LookupFailure) -> None:
        self.failure = failure
        super().__init__(failure.detail)


@dataclass(frozen=True)
class Candidate:
    """A search hit of a provider, with all titles of the film; ``popularity`` is comparable within one reply."""

    id: str
    titles: tuple[str, ...]
    year: int | None
    popularity: float


def normalized_title(title: str) -> str:
    """Normalise a title for comparison: case, accents, punctuation and ``&`` for "and" do not count."""
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", title)).casefold().replace("&", " and ")
    return _SEPARATORS.sub(" ", bare.replace("'", "").replace("’", "")).strip() or bare.strip()


def year_at_start(date: str | None) -> int | None:
    """The year that a date such as ``1979-05-25`` or ``1979–1981`` starts with."""
    return int(date[:4]) if date and date[:4].isdecimal() else None


def best_match(candidates: Sequence[Candidate], query: FilmQuery) -> tuple[Candidate, int] | LookupFailure:
    """The most popular film that matches the query, and the number of matches.

    A match has one equal title (after normalisation) and the same year. Providers differ by one year for films first
    shown at a festival, so a year off by one matches if it is the only such film.
    """
    title = normalized_title(query.title)
    same = list({one.id: one for one in candidates if title in map(normalized_title, one.titles)}.values())
    exact = [one for one in same if query.year in (None, one.year)]
    near = [one for one in same if one.year is not None and query.year and abs(one.year - query.year) == 1]
    matches = exact or (near if len(near) == 1 else [])
    return (max(matches, key=lambda one: one.popularity), len(matches)) if matches else _not_found(same, query)


def _not_found(same: Sequence[Candidate], query: FilmQuery) -> LookupFailure:
    if not same:
        return LookupFailure("not_found", f"no film is called exactly {query.title!r}")
    years = sorted({one.year for one in same if one.year is not None})
    shown = ", ".join(map(str, years[:_MAX_YEARS_SHOWN])) + (", …" if len(years) > _MAX_YEARS_SHOWN else "")
    return LookupFailure("not_found", f"no film {query}; films of that title are from {shown or 'unknown years'}")
