"""The server: gunicorn with one worker process of many threads, which share the model and the cache."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from prompts.errors import InvalidSetting, MarqueeError

_GRACEFUL_SECONDS = 30
_BOOT_ERROR = 3  # gunicorn starts no other worker after this exit status


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        InvalidSetting: the address cannot be listened on, and why.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]
        raise InvalidSetting(f"cannot listen on {host} port {port}: {why}; set PORT or HOST") from None


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Serves an application until it is told to stop.

    Args:
        make_app: builds the application in the worker; torch's threads do not survive a fork, so it must not be
            built before.
        listener: where to serve, from ``listen``.
        threads: requests served at once.
        on_ready: called in the worker once it can answer.
    """

    def __init__(
        self, make_app: Callable[[], Flask], listener: socket.socket, threads: int, on_ready: Callable[[], None]
    ) -> None:
        self._make_app, self._listener, self._threads, self._on_ready = make_app, listener, threads, on_ready
        super().__init__()

    def load_config(self) -> None:
        """Gunicorn's settings; its own command line and environment are not read."""
        settings: dict[str, Any] = {
            "bind": f"fd://{self._listener.fileno()}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": self._threads,
            "graceful_timeout": _GRACEFUL_SECONDS,
            "loglevel": "warning",
            "control_socket_disable": True,
            "post_worker_init": lambda worker: self._on_ready(),
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Called by gunicorn in the worker; a wrong setting found only here ends the server, in words."""
        try:
            return self._make_app()
        except MarqueeError as error:
            print(f"Error: {error}", file=sys.stderr, flush=True)
            sys.exit(_BOOT_ERROR)
