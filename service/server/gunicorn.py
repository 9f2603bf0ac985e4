"""The HTTP server: gunicorn processes with many threads each, which share the model and the cache."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from marquee.settings import Settings
from prompts.errors import InvalidSetting, MarqueeError
from prompts.network import is_loopback
from service.server.slow_clients import BufferBodyMiddleware, RequestReads
from service.server.worker import JSONLogger, Worker, check_gunicorn
from service.telemetry import remove_gauges

_BOOT_SECONDS = 300  # a worker without a heartbeat for longer is replaced, also while it starts
_READ_SECONDS = 10.0  # longest time in which a request arrives
_KEEPALIVE_SECONDS = 5
_BOOT_ERROR = 3  # gunicorn starts no other worker after this exit status


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
