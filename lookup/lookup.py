"""A film by its title, from the first provider that knows it; answers are remembered, failures are not."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, Literal, Protocol

from lookup.fair_pool import FairPool, PoolClient
from lookup.film import FilmQuery, FilmRecord, LookupFailure, ProviderFailure
from lookup.matching import spelling
from lookup.providers.provider import Provider

Ambiguous = Literal["best-known", "none"]

_THREADS, _PER_REQUEST = 16, 8  # titles looked up at once, and of these, of one request
_DAY = 86_400
_NOT_FOUND_DAYS = 7  # films are added every day
_LONGEST_TITLE = 500  # characters; the longest that a film ever had is about half of that
_LONGEST_PLOT = 20_000  # characters; beyond that it is no plot
_AHEAD = 4 * _PER_REQUEST
_FORMAT = 1  # of what is remembered; another one is asked for anew


class LookupCache(Protocol):
    """Remembers strings, such as ``llm.wrappers.cache.AnswerStore``; what it cannot keep or find is asked anew."""

    def get(self, keys: Sequence[str]) -> Mapping[str, str]:
        """The values of those keys that have one."""

    def put(self, values: Mapping[str, str]) -> None:
        """Keep values."""


@dataclass(frozen=True)
class Attempt:
    """A provider that told nothing, and why."""

    provider: str
    missing: LookupFailure


@dataclass(frozen=True)
class LookupResult:
    """What a look-up came to.

    Attributes:
        film: None where nobody told of one.
        tried: the providers that told nothing, in their order.
        cached: whether the film was remembered.
    """

    film: FilmRecord | None
    tried: tuple[Attempt, ...] = ()
    cached: bool = False

    @property
    def passes(self) -> bool:
        """Whether there is no film for a reason that passes."""
        return self.film is None and any(one.missing.passes for one in self.tried)

    @property
    def why(self) -> str:
        """Why nobody told, in words."""
        return "; ".join(f"{one.provider}: {one.missing.detail}" for one in self.tried) or "no provider is configured"


class Lookup:
    """Asks providers in turn.

    Args:
        providers: in the order in which they are asked.
        store: remembers what they said; None remembers nothing.
        days: for how long a film is remembered; that there is none, for a week at most.
        skipped: providers that cannot be asked, and what would mend that.
        shared: whether scopes share what is remembered.
    """

    def __init__(
        self,
        providers: Sequence[Provider] = (),
        store: LookupCache | None = None,
        days: float = 30,
        skipped: Mapping[str, str] | None = None,
        shared: bool = False,
    ) -> None:
        self._providers, self._store, self._days, self._shared = providers, store, days, shared
        self._skipped = tuple(Attempt(name, LookupFailure("no_key", why)) for name, why in (skipped or {}).items())
        self._pool = FairPool(_THREADS, _PER_REQUEST)

    @property
    def providers(self) -> tuple[str, ...]:
        """Names of those that can be asked, in their order."""
        return tuple(provider.name for provider in self._providers)

    def find(
        self, wanted: FilmQuery, deadline: float = math.inf, ambiguous: Ambiguous = "best-known", scope: str = ""
    ) -> LookupResult:
        """The film from the first provider that tells its plot.

        Args:
            wanted: title, and year where known.
            deadline: monotonic time after which nobody waits for it.
            ambiguous: where a provider knows several films that could be meant: its best known one, or none at all.
            scope: of what is remembered, such as an API key's; ``cached`` tells nothing of other scopes.
        """
        if not spelling(wanted.title) or len(wanted.title) > _LONGEST_TITLE:
            return LookupResult(
                None, (Attempt("nobody", LookupFailure("not_found", "asked: there is no title, or an endless one")),)
            )
        tried = list(self._skipped)
        for provider in self._providers:
            found, cached = self._asked(provider, wanted, deadline, scope)
            if isinstance(found, FilmRecord) and (found.same_title == 1 or ambiguous == "best-known"):
                return LookupResult(found, tuple(tried), cached)
            tried.append(Attempt(provider.name, found if isinstance(found, LookupFailure) else _several(found, wanted)))
            if isinstance(found, FilmRecord):
                break  # another provider, knowing fewer films, would pick one in silence
        return LookupResult(None, tuple(tried))

    def find_all(
        self,
        wanted: Sequence[FilmQuery],
        deadline: float = math.inf,
        ambiguous: Ambiguous = "best-known",
        scope: str = "",
    ) -> list[LookupResult]:
        """One outcome for each, in their order and by ``until``, whatever a resolver or a provider does meanwhile.

        Requests share threads fairly: one with many titles does not keep another waiting.
        """
        if not self._providers:
            return [self.find(one) for one in wanted]
        client = PoolClient()
        asked = {
            one: self._pool.submit(client, partial(self.find, one, deadline, ambiguous, scope))
            for one in dict.fromkeys(wanted)
        }
        return [_by(asked[one], deadline, self.providers) for one in wanted]

    def each(
        self, wanted: Iterable[FilmQuery], patience: float, ambiguous: Ambiguous = "none"
    ) -> Generator[LookupResult, None, None]:
        """An outcome for each, in their order, a few asked ahead; for tables.

        Args:
            wanted: the films.
            patience: seconds that one film may take, pauses that a provider asks for included.
            ambiguous: as in ``find``.
        """
        films, client = iter(wanted), PoolClient()

        def ask(one: FilmQuery) -> Future[LookupResult]:
            return self._pool.submit(client, lambda: self.find(one, time.monotonic() + patience, ambiguous))

        waiting = [ask(one) for one in islice(films, _AHEAD)]
        try:
            while waiting:
                yield waiting.pop(0).result()
                waiting += [ask(one) for one in islice(films, 1)]
        finally:
            for one in waiting:
                one.cancel()

    def _asked(
        self, provider: Provider, wanted: FilmQuery, deadline: float, scope: str
    ) -> tuple[FilmRecord | LookupFailure, bool]:
        """What a provider says or said, and whether that was remembered."""
        scopes = [scope] if scope and not self._shared else []
        key = json.dumps([_FORMAT, provider.name, provider.base_url, spelling(wanted.title), wanted.year, *scopes])
        if known := self._remembered(key):
            return known, True
        try:
            found = provider.find(wanted, deadline)
        except ProviderFailure as unanswered:
            return unanswered.missing, False
        if isinstance(found, FilmRecord):
            found = replace(found, plot=found.plot[:_LONGEST_PLOT])
        if self._store and (isinstance(found, FilmRecord) or found.lasts):
            self._store.put({key: _packed(found)})
        return found, False

    def _remembered(self, key: str) -> FilmRecord | LookupFailure | None:
        value = self._store.get([key]).get(key) if self._store else None
        if value is None:
            return None
        try:
            found, asked = _unpacked(value)
        except (ValueError, KeyError, TypeError):
            return None  # of another version, or damaged
        days = self._days if isinstance(found, FilmRecord) else min(self._days, _NOT_FOUND_DAYS)
        return found if time.time() - asked < days * _DAY else None


def _several(film: FilmRecord, wanted: FilmQuery) -> LookupFailure:
    many = f"{film.same_title} films or more could be meant by {wanted}; the best known is from {film.year or '?'}"
    return LookupFailure("ambiguous", f"{many}; give a year" if wanted.year is None else many)


def _by(asked: Future[LookupResult], deadline: float, providers: Sequence[str]) -> LookupResult:
    try:
        return asked.result(None if math.isinf(deadline) else max(0.0, deadline - time.monotonic()))
    except NotYet:
        asked.cancel()
        late = LookupFailure("timeout", "no answer before the time was over")
        return LookupResult(None, tuple(Attempt(name, late) for name in providers))


def _packed(found: FilmRecord | LookupFailure) -> str:
    kind = "film" if isinstance(found, FilmRecord) else "missing"
    return json.dumps({"asked": int(time.time()), kind: asdict(found)}, ensure_ascii=False)


def _unpacked(value: str) -> tuple[FilmRecord | LookupFailure, float]:
    """What was said, and when."""
    kept: dict[str, Any] = json.loads(value)
    if "film" in kept:
        return FilmRecord(**{**kept["film"], "genres": tuple(kept["film"]["genres"])}), kept["asked"]
    return LookupFailure(**kept["missing"]), kept["asked"]
