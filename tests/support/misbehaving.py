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
Rule = Callable[[str, Any], Behaviour | None]  # of a path and a body; None where the rule does not apply


def says(content: Any, model: str = "", **message: Any) -> Behaviour:
    """A well-formed completion with this content, by a model that may name itself."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content, **message}}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 5}}
    completion = {"id": "x", "object": "chat.completion", "created": 0, **({"model": model} if model else {})}
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


def follows(*rules: Rule, otherwise: Behaviour | None = None) -> Behaviour:
    """An endpoint by rules: the first that applies answers, else ``otherwise`` (404 where there is none)."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        request = getattr(handler, "request_body", None)
        found = (rule(handler.path, request) for rule in rules)
        (next(filter(None, found), None) or otherwise or body(404, {"error": "not found"}))(handler)

    return respond


def refuses(
    field: str,
    document: Any,
    status: int = 400,
    when: Callable[[Any], bool] = lambda value: True,
) -> Rule:
    """Refuses chat completions that have a field (of a value); ``a.b`` is a field inside a field."""

    def rule(path: str, request: Any) -> Behaviour | None:
        value = request if "/chat/completions" in path else None
        for step in field.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        return body(status, document) if value is not None and when(value) else None

    return rule


def serves(path: str, behaviour: Behaviour) -> Rule:
    """Answers under one path."""
    return lambda request_path, request: behaviour if request_path.partition("?")[0].endswith(path) else None


def chats(behaviour: Behaviour) -> Rule:
    """Answers chat completions so."""
    return serves("/chat/completions", behaviour)


def reasons(tokens: int, behaviour: Behaviour) -> Rule:
    """Spends so many tokens on reasoning before it answers, as gpt-5 does."""
    spent = {"message": {"role": "assistant", "content": ""}, "finish_reason": "length"}

    def rule(path: str, request: Any) -> Behaviour | None:
        if "/chat/completions" not in path or request is None:
            return None
        most = request.get("max_completion_tokens", request.get("max_tokens", 0))
        return body(200, {"choices": [spent]}) if most <= tokens else behaviour

    return rule


def like_gpt_5(answer: str) -> Behaviour:
    """OpenAI's reasoning models of 2026: their refusals, word for word, and tokens spent on reasoning."""

    def unsupported(name: str, words: str, code: str = "unsupported_parameter") -> Any:
        error = {"message": words, "type": "invalid_request_error", "param": name, "code": code}
        return {"error": error}

    most = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    one = (
        "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
    )
    logprobs = {"error": {"message": "You are not allowed to request logprobs from this model", "param": None}}
    root = (
        "Invalid schema for response_format 'answer': schema must be a JSON Schema of 'type: \"object\"', got 'array'."
    )
    return follows(
        serves("/models", body(200, {"data": [{"id": "gpt-5-mini"}, {"id": "gpt-5"}]})),
        refuses("max_tokens", unsupported("max_tokens", most)),
        refuses("temperature", unsupported("temperature", one, "unsupported_value"), when=lambda value: value != 1),
        refuses("logprobs", logprobs, 403),
        refuses("response_format.json_schema.schema.items", unsupported("response_format", root)),
        reasons(300, says(answer, model="gpt-5-mini-2026-08-07")),
    )


@dataclass
class Endpoint:
    """The running server: the requests so far, and its next behaviours.

    Attributes:
        url: its root, as a base URL wants it.
        then: behaviours, one per request; the last one stays.
        requests: bodies of the requests so far.
        headers: headers of the requests so far, names in lower case.
    """

    url: str = ""
    then: list[Behaviour] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
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
                self.request_body = json.loads(raw) if raw else None
                state.requests.append(self.request_body)
                state.headers.append({name.lower(): value for name, value in self.headers.items()})
                behave = state.next()
            behave(self)

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
