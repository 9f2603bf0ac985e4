"""A film that is looked for, what is told of it, and why nothing is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from prompts.text import Text

_YEAR_BEHIND = re.compile(r"^(.*\S)\s*\((1[89]\d\d|20\d\d)\)$", re.DOTALL)

Kind = Literal["not_found", "no_plot", "ambiguous", "no_key", "refused", "unreachable", "busy", "unreadable", "timeout"]
_PASSING: frozenset[Kind] = frozenset(("unreachable", "busy", "timeout"))
_LASTING: frozenset[Kind] = frozenset(("not_found", "no_plot"))


@dataclass(frozen=True)
class FilmQuery:
    """A film that is looked for.

    Attributes:
        title: as somebody wrote it, without a year behind it.
        year: of its release, where that is known.
    """

    title: str
    year: int | None = None

    @classmethod
    def of(cls, title: str, year: int | None = None) -> FilmQuery:
        """The film of a title; ``Alien (1979)`` tells a year too, where none is given."""
        title = " ".join(Text(title=title).title.split())  # without lone surrogates, which no URL can hold
        found = _YEAR_BEHIND.match(title) if year is None else None
        return cls(found[1], int(found[2])) if found else cls(title, year)

    def __str__(self) -> str:
        return f"{self.title!r} ({self.year})" if self.year else repr(self.title)


@dataclass(frozen=True)
class FilmRecord:
    """What a provider tells of a film.

    Attributes:
        provider: its name.
        title: as the provider spells it.
        year: of its release, where told.
        id: the provider's own.
        url: page for people; put together here, never taken from a reply.
        plot: never empty.
        plot_from: which of the provider's texts that is.
        genres: as the provider names them; empty where it names none.
        same_title: how many films the provider knows that the question could mean; this is the best known of them.
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
    """Why a provider tells nothing.

    Attributes:
        kind: ``not_found``, ``no_plot`` (the film is known, its plot is not), ``ambiguous`` (several films of the
            title, and none was to be picked), ``no_key``, ``refused`` (the key), ``unreachable``, ``busy``,
            ``unreadable`` (something else answered), ``late`` (the time was over).
        detail: the same in words.
    """

    kind: Kind
    detail: str

    @property
    def passes(self) -> bool:
        """Whether the same question may be answered later."""
        return self.kind in _PASSING

    @property
    def lasts(self) -> bool:
        """Whether it is an answer about the film, to be remembered."""
        return self.kind in _LASTING


class ProviderFailure(Exception):
    """Ends a question to a provider; carries why."""

    def __init__(self, missing: LookupFailure) -> None:
        self.missing = missing
        super().__init__(missing.detail)
