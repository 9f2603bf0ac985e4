"""Errors that the user can fix; the command line and the service show their messages unchanged."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from prompts.errors import quoted


class SimilarityError(Exception):
    """Base class; the message says what is wrong and what to do."""


class InvalidIndex(SimilarityError):
    """An index is missing or damaged, was built with another encoder, or cannot be built."""


class InvalidEncoder(SimilarityError):
    """The configured encoder model does not exist."""


class InvalidPrecision(SimilarityError):
    """An unknown number format."""

    def __init__(self, name: str, value: str, choices: Iterable[str]) -> None:
        known = list(choices)
        close = get_close_matches(value.strip().lower(), known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        super().__init__(f"{name} is {value!r}; give one of {', '.join(known)}{hint}")


class UnknownFilm(SimilarityError):
    """No film of the catalogue has this id."""

    def __init__(self, id: str) -> None:
        super().__init__(f"no film of the catalogue has the id {quoted(id)}; give its text instead")


class UnknownTitle(SimilarityError):
    """No film of the catalogue has this title.

    Attributes:
        close: titles of the catalogue that are spelled like it.
    """

    def __init__(self, title: str, close: Iterable[str]) -> None:
        self.close = tuple(close)
        meant = " or ".join(map(repr, self.close))
        hint = f"did you mean {meant}? Else give it as a text" if meant else "to compare its words, give them as a text"
        super().__init__(f"no film of the catalogue has the title {quoted(title)}; {hint}")


class SeveralFilms(SimilarityError):
    """A title that several films have."""

    def __init__(self, title: str, films: Iterable[str]) -> None:
        super().__init__(f"several films are called {quoted(title)}: {', '.join(films)}; give the id of one")


class Rejected(SimilarityError):
    """Too many calls are pending; trying again after ``retry_after`` seconds makes sense."""

    retry_after = 1.0

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} requests are pending already; try again")


class Expired(SimilarityError):
    """The deadline of a call passed before its results were there."""

    def __init__(self) -> None:
        super().__init__("the request's deadline passed before its turn came")


class Disconnected(SimilarityError):
    """The client of a call has closed its connection."""

    def __init__(self) -> None:
        super().__init__("the client has closed its connection")


class NoResult(SimilarityError):
    """A computation gave fewer or more results than it was given items."""


class UnknownGenre(SimilarityError):
    """No film of the catalogue has this genre."""

    def __init__(self, genre: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = get_close_matches(genre.casefold(), names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
        super().__init__(f"no film of the catalogue has the genre {quoted(genre)}; {hint}")
