"""gunicorn's threaded worker, taught to let slow clients go and to leave without losing a request."""

from __future__ import annotations

import select
import signal
import socket
import threading
import time
from contextlib import suppress
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.workers import gthread

from service.logging_setup import JSONLines
from service.server.gunicorn_internals import DEFER, awaits_first_byte, read_ahead
from service.server.slow_clients import RequestReads

_FIRST_BYTE_SECONDS = 0.05  # that a thread waits on a new connection before it goes back to the poller
# After an answer a thread stays with its connection for so long: who has many texts asks again at once, and is spared
# the way through the poller and the pool's queue, two handings over between threads.
_STAY_MILLISECONDS = 5
_BACKLOG = 2_048
# That a client is given to close its side, and what it may send until then; as long as gunicorn itself waits.
_PARTING_SECONDS, _PARTING_BYTES = 2.0, 65_536


class Worker(gthread.ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Serves with threads.

    A SIGTERM is obeyed in three steps: readiness goes false, and for ``drain_seconds`` all goes on as before, so that
    whoever balances the load can notice; then what waits in the listening sockets' queues is accepted, and they are
    closed; then what was accepted is answered.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reading: RequestReads = self.app.reading
        self._leaving = False

    def handle(self, conn: Any) -> Any:
        """See gunicorn: requests of a connection, one after the other; runs in a thread of the pool."""
        kept = self._handle_one(conn)
        while kept is True and self._asks_again(conn):
            kept = self._handle_one(conn)
        if kept is False:
            _part(conn.sock)
        return kept

    def _asks_again(self, conn: Any) -> bool:
        """Whether the next request comes at once; waited for only while every connection could have a thread."""
        if not self.alive or self.nr_conns > self.cfg.threads or read_ahead(conn):
            return False
        arrivals = select.poll()
        arrivals.register(conn.sock, select.POLLIN)
        return bool(arrivals.poll(_STAY_MILLISECONDS))

    def _handle_one(self, conn: Any) -> Any:
        """A request, from its first byte to its answer."""
        if awaits_first_byte(conn, _FIRST_BYTE_SECONDS):
            return DEFER
        self.reading.begin(conn.sock)
        try:
            return super().handle(conn)
        finally:
            self.reading.end(conn.sock)

    def murder_pending(self) -> None:
        """See gunicorn: called about every second."""
        super().murder_pending()
        self.reading.shut_late()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: leave in three steps; a second one is obeyed at once."""
        if self._leaving or not self.booted:
            super().handle_exit(sig, frame)
            return
        self._leaving = True
        self.app.on_stop()
        timer = threading.Timer(self.app.drain_seconds, self.method_queue.defer, [self._leave])
        timer.daemon = True
        timer.start()

    def set_accept_enabled(self, enabled: bool) -> None:
        """See gunicorn.

        A worker that stops closes its sockets now, not after its last response, so that no client queues there in vain.
        """
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                listener.close()

    def _leave(self) -> None:
        for listener in self.sockets:
            for _ in range(_BACKLOG):
                before = self.nr_conns
                self.accept(listener)
                if self.nr_conns == before:  # nobody waits there any more
                    break
        super().handle_exit(signal.SIGTERM, None)


def _part(client: socket.socket) -> None:
    """Close the sending side and wait briefly for the client to close its own, so that it reads the whole response.

    gunicorn would wait in the only thread that accepts connections.
    """
    with suppress(OSError):  # closed already
        client.shutdown(socket.SHUT_WR)
        arrivals, end, left = select.poll(), time.monotonic() + _PARTING_SECONDS, _PARTING_BYTES
        arrivals.register(client, select.POLLIN)
        while left > 0 and arrivals.poll(max(0.0, 1_000 * (end - time.monotonic()))):
            if not (piece := client.recv(4_096)):
                return
            left -= len(piece)
        client.shutdown(socket.SHUT_RDWR)


class JSONLogger(Logger):  # type: ignore[misc]
    """gunicorn's own log, in the form of ours."""

    def setup(self, cfg: Any) -> None:
        """See gunicorn."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(JSONLines())
