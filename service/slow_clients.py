"""Clients that send slowly, and bodies that are too large.

A thread waits while a request is read. A client that sends a byte now and then never causes a read timeout, so a few
such clients would block all threads (slowloris). A request that has not arrived in time is therefore disconnected.

A body that is too large is answered before it has arrived. Many clients (urllib, requests) read the response only after
they have sent everything, and would see a broken pipe instead of the 413. The rest of the body is therefore read and
discarded after the response, within limits of bytes and seconds.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]

_DISCARD_BYTES = 128 * 2**20  # of a body, read after its response
_PIECE = 256 * 1024


class RequestReads:
    """The sockets that requests are being read from.

    Args:
        seconds: longest time in which a request arrives.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[socket.socket, float] = {}
        self._lock = threading.Lock()

    def begin(self, client: socket.socket) -> None:
        """Start the time of a request."""
        with self._lock:
            self._since[client] = time.monotonic()

    def end(self, client: socket.socket | None) -> None:
        """The request has arrived, or its connection has ended."""
        with self._lock:
            self._since.pop(client, None)  # type: ignore[arg-type]  # None is not a key, and so never found

    def shut_late(self) -> None:
        """Shut down the sockets of late requests; their readers see the end of the stream."""
        with self._lock:
            late = [client for client, since in self._since.items() if time.monotonic() - since > self._seconds]
            for client in late:
                del self._since[client]
        for client in late:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # disconnected already


class BufferBodyMiddleware:
    """Reads a request's body before it calls the application.

    A body whose announced length is too large is not read: the application answers. A chunked body is read up to one
    byte above the limit, by which the application recognises it. The rest is discarded after the response.

    Args:
        app: the application.
        reading: limits the seconds in which a body arrives, or is discarded.
        max_bytes: largest body.
        close_after: called before the response where the connection should be closed after it.
    """

    def __init__(
        self, app: WSGI, reading: RequestReads, max_bytes: int, close_after: Callable[[], object] = lambda: None
    ) -> None:
        self._app, self._reading, self._max_bytes, self._close_after = app, reading, max_bytes, close_after

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """See PEP 3333."""
        length, stream = int(environ.get("CONTENT_LENGTH") or 0), environ["wsgi.input"]
        if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            environ.pop("HTTP_TRANSFER_ENCODING")
            environ.pop("wsgi.input_terminated", None)
            self._read(environ, self._max_bytes + 1)
        elif 0 < length <= self._max_bytes:
            self._read(environ, length)
        client = environ.get("gunicorn.socket")
        self._reading.end(client)
        if int(environ.get("CONTENT_LENGTH") or 0) <= self._max_bytes:
            return self._app(environ, start_response)
        self._close_after()
        return _WithCallback(self._app(environ, start_response), lambda: self._discard(stream, client))

    def _read(self, environ: dict[str, Any], max_bytes: int) -> None:
        body = environ["wsgi.input"].read(max_bytes)
        environ["wsgi.input"] = io.BytesIO(body)
        if environ.get("CONTENT_LENGTH") is None:
            environ["CONTENT_LENGTH"] = str(len(body))

    def _discard(self, stream: Any, client: socket.socket | None) -> None:
        """Read the rest of a body, so that the client goes on to read the response.

        The part beyond the limits is left, and the server closes the connection.
        """
        if client is not None:
            self._reading.begin(client)
        try:
            remaining = _DISCARD_BYTES
            while remaining > 0 and (piece := stream.read(_PIECE)):
                remaining -= len(piece)
        except Exception:
            pass
        finally:
            self._reading.end(client)


class _WithCallback:
    """A response, and a function to call after it was sent or could not be sent."""

    def __init__(self, response: Iterable[bytes], callback: Callable[[], None]) -> None:
        self._response, self._callback = response, callback

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._response)

    def close(self) -> None:
        """See PEP 3333."""
        try:
            if close := getattr(self._response, "close", None):
                close()
        finally:
            self._callback()
