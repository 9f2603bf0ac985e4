"""The server: gunicorn, whose worker processes have many threads each, which share model and cache."""

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
from service.metrics import left_by
from service.server.gunicorn_internals import check_gunicorn
from service.server.slow_clients import BufferBodyMiddleware, RequestReads
from service.server.worker import JSONLogger, Worker

_BOOT_SECONDS = 300  # a worker that is silent for longer, at its start too, is replaced
_READ_SECONDS = 10.0  # that a request may take to arrive
_KEEPALIVE_SECONDS = 5
_BOOT_ERROR = 3  # gunicorn starts no other worker after this exit status


def check_host(host: str) -> None:
    """See that a name or address exists, before anything else is said of it.

    Raises:
        InvalidSetting: it does not.
    """
    try:
        socket.getaddrinfo(host.strip("[]") or None, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "not an address"
        raise InvalidSetting(f"cannot listen on {host}: {why}; give a name or an address, such as 127.0.0.1") from None


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        InvalidSetting: the address cannot be listened on, and why.
    """
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        host.encode("idna")  # create_server would leave its socket open for a name that cannot be encoded
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError, TypeError) as error:  # names that are none
        why = getattr(error, "strerror", None) or "not an address"
        why = why.partition(" (while")[0]
        raise InvalidSetting(f"cannot listen on {host} port {port}: {why}; set PORT or HOST") from None


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Serves an application until it is told to stop; a worker process that dies is replaced.

    Args:
        make_app: builds the application in each worker; torch's threads do not survive a fork, so it must not be
            built before.
        listener: where to serve, from ``listen``.
        settings: how many processes and threads, and what a request may take.
        on_ready: called in a worker once it can answer.
        on_stop: called in a worker when it is told to stop, ``drain_seconds`` before it does.
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
        check_gunicorn()
        self._bind = f"fd://{listener.detach()}"  # gunicorn closes it
        self.on_stop, self.drain_seconds = on_stop, settings.drain_seconds
        self.reading = RequestReads(_READ_SECONDS)
        self._serving = threading.local()  # the request that this thread serves
        super().__init__()

    def load_config(self) -> None:
        """Gunicorn's settings; its own command line and environment are not read."""
        settings: dict[str, Any] = {
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
            "pre_request": self._note_request,
            "post_worker_init": lambda worker: self._on_ready(),
            "child_exit": lambda arbiter, worker: left_by(worker.pid),
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Called by gunicorn in the worker; a wrong setting found only here ends the server, in words."""
        try:
            return BufferBodyMiddleware(
                self._make_app(), self.reading, self._settings.max_body_bytes, self._close_after
            )
        except MarqueeError as error:
            print(f"Error: {error}", file=sys.stderr, flush=True)
            sys.exit(_BOOT_ERROR)

    def _note_request(self, worker: Any, request: Any) -> None:
        self._serving.request = request

    def _close_after(self) -> None:
        """Close the connection after the answer to this thread's request."""
        self._serving.request.force_close()


def serve_debugging(make_app: Callable[[], Flask], settings: Settings) -> None:
    """Flask's own server: it starts anew when the code changes, and shows a surprise with its story in the browser.

    Raises:
        InvalidSetting: strangers could reach it; its debugger runs what it is told.
    """
    from werkzeug.serving import run_simple

    if not is_loopback(settings.host):
        raise InvalidSetting("--debug runs on loopback only: whoever reaches its debugger can run code")
    made = cache(make_app)  # not before the first request: the process that watches the code needs none
    run_simple(
        settings.host,
        settings.port,
        lambda environ, start: made()(environ, start),
        use_reloader=True,
        use_debugger=True,
        threaded=True,
    )
