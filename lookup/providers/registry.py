"""The providers that there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lookup.providers import omdb, tmdb, wikipedia
from lookup.providers.provider import Provider
from prompts.errors import UnknownName


@dataclass(frozen=True)
class ProviderEntry:
    """A provider: how it is made of key, base URL (empty: its own) and contact, and whether it asks for a key."""

    make: Callable[[str, str, str], Provider]
    needs_key: bool


def order_of(names: str) -> Sequence[str]:
    """The providers of a list with commas between, in that order; ``none`` is an empty one.

    Raises:
        UnknownName: no such provider.
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
