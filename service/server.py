"""The HTTP server: gunicorn processes with many threads each, which share the model and the cache.

gunicorn documents no way to free the thread of a slow client, to keep a thread with a busy connection, or to empty the
listening sockets before the end. ``Worker`` overrides methods of gunicorn for that. The requirements therefore pin a
release, and ``check_gunicorn`` compares the installed one with the names that this module uses.
"""

from __future__ import annotations

import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from types import FunctionType
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.http.message import Message
from gunicorn.http.unreader import Unreader
from gunicorn.workers import gthread

from marquee.settings import Settings
from prompts.errors import InvalidSetting, MarqueeError
from prompts.network import is_loopback
from service.slow_clients import BufferBodyMiddleware, RequestReads
from service.telemetry import JSONLines, remove_gauges

_BOOT_SECONDS = 300  # a worker without a heartbeat for longer is replaced, also while it starts
_READ_SECONDS = 10.0  # longest time in which a request arrives
_KEEPALIVE_SECONDS = 5
_BOOT_ERROR = 3  # gunicorn starts no other worker after this exit status

TESTED = "27.0.1"
# Returned by ``handle``: the connection goes back to the poller until its first byte arrives.
DEFER: object = getattr(gthread, "_DEFER", None)
# Owner -> its names that this module uses, and the attributes that its constructor sets.
_NAMES: tuple[tuple[Any, str, str], ...] = (
    (gthread, "_DEFER", ""),
    (gthread.TConn, "wait_for_data", "initialized data_ready parser sock"),
    (gthread.ThreadWorker, "handle handle_exit murder_pending set_accept_enabled accept", "nr_conns method_queue"),
    (gthread.PollableMethodQueue, "defer", ""),
    (Unreader, "", "buf"),
    (Message, "force_close", ""),
)
_FIRST_BYTE_SECONDS = 0.05  # a thread waits for so long on a new connection before it goes back to the poller
# A thread waits for so long for the next request of its connection. A client with many texts then skips the poller and
# the pool's queue, two switches between threads.
_NEXT_REQUEST_MILLISECONDS = 5
_BACKLOG = 2_048
_CLOSE_SECONDS, _CLOSE_BYTES = 2.0, 65_536  # limits on a client that closes its side; gunicorn waits as long


def check_host(host: str) -> None:
    """Check that a host name or address exists.

    Raises:
        InvalidSetting: it does not.
    """
    try:
        socket.getaddrinfo(host.strip("[]") or None, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "not an address"
        raise InvalidSetting(f"cannot listen on {host}: {why}; set a name or an address, such as 127.0.0.1") from None


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free port.

    Raises:
        InvalidSetting: the address is invalid or in use.
    """
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        host.encode("idna")  # create_server would leave its socket open for a name that cannot be encoded
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError, TypeError) as error:  # the last two: not a name
        why = getattr(error, "strerror", None) or "not an address"
        why = why.partition(" (while")[0]
        raise InvalidSetting(f"cannot listen on {host} port {port}: {why}; set PORT or HOST") from None


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Serves an application until it is stopped; a worker process that ends is replaced.

    Args:
        make_app: builds the application in each worker; torch's threads do not survive a fork.
        listener: the socket from ``listen``.
        settings: number of processes and threads, and limits of a request.
        on_ready: called in a worker once it can answer.
        on_stop: called in a worker on SIGTERM, ``drain_seconds`` before it stops.
    """

    def __init__(
        self,
        make_app: Callable[[], Flask],
        listener: socket.socket,
        settings: Settings,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
    ) -> None:
        self._make_app, self._settings, self._on_ready = make_app, settings, on_ready
        self._bind = f"fd://{listener.detach()}"  # gunicorn closes it
        check_gunicorn()
        self.on_stop, self.drain_seconds = on_stop, settings.drain_seconds
        self.reading = RequestReads(_READ_SECONDS)
        self._thread = threading.local()  # has the request that the thread serves
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's options; its own command line and environment are not read."""
        options: dict[str, Any] = {
            "bind": self._bind,
            "workers": self._settings.workers,
            "worker_class": Worker,
            "threads": self._settings.threads,
            "timeout": _BOOT_SECONDS,
            "keepalive": _KEEPALIVE_SECONDS,
            "graceful_timeout": int(self._settings.request_timeout + self._settings.drain_seconds) + 1,
            "loglevel": "warning",
            "logger_class": JSONLogger,
            "control_socket_disable": True,
            "pre_request": self._set_request,
            "post_worker_init": lambda worker: self._on_ready(),
            "child_exit": lambda arbiter, worker: remove_gauges(worker.pid),
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Build the application in a worker; an invalid setting that is found only here ends the server."""
        try:
            return BufferBodyMiddleware(
                self._make_app(), self.reading, self._settings.max_body_bytes, self._close_after
            )
        except MarqueeError as error:
            print(f"Error: {error}", file=sys.stderr, flush=True)
            sys.exit(_BOOT_ERROR)

    def _set_request(self, worker: Any, request: Any) -> None:
        self._thread.request = request

    def _close_after(self) -> None:
        """Close the connection after the response to this thread's request."""
        self._thread.request.force_close()


def serve_debugging(make_app: Callable[[], Flask], settings: Settings) -> None:
    """Flask's development server: restarts when the code changes, and shows tracebacks in the browser.

    Raises:
        InvalidSetting: the host is not loopback; the debugger runs any code that a client sends.
    """
    from werkzeug.serving import run_simple

    if not is_loopback(settings.host):
        raise InvalidSetting("--debug runs on loopback only: a client that reaches its debugger can run code")
    app = cache(make_app)  # built at the first request: the process that watches the code needs none
    run_simple(
        settings.host,
        settings.port,
        lambda environ, start: app()(environ, start),
        use_reloader=True,
        use_debugger=True,
        threaded=True,
    )


def check_gunicorn() -> None:
    """Compare the installed gunicorn with the names that this module uses.

    Raises:
        InvalidSetting: it lacks some of them; the message has the release to install.
    """
    if missing := list(_missing_names()):
        raise InvalidSetting(
            f"gunicorn {version('gunicorn')} lacks {', '.join(missing)}, which service/server.py uses; "
            f"install gunicorn=={TESTED}"
        )


def _missing_names() -> Iterator[str]:
    for owner, names, attributes in _NAMES:
        prefix = owner.__name__.rpartition(".")[2]
        yield from (f"{prefix}.{name}" for name in names.split() if not hasattr(owner, name))
        constructor = getattr(owner, "__init__", None)
        assigned = constructor.__code__.co_names if isinstance(constructor, FunctionType) else ()
        yield from (f"{prefix}.{name}" for name in attributes.split() if name not in assigned)


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
