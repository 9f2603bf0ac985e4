"""Clients that send slowly, and bodies that are too large.

A request has so many seconds to arrive whole, then its connection is shut. A thread waits while a request is read.
Without a limit, as many slow clients as there are threads would stop the service (slowloris), each sending a byte now
and then so that no read ever times out.

A body that is too large is answered before it has arrived. Many clients (urllib, requests) read no answer before they
have sent everything: if the connection were closed at once, they would see a broken pipe instead of the 413. So the
rest of the body is read and discarded after the answer, within limits of bytes and seconds.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]


class RequestReads:
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


_LINGER_BYTES = 128 * 2**20  # of a body, read and discarded after its answer
_PIECE = 256 * 1024


class BufferBodyMiddleware:
    """Reads a request's body before the application is called, and notes that it has arrived.

    A body that announces itself as too large is answered by the application without being read. One that comes in
    chunks is read up to the limit and one byte beyond, by which the application knows it. The rest of such a body is
    discarded after the answer.

    Args:
        app: the application.
        reading: limits the seconds in which a body arrives, and in which the rest of one is discarded.
        most: the largest body, in bytes.
        close_after: called where the connection should be closed after the answer, before that is sent.
    """

    def __init__(
        self, app: WSGI, reading: RequestReads, most: int, close_after: Callable[[], object] = lambda: None
    ) -> None:
        self._app, self._reading, self._most, self._close_after = app, reading, most, close_after

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """See PEP 3333."""
        announced, stream = int(environ.get("CONTENT_LENGTH") or 0), environ["wsgi.input"]
        chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
        if chunked:
            environ.pop("HTTP_TRANSFER_ENCODING")
            environ.pop("wsgi.input_terminated", None)
            self._read(environ, self._most + 1)
        elif 0 < announced <= self._most:
            self._read(environ, announced)
        client = environ.get("gunicorn.socket")
        self._reading.end(client)
        if int(environ.get("CONTENT_LENGTH") or 0) <= self._most:
            return self._app(environ, start_response)
        self._close_after()
        return _Lingering(self._app(environ, start_response), lambda: self._discard(stream, client))

    def _read(self, environ: dict[str, Any], most: int) -> None:
        body = environ["wsgi.input"].read(most)
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
            left = _LINGER_BYTES
            while left > 0 and (piece := stream.read(_PIECE)):
                left -= len(piece)
        except Exception:
            pass
        finally:
            self._reading.end(client)


class _Lingering:
    """An answer, with something to do once it has been sent.

    Args:
        answer: of the application.
        then: called after the answer was sent, or could not be.
    """

    def __init__(self, answer: Iterable[bytes], then: Callable[[], None]) -> None:
        self._answer, self._then = answer, then

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        """See PEP 3333."""
        try:
            if close := getattr(self._answer, "close", None):
                close()
        finally:
            self._then()
