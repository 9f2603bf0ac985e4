"""gunicorn's threaded worker, extended for slow clients and for a stop that loses no request.

gunicorn documents no way to free the thread of a slow client, to keep a thread with a busy connection, or to empty the
listening sockets before the end. The worker overrides methods of gunicorn for that. The requirements therefore pin a
release, and ``check_gunicorn`` compares the installed one with the names that this module uses.
"""

from __future__ import annotations

import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from types import FunctionType
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.http.message import Message
from gunicorn.http.unreader import Unreader
from gunicorn.workers import gthread

from prompts.errors import InvalidSetting
from service.server.slow_clients import RequestReads
from service.telemetry import JSONLines

TESTED = "27.0.1"
# Returned by ``handle``: the connection goes back to the poller until its first byte arrives.
DEFER: object = getattr(gthread, "_DEFER", None)
# Owner -> its names that this module uses, and the attributes that its constructor sets.
_NAMES: tuple[tuple[Any, tuple[str, ...], tuple[str, ...]], ...] = (
    (gthread, ("_DEFER",), ()),
    (gthread.TConn, ("wait_for_data",), ("initialized", "data_ready", "parser", "sock")),
    (
        gthread.ThreadWorker,
        ("handle", "handle_exit", "murder_pending", "set_accept_enabled", "accept"),
        ("nr_conns", "method_queue"),
    ),
    (gthread.PollableMethodQueue, ("defer",), ()),
    (Unreader, (), ("buf",)),
    (Message, ("force_close",), ()),
)

_FIRST_BYTE_SECONDS = 0.05  # a thread waits for so long on a new connection before it goes back to the poller
# A thread waits for so long for the next request of its connection. A client with many texts then skips the poller and
# the pool's queue, two switches between threads.
_NEXT_REQUEST_MILLISECONDS = 5
_BACKLOG = 2_048
_CLOSE_SECONDS, _CLOSE_BYTES = 2.0, 65_536  # limits on a client that closes its side; gunicorn waits as long


def check_gunicorn() -> None:
    """Compare the installed gunicorn with the names that this module uses.

    Raises:
        InvalidSetting: it lacks some of them; the message has the release to install.
    """
    if missing := list(_missing_names()):
        raise InvalidSetting(
            f"gunicorn {version('gunicorn')} lacks {', '.join(missing)}, which service/server/worker.py uses; "
            f"install gunicorn=={TESTED}"
        )


def _missing_names() -> Iterator[str]:
    for owner, names, attributes in _NAMES:
        prefix = owner.__name__.rpartition(".")[2]
        yield from (f"{prefix}.{name}" for name in names if not hasattr(owner, name))
        constructor = getattr(owner, "__init__", None)
        assigned = constructor.__code__.co_names if isinstance(constructor, FunctionType) else ()
        yield from (f"{prefix}.{name}" for name in attributes if name not in assigned)


class Worker(gthread.ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Serves with threads.

    After SIGTERM it (1) reports not ready and serves as before for ``drain_seconds``, so that load balancers can react;
    (2) accepts what waits in the queues of the listening sockets and closes them; (3) answers what was accepted.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reading: RequestReads = self.app.reading
        self._stopping = False

    def handle(self, conn: Any) -> Any:
        """Serve the requests of a connection, one after the other; runs in a thread of the pool."""
        keep_alive = self._handle_one(conn)
        while keep_alive is True and self._has_next_request(conn):
            keep_alive = self._handle_one(conn)
        if keep_alive is False:
            _close(conn.sock)
        return keep_alive

    def _has_next_request(self, conn: Any) -> bool:
        """Whether the next request arrives at once; waits only while there is a thread for every connection."""
        read_ahead = conn.parser.unreader.buf.getvalue()  # bytes of the next request that came with the last one
        if not self.alive or self.nr_conns > self.cfg.threads or read_ahead:
            return False
        arrivals = select.poll()
        arrivals.register(conn.sock, select.POLLIN)
        return bool(arrivals.poll(_NEXT_REQUEST_MILLISECONDS))

    def _handle_one(self, conn: Any) -> Any:
        if not (conn.initialized or conn.data_ready or conn.wait_for_data(_FIRST_BYTE_SECONDS)):
            return DEFER
        self.reading.begin(conn.sock)
        try:
            return super().handle(conn)
        finally:
            self.reading.end(conn.sock)

    def murder_pending(self) -> None:
        """Called by gunicorn about once a second."""
        super().murder_pending()
        self.reading.shut_late()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop in three steps on the first SIGTERM, at once on the second."""
        if self._stopping or not self.booted:
            super().handle_exit(sig, frame)
            return
        self._stopping = True
        self.app.on_stop()
        timer = threading.Timer(self.app.drain_seconds, self.method_queue.defer, [self._empty_queues])
        timer.daemon = True
        timer.start()

    def set_accept_enabled(self, enabled: bool) -> None:
        """Close the sockets of a stopping worker now, not after its last response: no client then queues in vain."""
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                listener.close()

    def _empty_queues(self) -> None:
        for listener in self.sockets:
            for _ in range(_BACKLOG):
                connections = self.nr_conns
                self.accept(listener)
                if self.nr_conns == connections:  # the queue is empty
                    break
        super().handle_exit(signal.SIGTERM, None)


def _close(client: socket.socket) -> None:
    """Close the sending side and wait briefly for the client to close its own, so that it reads the whole response.

    gunicorn would wait in the only thread that accepts connections.
    """
    with suppress(OSError):  # closed already
        client.shutdown(socket.SHUT_WR)
        arrivals, end, remaining = select.poll(), time.monotonic() + _CLOSE_SECONDS, _CLOSE_BYTES
        arrivals.register(client, select.POLLIN)
        while remaining > 0 and arrivals.poll(max(0.0, 1_000 * (end - time.monotonic()))):
            if not (piece := client.recv(4_096)):
                return
            remaining -= len(piece)
        client.shutdown(socket.SHUT_RDWR)


class JSONLogger(Logger):  # type: ignore[misc]
    """gunicorn's own log as JSON lines."""

    def setup(self, cfg: Any) -> None:
        """Called by gunicorn."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(JSONLines())
