"""The shape of a provider."""

from __future__ import annotations

from typing import Protocol

from lookup.film import FilmQuery, FilmRecord, LookupFailure


class Provider(Protocol):
    """Knows films."""

    @property
    def name(self) -> str:
        """As settings spell it."""

    @property
    def base_url(self) -> str:
        """Where it is asked: what one host knows must not be remembered as another's."""

    def find(self, wanted: FilmQuery, deadline: float) -> FilmRecord | LookupFailure:
        """The film, or why there is none; where several are meant, the best known one, with their number.

        Raises:
            ProviderFailure: the provider could not be asked.
        """
