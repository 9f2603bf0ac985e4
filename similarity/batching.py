"""What several threads ask for at once is computed together.

A batch of eight texts is encoded in hardly longer than a text alone, and an exact index reads all its vectors once for
all who search it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from similarity.building import Encoder
    from similarity.index import Vectors

_MOST = 64  # items of a shared batch; who brings more has one of their own
# After a batch for many, they come back for more one by one: the next batch waits for them this share of the last one's
# time, and this long at most. Without it, batches for one and for all the others take turns.
_SHARE, _LONGEST = 0.2, 0.01


class Row(Protocol):
    """Results in the order of what they are of."""

    def __getitem__(self, part: slice, /) -> Self: ...


Asked = TypeVar("Asked")
Given = TypeVar("Given", bound=Row)


@dataclass(eq=False)
class _Ticket(Generic[Asked, Given]):
    """The items of one caller, and what becomes of them."""

    items: Sequence[Asked]
    woken: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    given: Given | None = None
    error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.given is not None or self.error is not None


class Together(Generic[Asked, Given]):
    """A computation whose callers share batches. Safe under threads.

    Whoever finds nobody computing computes at once; while that lasts, those who come gather, and the first of them then
    computes for all. Nobody waits for a batch that their own items are not in. An item that cannot be computed fails
    for its own caller only.

    Args:
        compute: items to their results, one each, in their order.
    """

    def __init__(self, compute: Callable[[Sequence[Asked]], Given]) -> None:
        self._compute = compute
        self._lock = threading.Lock()
        self._waiting: list[_Ticket[Asked, Given]] = []
        self._busy = False
        self._company, self._seconds = 1, 0.0  # of the last batch

    def __call__(self, items: Sequence[Asked]) -> Given:
        """The results of the items."""
        ticket = _Ticket[Asked, Given](items)
        self._enter(ticket)
        if not ticket.leads:
            ticket.woken.wait()
        if ticket.leads:
            self._lead(ticket)
        if ticket.error is not None:
            raise ticket.error
        assert ticket.given is not None
        return ticket.given

    def _enter(self, ticket: _Ticket[Asked, Given]) -> None:
        with self._lock:
            ticket.leads, self._busy = not self._busy, True
            if not ticket.leads:
                self._waiting.append(ticket)

    def _lead(self, ticket: _Ticket[Asked, Given]) -> None:
        tickets = [ticket]
        try:
            if len(self._waiting) + 1 < self._company:
                time.sleep(min(_LONGEST, _SHARE * self._seconds))
            tickets = self._taken(ticket)
            start = time.monotonic()
            self._settle(tickets)
            self._company, self._seconds = len(tickets), time.monotonic() - start
        finally:
            self._release(tickets)

    def _taken(self, ticket: _Ticket[Asked, Given]) -> list[_Ticket[Asked, Given]]:
        """The leader's, and of those who wait the first that fit beside it."""
        taken, room = [ticket], _MOST - len(ticket.items)
        with self._lock:
            while self._waiting and len(self._waiting[0].items) <= room:
                taken.append(self._waiting.pop(0))
                room -= len(taken[-1].items)
        return taken

    def _settle(self, tickets: Sequence[_Ticket[Asked, Given]]) -> None:
        try:
            found = self._compute([item for ticket in tickets for item in ticket.items])
        except Exception as error:
            self._settle_apart(tickets, error)
            return
        at = 0
        for ticket in tickets:
            ticket.given = found[at : at + len(ticket.items)]
            at += len(ticket.items)

    def _settle_apart(self, tickets: Sequence[_Ticket[Asked, Given]], error: Exception) -> None:
        """What one has broken, the others should not have to bear."""
        if len(tickets) == 1:
            tickets[0].error = error
            return
        for ticket in tickets:
            self._settle([ticket])

    def _release(self, tickets: Sequence[_Ticket[Asked, Given]]) -> None:
        """Let those go whose batch this was, and give the lead to the first who waits."""
        for ticket in tickets:
            if not ticket.done:  # this thread is being ended; the others must not wait for it
                ticket.error = RuntimeError("the thread that computed this was ended")
            ticket.woken.set()
        with self._lock:
            self._busy = bool(self._waiting)
            if not self._waiting:
                return
            following = self._waiting.pop(0)
            following.leads = True
        following.woken.set()


class SharedBatches:
    """An encoder whose callers share batches; see ``Together``.

    Args:
        encoder: who encodes.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.name, self.dimension = encoder.name, encoder.dimension
        self._together: Together[str, Vectors] = Together(encoder.encode)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See ``Encoder.encode``."""
        return self._together(texts)
