"""Film look-up by title: providers are queried in order; records and facts are cached, transient failures are not."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, Literal, Protocol, TypeVar

from lookup.film import FilmQuery, FilmRecord, LookupFailure, ProviderFailure, normalized_title
from lookup.providers import Provider

Ambiguous = Literal["best-known", "none"]
Result = TypeVar("Result")

_THREADS, _PER_REQUEST = 16, 8  # concurrent look-ups in all, and of one request
_DAY = 86_400
_NOT_FOUND_DAYS = 7  # providers add films every day
_MAX_TITLE = 500  # characters; the longest known film title has about half of that
_MAX_PLOT = 20_000  # characters; the rest is cut off
_PREFETCH = 4 * _PER_REQUEST
_FORMAT = 2  # of cached values; part of the cache key


class LookupCache(Protocol):
    """A key-value store of strings, such as ``llm.wrappers.cache.AnswerStore``. It may lose values."""

    def get(self, keys: Sequence[str]) -> Mapping[str, str]: ...
    def put(self, values: Mapping[str, str]) -> None: ...


@dataclass(frozen=True)
class Attempt:
    """A provider without a record for the query, and why."""

    provider: str
    failure: LookupFailure


@dataclass(frozen=True)
class LookupResult:
    """Result of a look-up.

    Attributes:
        film: the record; None if no provider has one.
        attempts: providers without a record, in the order of the queries.
    """

    film: FilmRecord | None
    attempts: tuple[Attempt, ...] = ()
    cached: bool = False

    @property
    def may_succeed_later(self) -> bool:
        """Whether there is no film because of a transient failure."""
        return self.film is None and any(attempt.failure.is_transient for attempt in self.attempts)

    @property
    def reason(self) -> str:
        """Why there is no film."""
        reasons = [f"{attempt.provider}: {attempt.failure.detail}" for attempt in self.attempts]
        return "; ".join(reasons) or "no provider is configured"


class Lookup:
    """Looks films up at several providers.

    Args:
        providers: in the order of the queries.
        store: cache of replies.
        days: how long a record stays cached; "not found" stays a week at most.
        skipped: providers that are not configured, with the way to configure them.
        shared: whether scopes share cached replies.
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
        """Names of the configured providers, in the order of the queries."""
        return tuple(provider.name for provider in self._providers)

    def find(
        self, query: FilmQuery, deadline: float = math.inf, ambiguous: Ambiguous = "best-known", scope: str = ""
    ) -> LookupResult:
        """The record of the first provider that has the film and its plot.

        Args:
            query: the film.
            deadline: monotonic time.
            ambiguous: result if several films match: the most popular one, or none.
            scope: separates cached replies, for example by API key, so that ``cached`` reveals nothing of other keys.
        """
        if not normalized_title(query.title) or len(query.title) > _MAX_TITLE:
            failure = LookupFailure("not_found", "the title is empty or too long")
            return LookupResult(None, (Attempt("no query", failure),))
        attempts = list(self._skipped)
        for provider in self._providers:
            reply, cached = self._reply(provider, query, deadline, scope)
            if isinstance(reply, FilmRecord) and (reply.same_title == 1 or ambiguous == "best-known"):
                return LookupResult(reply, tuple(attempts), cached)
            failure = reply if isinstance(reply, LookupFailure) else _several(reply, query)
            attempts.append(Attempt(provider.name, failure))
            if isinstance(reply, FilmRecord):
                break  # a further provider with fewer films would choose one without a warning
        return LookupResult(None, tuple(attempts))

    def find_all(self, queries: Sequence[FilmQuery], deadline: float = math.inf, scope: str = "") -> list[LookupResult]:
        """One result per query, in order, before the deadline even if a resolver or a provider hangs.

        HTTP requests share the threads fairly: one with many titles does not delay another.
        """
        if not self._providers:
            return [self.find(query) for query in queries]
        client = PoolClient()
        futures = {
            query: self._pool.submit(client, partial(self.find, query, deadline, scope=scope))
            for query in dict.fromkeys(queries)
        }
        return [_result(futures[query], deadline, self.providers) for query in queries]

    def each(
        self, queries: Iterable[FilmQuery], patience: float, ambiguous: Ambiguous = "none"
    ) -> Generator[LookupResult, None, None]:
        """One result per query, in order, with some prefetching; for long tables.

        ``patience`` is the maximum of seconds per film, including pauses that a provider asks for.
        """
        client = PoolClient()

        def submit(query: FilmQuery) -> Future[LookupResult]:
            return self._pool.submit(client, lambda: self.find(query, time.monotonic() + patience, ambiguous))

        futures = map(submit, queries)
        pending = deque(islice(futures, _PREFETCH))
        try:
            while pending:
                yield pending.popleft().result()
                pending.extend(islice(futures, 1))
        finally:
            for future in pending:
                future.cancel()

    def _reply(
        self, provider: Provider, query: FilmQuery, deadline: float, scope: str
    ) -> tuple[FilmRecord | LookupFailure, bool]:
        """A provider's reply, and whether it comes from the cache."""
        parts = [_FORMAT, provider.name, provider.base_url, normalized_title(query.title), query.year]
        key = json.dumps([*parts, scope] if scope and not self._shared else parts)
        if reply := self._cached(key):
            return reply, True
        try:
            reply = provider.find(query, deadline)
        except ProviderFailure as error:
            return error.failure, False
        if isinstance(reply, FilmRecord):
            reply = replace(reply, plot=reply.plot[:_MAX_PLOT])
        if self._store and (isinstance(reply, FilmRecord) or reply.is_cacheable):
            self._store.put({key: _serialized(reply)})
        return reply, False

    def _cached(self, key: str) -> FilmRecord | LookupFailure | None:
        value = self._store.get([key]).get(key) if self._store else None
        if value is None:
            return None
        try:
            reply, timestamp = _deserialized(value)
        except (ValueError, KeyError, TypeError):
            return None  # another format, or damaged
        days = self._days if isinstance(reply, FilmRecord) else min(self._days, _NOT_FOUND_DAYS)
        return reply if time.time() - timestamp < days * _DAY else None


def _several(film: FilmRecord, query: FilmQuery) -> LookupFailure:
    detail = f"{film.same_title} or more films match {query}; the most popular is from {film.year or '?'}"
    return LookupFailure("ambiguous", f"{detail}; give a year" if query.year is None else detail)


def _result(future: Future[LookupResult], deadline: float, providers: Sequence[str]) -> LookupResult:
    try:
        return future.result(None if math.isinf(deadline) else max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        future.cancel()
        failure = LookupFailure("timeout", "no reply before the deadline")
        return LookupResult(None, tuple(Attempt(name, failure) for name in providers))


def _serialized(reply: FilmRecord | LookupFailure) -> str:
    kind = "film" if isinstance(reply, FilmRecord) else "failure"
    return json.dumps({"timestamp": int(time.time()), kind: asdict(reply)}, ensure_ascii=False)


def _deserialized(value: str) -> tuple[FilmRecord | LookupFailure, float]:
    """The reply and its Unix time."""
    fields: dict[str, Any] = json.loads(value)
    if "film" in fields:
        return FilmRecord(**{**fields["film"], "genres": tuple(fields["film"]["genres"])}), fields["timestamp"]
    return LookupFailure(**fields["failure"]), fields["timestamp"]


# --- scheduling ---


@dataclass(eq=False)
class PoolClient:
    """Queued and running calls of one client of a ``FairPool``, guarded by the pool's lock."""

    queue: deque[tuple[Future[Any], Callable[[], Any]]] = field(default_factory=deque)
    running: int = 0


class FairPool:
    """A thread pool with round-robin scheduling between clients.

    A hanging call blocks only its own client, since a client has at most ``per_client`` calls running. Queues are
    unbounded; cancelled calls are removed.
    """

    def __init__(self, threads: int, per_client: int) -> None:
        self._threads, self._per_client = threads, per_client
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="lookup")
        self._lock = threading.Lock()
        self._turns: deque[PoolClient] = deque()  # clients with queued calls, in scheduling order
        self._running = 0

    def submit(self, client: PoolClient, call: Callable[[], Result]) -> Future[Result]:
        """Queue a call; the future has its result or its exception."""
        future: Future[Result] = Future()
        with self._lock:
            client.queue.append((future, call))
            if len(client.queue) == 1:
                self._turns.append(client)
            self._start()
        return future

    def _start(self) -> None:
        while self._running < self._threads and (client := self._next()):
            client.running += 1
            self._running += 1
            self._pool.submit(self._run, client, *client.queue.popleft())
            if client.queue:
                self._turns.append(client)

    def _next(self) -> PoolClient | None:
        """Remove and return the next client with a queued call and a free slot."""
        for _ in range(len(self._turns)):
            client = self._turns.popleft()
            while client.queue and client.queue[0][0].cancelled():
                client.queue.popleft()
            if client.queue and client.running < self._per_client:
                return client
            if client.queue:
                self._turns.append(client)
        return None

    def _run(self, client: PoolClient, future: Future[Any], call: Callable[[], Any]) -> None:
        try:
            if future.set_running_or_notify_cancel():
                future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
        finally:
            with self._lock:
                client.running -= 1
                self._running -= 1
                self._start()
