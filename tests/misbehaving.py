"""A real local HTTP server that misbehaves on command, in the ways that model endpoints do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[[BaseHTTPRequestHandler], None]


def says(content: str | None, **message: Any) -> Behaviour:
    """A well-formed completion with this content."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content, **message}}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 5}}
    completion = {"id": "x", "object": "chat.completion", "created": 0, "model": "other"}
    return body(200, completion | {"choices": [choice], "usage": usage})


def body(status: int, document: Any, kind: str = "application/json", **headers: str) -> Behaviour:
    """Any document under any status."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        raw = document.encode() if isinstance(document, str) else json.dumps(document).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(raw)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(raw)

    return respond


def hangs(seconds: float) -> Behaviour:
    """Accepts the request and says nothing for a while."""

    def wait(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return wait


def cuts(handler: BaseHTTPRequestHandler) -> None:
    """Promises a long body and drops the connection in the middle of it."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')
    handler.close_connection = True


def babbles(handler: BaseHTTPRequestHandler) -> None:
    """Answers in something that is not HTTP, as the wrong port of a machine does."""
    handler.wfile.write(b"220 mail.example.com ready\r\n\r\n")
    handler.close_connection = True


@dataclass
class Endpoint:
    """The running server: what it was asked, and what it does next.

    Attributes:
        url: its root, as a base URL wants it.
        then: behaviours, one per request; the last one stays.
        asked: bodies of the requests so far.
        headers: headers of the requests so far, names in lower case.
    """

    url: str = ""
    then: list[Behaviour] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def next(self) -> Behaviour:
        """What to do now."""
        return self.then.pop(0) if len(self.then) > 1 else self.then[0]


@contextmanager
def endpoint(*then: Behaviour) -> Iterator[Endpoint]:
    """Run a misbehaving server on a free port."""
    state = Endpoint(then=list(then))
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                state.asked.append(json.loads(raw) if raw else None)
                state.headers.append({name.lower(): value for name, value in self.headers.items()})
                behave = state.next()
            behave(self)

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
