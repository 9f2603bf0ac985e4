"""Providers of films and plots: one file each, with one line in ``PROVIDERS``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lookup.film import FilmQuery, FilmRecord, LookupFailure
from lookup.providers import omdb, tmdb, wikipedia
from prompts.errors import UnknownName


class Provider(Protocol):
    """A source of films and their plots."""

    @property
    def name(self) -> str:
        """Name in settings."""

    @property
    def base_url(self) -> str:
        """Root of its API; part of the cache key."""

    def find(self, query: FilmQuery, deadline: float) -> FilmRecord | LookupFailure:
        """The film, or why there is none. Of several matches it is the most popular one, with their number.

        Args:
            query: title and year.
            deadline: monotonic time.

        Raises:
            ProviderFailure: the request failed.
        """


@dataclass(frozen=True)
class ProviderEntry:
    """A constructor that takes key, base URL (empty: the provider's own) and contact; and whether a key is required."""

    make: Callable[[str, str, str], Provider]
    needs_key: bool


def order_of(names: str) -> Sequence[str]:
    """Parse comma-separated provider names; ``none`` is the empty list.

    Raises:
        UnknownName: a name is not in ``PROVIDERS``.
    """
    order = [name.strip() for name in names.split(",") if name.strip()]
    if order == ["none"]:
        return []
    for name in order:
        if name not in PROVIDERS:
            raise UnknownName("provider", name, PROVIDERS)
    return list(dict.fromkeys(order))


PROVIDERS: Mapping[str, ProviderEntry] = {
    tmdb.NAME: ProviderEntry(tmdb.tmdb, needs_key=True),
    omdb.NAME: ProviderEntry(omdb.omdb, needs_key=True),
    wikipedia.NAME: ProviderEntry(wikipedia.wikipedia, needs_key=False),
}
