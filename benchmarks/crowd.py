"""Many clients at once in one thread: what they take of the processor is not taken from whom they ask.

A client of ``http.client`` in a thread of its own takes some two milliseconds of a core a request, a tenth of what a
service of two cores has. True clients sit on machines of their own.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

_HEAD_END = b"\r\n\r\n"
_CLOSED = "the service closed a connection before it had answered"
_PATIENCE = 300.0  # seconds


def send(url: str, texts: Sequence[str], clients: int) -> None:
    """Post each text to ``/classify``, and insist on an answer to each; every client keeps its connection.

    Args:
        url: the service's root, on this machine.
        texts: one a request.
        clients: how many ask at once, each its next text when it has the answer to its last.

    Raises:
        RuntimeError: an answer of another status than 200, or a connection that was closed.
    """
    asyncio.run(_send(url, texts, clients))


async def _send(url: str, texts: Sequence[str], clients: int) -> None:
    host, port = str(urlsplit(url).hostname), int(urlsplit(url).port or 80)
    loop, turns = asyncio.get_running_loop(), iter([_request(host, text) for text in texts])
    crowd = [_Client(turns, loop.create_future()) for _ in range(clients)]
    waiting = iter(crowd)
    for _ in crowd:
        await loop.create_connection(lambda: next(waiting), host, port)
    await asyncio.gather(*(client.done for client in crowd))


def asker(url: str) -> Callable[[str], None]:
    """One client that keeps its connection: posts a text, waits for the answer, and insists on one."""
    host, port = str(urlsplit(url).hostname), int(urlsplit(url).port or 80)
    connection = socket.create_connection((host, port), timeout=_PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(text: str) -> None:
        connection.sendall(_request(host, text))
        received = b""
        while not _whole(received):
            received += connection.recv(65_536) or _closed()
        if not _accepted(received):
            raise RuntimeError(received.decode("utf-8", "replace"))

    return ask


def _request(host: str, text: str) -> bytes:
    body = json.dumps({"text": text}).encode()
    head = f"POST /classify HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + _HEAD_END + body


class _Client(asyncio.Protocol):
    """One connection; takes the next turn as soon as it has its answer."""

    def __init__(self, turns: Iterator[bytes], done: asyncio.Future[None]) -> None:
        self._turns, self.done = turns, done
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not _whole(self._received):
            return
        if not _accepted(self._received):
            self.done.set_exception(RuntimeError(self._received.decode("utf-8", "replace")))
        elif not self.done.done():
            self._received = b""
            self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(_CLOSED))

    def _next(self) -> None:
        if turn := next(self._turns, None):
            self._transport.write(turn)
        else:
            self.done.set_result(None)
            self._transport.close()


def _whole(received: bytes) -> bool:
    head, end, body = received.partition(_HEAD_END)
    _, _, length = head.lower().partition(b"\r\ncontent-length:")
    return bool(end) and len(body) >= int(length.partition(b"\r\n")[0])


def _accepted(received: bytes) -> bool:
    return b" 200 " in received.partition(b"\r\n")[0]


def _closed() -> bytes:
    raise RuntimeError(_CLOSED)
