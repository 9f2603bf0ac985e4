"""Micro-batching: calls that arrive while a batch is computed share the next one.

A forward pass for eight texts takes hardly longer than for one. The first call runs at once; the thread of the oldest
waiting call then computes the next batch. No timer is needed, and a single client never waits for a batch to fill.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Protocol, Self, TypeVar

from similarity.errors import Disconnected, Expired, NoResult, Rejected

# Clients of a finished batch call again one by one. The next batch waits for them, a share of the last one's time.
_SHARE, _LONGEST = 0.2, 0.01


class Rows(Protocol):
    """Results in the order of their items: a list or an array."""

    def __getitem__(self, part: slice, /) -> Self: ...
    def __len__(self) -> int: ...


class Caller(Protocol):
    """The request that waits for a call's results: its deadline (monotonic; infinite without one) and connection."""

    @property
    def deadline(self) -> float: ...
    @property
    def disconnected(self) -> Callable[[], bool]: ...


@dataclass(frozen=True)
class Patient:
    """A caller without a connection, and without a deadline unless one is given."""

    deadline: float = math.inf
    disconnected: Callable[[], bool] = lambda: False


PATIENT = Patient()


def check_waiting(caller: Caller) -> None:
    """Raise ``Expired`` or ``Disconnected`` if the results are of no use any more."""
    if caller.deadline <= time.monotonic():
        raise Expired
    if caller.disconnected():
        raise Disconnected


class Admission:
    """Admission control: a limit on pending calls, those that wait and those being computed; None is no limit.

    A longer queue only adds latency. ``on_change`` is called with +1 and -1 as calls come and go.
    """

    def __init__(self, limit: int | None, on_change: Callable[[int], object] = lambda change: None) -> None:
        self.limit, self._on_change = limit, on_change
        self._pending = 0
        self._lock = threading.Lock()

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a call as pending for the length of the block; raises ``Rejected`` if the limit is reached."""
        with self._lock:
            if self.limit is not None and self._pending >= self.limit:
                raise Rejected(self.limit)
            self._pending += 1
        self._on_change(1)
        try:
            yield
        finally:
            with self._lock:
                self._pending -= 1
            self._on_change(-1)


Item = TypeVar("Item")
Results = TypeVar("Results", bound=Rows)


@dataclass(eq=False)
class _Call(Generic[Item, Results]):
    """The items of one caller and their results. Fields change under the batcher's lock."""

    items: Sequence[Item]
    key: Hashable
    caller: Caller
    measure: Callable[[Item], int]
    done: threading.Event = field(default_factory=threading.Event)
    is_leader: bool = False
    results: Results | None = None
    error: Exception | None = None

    @cached_property
    def length(self) -> float:
        """Mean length of the items."""
        return sum(map(self.measure, self.items)) / len(self.items)

    @property
    def settled(self) -> bool:
        return self.results is not None or self.error is not None

    def still_waiting(self) -> bool:
        """Whether the results are still of use; settles the call where they are not."""
        try:
            check_waiting(self.caller)
        except (Expired, Disconnected) as error:
            self.error = error
        return self.error is None


class MicroBatcher(Generic[Item, Results]):
    """A computation whose concurrent calls share batches. Threads may share it.

    A call whose items cannot be computed fails alone: the batch is repeated call by call. If the thread of a batch is
    ended (``KeyboardInterrupt``, ``SystemExit``), its other calls return to the front of the queue.

    Args:
        compute: items, and the key that they share, to one result per item, in order.
        admission: limit on pending calls; batchers that use the same model may share it.
        max_items: of a shared batch; a call with more items is a batch of its own.
        concurrency: batches computed at once.
        length: of an item; a batch takes items of about the same length, which are computed with little padding.
        on_batch: called with the number of items of every batch.
        around: context in which a batch is computed, from its callers and its number of items.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Item], Any], Results],
        *,
        admission: Admission | None = None,
        max_items: int = 128,
        concurrency: int = 1,
        length: Callable[[Item], int] = lambda item: 0,
        on_batch: Callable[[int], object] = lambda items: None,
        around: Callable[[Sequence[Any], int], AbstractContextManager[object]] = lambda callers, items: nullcontext(),
    ) -> None:
        self._compute, self._admission = compute, admission or Admission(None)
        self._max_items, self._concurrency = max_items, concurrency
        self._length, self._on_batch, self._around = length, on_batch, around
        self._lock = threading.Lock()
        self._waiting: dict[_Call[Item, Results], None] = {}  # longest-waiting first
        self._running = 0
        self._last_calls, self._last_seconds = 1, 0.0  # of the last batch

    def __call__(self, items: Sequence[Item], key: Hashable = None, caller: Caller = PATIENT) -> Results:
        """Compute the items, at least one; blocks until their results are there. Only calls of one key share a batch.

        Raises:
            Rejected: too many calls are pending.
            Expired: the caller's deadline passed first.
            Disconnected: the caller's client has closed its connection.
            Exception: what ``compute`` raised for these items.
        """
        with self._admission.admit():
            call = _Call[Item, Results](items, key, caller, self._length)
            try:
                self._enter(call)
                if not call.is_leader:
                    self._wait(call)
                if call.is_leader:
                    self._lead(call)
            finally:
                self._leave(call)
        if call.error is not None:
            raise call.error
        assert call.results is not None
        return call.results

    def _enter(self, call: _Call[Item, Results]) -> None:
        with self._lock:
            if self._running < self._concurrency:
                call.is_leader = True
                self._running += 1
            else:
                self._waiting[call] = None

    def _wait(self, call: _Call[Item, Results]) -> None:
        remaining = call.caller.deadline - time.monotonic()
        if call.done.wait(min(max(0.0, remaining), threading.TIMEOUT_MAX)):
            return
        with self._lock:  # the call may have become the leader at this very moment
            if not call.is_leader and not call.settled:
                call.error = Expired()

    def _lead(self, call: _Call[Item, Results]) -> None:
        if self._running == 1 and len(self._waiting) + 1 < self._last_calls:
            time.sleep(min(_LONGEST, _SHARE * self._last_seconds))
        batch = self._select(call)
        try:
            start = time.monotonic()
            self._run([one for one in batch if one.still_waiting()])
            self._last_calls, self._last_seconds = len(batch), time.monotonic() - start
        finally:
            self._release(batch, call)

    def _select(self, call: _Call[Item, Results]) -> list[_Call[Item, Results]]:
        """The leader and the waiting calls with its key that fit and are closest in length.

        The other calls keep their order: the longest-waiting one leads the next batch. Abandoned calls are dropped.
        """
        with self._lock:
            free = self._share(call) - len(call.items)
            waiting, taken = [other for other in self._waiting if self._is_waiting(other)], {call}
            for other in sorted(waiting, key=lambda other: abs(other.length - call.length)):
                if len(other.items) <= free and other.key == call.key:
                    taken.add(other)
                    free -= len(other.items)
            self._waiting = dict.fromkeys(other for other in waiting if other not in taken)
        return [call, *(other for other in waiting if other in taken)]

    def _share(self, call: _Call[Item, Results]) -> int:
        """Maximum number of items of this batch: an equal share of the pending items for each concurrent batch."""
        pending = len(call.items) + sum(len(other.items) for other in self._waiting)
        return min(self._max_items, max(2, -(-pending // self._concurrency)))

    def _is_waiting(self, call: _Call[Item, Results]) -> bool:
        if not call.still_waiting():
            call.done.set()
        return call.error is None

    def _run(self, calls: Sequence[_Call[Item, Results]]) -> None:
        items = [item for call in calls for item in call.items]
        if not items:
            return
        try:
            with self._around([call.caller for call in calls], len(items)):
                results = self._compute(items, calls[0].key)
            if len(results) != len(items):
                raise NoResult(f"{len(items)} items came to {len(results)} results")
        except Exception as error:
            if len(calls) == 1:
                calls[0].error = error
            else:  # repeat call by call, so that invalid items of one call do not fail the others
                for call in calls:
                    self._run([call])
            return
        end = 0
        for call in calls:
            start, end = end, end + len(call.items)
            call.results = results[start:end]
        self._on_batch(len(items))

    def _release(self, batch: Sequence[_Call[Item, Results]], leader: _Call[Item, Results]) -> None:
        """Wake the calls of a batch. Calls without a result (this thread is being ended) return to the queue."""
        with self._lock:
            unsettled = [call for call in batch if not call.settled and call is not leader]
            self._waiting = dict.fromkeys([*unsettled, *self._waiting])
        for call in batch:
            if call.settled:
                call.done.set()

    def _leave(self, call: _Call[Item, Results]) -> None:
        """Remove the call from the queue, and pass the lead on if it had it."""
        with self._lock:
            self._waiting.pop(call, None)
            if not call.is_leader:
                return
            call.is_leader = False
            following = next(iter(self._waiting), None)
            if following is None:
                self._running -= 1
                return
            del self._waiting[following]
            following.is_leader = True
            following.done.set()
