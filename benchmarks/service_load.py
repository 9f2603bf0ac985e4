"""The other side of ``benchmarks.service``: reference services, and the load of concurrent clients.

``python -m benchmarks.service_load --port PORT`` serves the naive service, with ``--bare`` the bare route.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import click
from flask import Flask, jsonify, request
from gunicorn.app.base import BaseApplication

_THREADS = 96  # as many as the service has
_HEAD_END = b"\r\n\r\n"
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

    from llm.embedded.cosine import described
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


def send(url: str, texts: Sequence[str], clients: int, route: str = "/classify", **fields: Any) -> list[float]:
    """Post each text to a route over keep-alive connections of one thread; returns the seconds of each request.

    A thread with ``http.client`` per client takes some 2 ms of a core per request, a tenth of what a service of two
    cores has; real clients run on other machines.

    Args:
        url: URL of the service.
        texts: one per request.
        clients: concurrent connections; each sends its next text after the answer to its last.
        route: path of the route.
        fields: further members of each body.

    Raises:
        RuntimeError: a status other than 200.
        EOFError: the service closed a connection before it answered.
    """
    host, port = _address(url)
    return asyncio.run(_send(host, port, [_request(host, text, route, **fields) for text in texts], clients))


async def _send(host: str, port: int, requests: Sequence[bytes], clients: int) -> list[float]:
    turns, seconds = iter(requests), list[float]()
    await asyncio.gather(*(_work(host, port, turns, seconds) for _ in range(clients)))
    return seconds


async def _work(host: str, port: int, turns: Iterator[bytes], seconds: list[float]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    for turn in turns:
        start = time.perf_counter()
        writer.write(turn)
        length = _length(await reader.readuntil(_HEAD_END))
        await reader.readexactly(length)
        seconds.append(time.perf_counter() - start)
    writer.close()


def client(url: str) -> Callable[[str], None]:
    """Return a function that posts a text over one keep-alive connection and waits for the answer."""
    host, port = _address(url)
    connection = socket.create_connection((host, port), timeout=_TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answers = connection.makefile("rb")

    def post(text: str) -> None:
        connection.sendall(_request(host, text))
        head = b""
        for line in answers:
            head += line
            if line == b"\r\n":
                break
        answers.read(_length(head))

    return post


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return str(parts.hostname), int(parts.port or 80)


def _request(host: str, text: str, route: str = "/classify", **fields: Any) -> bytes:
    body = json.dumps({"text": text, **fields}).encode()
    head = f"POST {route} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + _HEAD_END + body


def _length(head: bytes) -> int:
    """Return the length of an answer's body, from its head."""
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise RuntimeError(head.decode("utf-8", "replace") or "the service closed a connection before it answered")
    return int(head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])


if __name__ == "__main__":
    main()
