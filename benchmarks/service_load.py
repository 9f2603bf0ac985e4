"""The other side of ``benchmarks.service``: reference services, and the load of concurrent clients.

``python -m benchmarks.service_load --port PORT`` serves the naive service, with ``--bare`` the bare route.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import click
from flask import Flask, jsonify, request
from gunicorn.app.base import BaseApplication

_THREADS = 96  # as many as the service has
_HEAD_END = b"\r\n\r\n"
_CLOSED = "the service closed a connection before it answered"
_TIMEOUT = 300.0  # seconds


# --- reference services ---


def bare() -> Flask:
    """Return a service whose route parses a small body and returns a constant."""
    app = Flask(__name__)

    @app.post("/classify")
    def classify() -> Any:
        request.get_json()
        return jsonify({"labels": ["War"], "model": "none"})

    app.add_url_rule("/healthz", "healthz", lambda: "ok")
    return app


def naive() -> Flask:
    """Return a typical Flask service over sentence-transformers: each request encodes its one text alone."""
    from sentence_transformers import SentenceTransformer

    from llm.embedded.label_vectors import described
    from prompts import registry
    from similarity.encoders.tokens import weights_folder

    app = Flask(__name__)
    labels = registry.taxonomy("tmdb").predictable
    model = SentenceTransformer(weights_folder(), local_files_only=True)
    vectors = model.encode([described(label) for label in labels], normalize_embeddings=True)

    @app.post("/classify")
    def classify() -> Any:
        vector = model.encode(request.get_json()["text"], normalize_embeddings=True, show_progress_bar=False)
        scores = vectors @ vector
        best = scores.argsort()[::-1][:3]
        return jsonify({"labels": [labels[row].name for row in best], "scores": [float(scores[row]) for row in best]})

    app.add_url_rule("/healthz", "healthz", lambda: "ok")
    return app


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(self, port: int, is_bare: bool) -> None:
        self._port, self._is_bare = port, is_bare
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": f"127.0.0.1:{self._port}",
            "worker_class": "gthread",
            "threads": _THREADS,
            "timeout": 300,
            "keepalive": 5,
            "loglevel": "warning",
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return bare() if self._is_bare else naive()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", type=int, required=True, help="Port on 127.0.0.1.")
@click.option("--bare", "is_bare", is_flag=True, help="A route that does nothing.")
def main(port: int, is_bare: bool) -> None:
    """Serve a reference service: one request, one encode. Ends with SIGTERM."""
    _Server(port, is_bare).run()


# --- clients ---


def send(url: str, texts: Sequence[str], clients: int) -> None:
    """Post each text to ``/classify`` over keep-alive connections of one thread.

    A thread with ``http.client`` per client takes some 2 ms of a core per request, a tenth of what a service of two
    cores has; real clients run on other machines.

    Args:
        url: URL of the service.
        texts: one per request.
        clients: concurrent connections; each sends its next text after the answer to its last.

    Raises:
        RuntimeError: a status other than 200, or a closed connection.
    """
    asyncio.run(_send(url, texts, clients))


async def _send(url: str, texts: Sequence[str], clients: int) -> None:
    host, port = str(urlsplit(url).hostname), int(urlsplit(url).port or 80)
    loop, turns = asyncio.get_running_loop(), iter([_request(host, text) for text in texts])
    pool = [_Client(turns, loop.create_future()) for _ in range(clients)]
    waiting = iter(pool)
    for _ in pool:
        await loop.create_connection(lambda: next(waiting), host, port)
    await asyncio.gather(*(client.done for client in pool))


def client(url: str) -> Callable[[str], None]:
    """Return a function that posts a text over one keep-alive connection and waits for the answer."""
    host, port = str(urlsplit(url).hostname), int(urlsplit(url).port or 80)
    connection = socket.create_connection((host, port), timeout=_TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(text: str) -> None:
        connection.sendall(_request(host, text))
        received = b""
        while not _complete(received):
            received += connection.recv(65_536) or _closed()
        if not _accepted(received):
            raise RuntimeError(received.decode("utf-8", "replace"))

    return post


def _request(host: str, text: str) -> bytes:
    body = json.dumps({"text": text}).encode()
    head = f"POST /classify HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + _HEAD_END + body


class _Client(asyncio.Protocol):
    """One connection; sends the next request as soon as it has its answer."""

    def __init__(self, turns: Iterator[bytes], done: asyncio.Future[None]) -> None:
        self._turns, self.done = turns, done
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not _complete(self._received):
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


def _complete(received: bytes) -> bool:
    head, end, body = received.partition(_HEAD_END)
    _, _, length = head.lower().partition(b"\r\ncontent-length:")
    return bool(end) and len(body) >= int(length.partition(b"\r\n")[0])


def _accepted(received: bytes) -> bool:
    return b" 200 " in received.partition(b"\r\n")[0]


def _closed() -> bytes:
    raise RuntimeError(_CLOSED)


if __name__ == "__main__":
    main()
