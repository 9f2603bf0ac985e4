"""Texts of several threads encoded together: a batch of eight takes hardly longer than a text alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from similarity.building import Encoder
    from similarity.index import Vectors

_WINDOW_SECONDS = 0.002
_MOST = 64  # texts of one batch


class _Ticket:
    """The texts of one caller, and what becomes of them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.vectors: Vectors | None = None
        self.error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.vectors is not None or self.error is not None


class SharedBatches:
    """An encoder whose callers share batches.

    While one batch is encoded, the texts of all who come meanwhile gather; whoever has the next turn takes them along.
    A caller that is alone does not wait; where others are under way, it waits two milliseconds for theirs. A text that
    cannot be encoded fails for its own caller only.

    Args:
        encoder: who encodes.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.name, self.dimension = encoder.name, encoder.dimension
        self._encoder = encoder
        self._turn = threading.Lock()
        self._gate = threading.Lock()
        self._waiting: list[_Ticket] = []
        self._under_way = 0

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See ``Encoder.encode``."""
        ticket = _Ticket(texts)
        with self._gate:
            self._waiting.append(ticket)
            self._under_way += 1
        try:
            with self._turn:
                while not ticket.done:
                    self._encode_some()
        finally:
            with self._gate:
                self._under_way -= 1
        if ticket.error is not None:
            raise ticket.error
        assert ticket.vectors is not None
        return ticket.vectors

    def _encode_some(self) -> None:
        if self._under_way > 1:
            time.sleep(_WINDOW_SECONDS)
        tickets = self._taken()
        try:
            self._encode(tickets)
        except Exception:  # for one of them; which one is found by asking for each alone
            for ticket in tickets:
                self._encode_alone(ticket)
        finally:
            for ticket in tickets:
                if not ticket.done:  # this thread is being ended; the others must not wait for it
                    ticket.error = RuntimeError("the thread that encoded this text was ended")

    def _encode_alone(self, ticket: _Ticket) -> None:
        try:
            self._encode([ticket])
        except Exception as error:
            ticket.error = error

    def _taken(self) -> list[_Ticket]:
        """The first who wait, at least one, with no more texts than a batch takes."""
        with self._gate:
            sizes = np.cumsum([len(ticket.texts) for ticket in self._waiting])
            count = max(1, int(np.searchsorted(sizes, _MOST, side="right")))
            tickets, self._waiting = self._waiting[:count], self._waiting[count:]
            return tickets

    def _encode(self, tickets: Sequence[_Ticket]) -> None:
        found = self._encoder.encode([text for ticket in tickets for text in ticket.texts])
        at = 0
        for ticket in tickets:
            ticket.vectors = found[at : at + len(ticket.texts)]
            at += len(ticket.texts)
