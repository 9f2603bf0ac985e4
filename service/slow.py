"""Clients that send slowly: a request has so many seconds to arrive whole, then its connection is shut.

A thread waits while a request is read. Without a bound, as many slow clients as there are threads would stop the
service (slowloris), each sending a byte now and then so that no read ever times out.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Reading:
    """The sockets that are being read from, and since when.

    Args:
        seconds: how long a request may take to arrive.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[socket.socket, float] = {}
        self._lock = threading.Lock()

    def begin(self, client: socket.socket) -> None:
        """A request is being waited for."""
        with self._lock:
            self._since[client] = time.monotonic()

    def end(self, client: socket.socket | None) -> None:
        """It has arrived, or will not."""
        with self._lock:
            self._since.pop(client, None)  # type: ignore[arg-type]  # None is no key, and so never there

    def shut_late(self) -> None:
        """Shut what took too long; whoever reads from it finds the end of the stream."""
        with self._lock:
            late = [client for client, since in self._since.items() if time.monotonic() - since > self._seconds]
            for client in late:
                del self._since[client]
        for client in late:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # gone by itself


class Buffered:
    """Reads a request's body before the application is called, and says that it has arrived.

    A body that announces itself as too large is left where it is, for the application to refuse. One that comes in
    chunks is read up to the bound and one byte beyond, by which the application knows it.

    Args:
        app: the application.
        reading: is told when a body has arrived.
        most: the largest body, in bytes.
    """

    def __init__(self, app: WSGI, reading: Reading, most: int) -> None:
        self._app, self._reading, self._most = app, reading, most

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """See PEP 3333."""
        announced = int(environ.get("CONTENT_LENGTH") or 0)
        if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            announced = self._most + 1
            environ.pop("HTTP_TRANSFER_ENCODING")
            environ.pop("wsgi.input_terminated", None)
            self._read(environ, announced)
        elif 0 < announced <= self._most:
            self._read(environ, announced)
        self._reading.end(environ.get("gunicorn.socket"))
        return self._app(environ, start_response)

    def _read(self, environ: dict[str, Any], most: int) -> None:
        body = environ["wsgi.input"].read(most)
        environ["wsgi.input"] = io.BytesIO(body)
        if environ.get("CONTENT_LENGTH") is None:
            environ["CONTENT_LENGTH"] = str(len(body))
