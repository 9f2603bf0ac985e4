"""Clients that hang up: they are noticed, and no work is done for them."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from llm.backends.transport import HTTPTransport
from llm.classifier import AnswerSource, Prediction, Problem
from llm.request_context import CURRENT_REQUEST, RequestContext
from llm.wrappers.admission import MicroBatched
from prompts import registry
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from service.request_hooks import disconnected
from similarity.micro_batching import Admission
from tests.support.misbehaving import endpoint, hangs, says
from tests.support.process import service

TMDB = registry.taxonomy("tmdb")


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with closing(here), closing(there):
        yield here, there


def test_a_client_that_waits_is_there_and_one_that_closes_is_gone(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    here, there = connection
    is_disconnected = disconnected(here)
    assert not is_disconnected()
    there.sendall(b"GET /next")
    assert not is_disconnected()
    assert here.recv(9) == b"GET /next", "what it has sent stays where it is"
    there.close()
    assert is_disconnected()
    here.close()
    assert is_disconnected()


def test_where_the_server_tells_no_connection_nobody_seems_gone() -> None:
    assert not disconnected(None)()


class Slow:
    """Reads one pass at a time, and only when it is let; keeps the texts that it has read."""

    name = "slow"

    def __init__(self) -> None:
        self.read: list[str] = []
        self.entered, self.go_on = threading.Event(), threading.Event()

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        self.entered.set()
        assert self.go_on.wait(30)
        self.read += [Text.of(text).body for text in texts]
        return [Prediction(("War",), AnswerSource(self.name, taxonomy.name)) for _ in texts]


def test_the_texts_of_those_who_hang_up_in_the_queue_are_not_read() -> None:
    slow = Slow()
    came: list[int] = []
    batched = MicroBatched(slow, Admission(64, came.append))
    found: dict[str, Prediction] = {}
    away = {"b", "c", "e"}
    left = threading.Event()

    def ask(text: str) -> None:
        hangs_up = text in away
        CURRENT_REQUEST.set(replace(RequestContext(), disconnected=lambda: hangs_up and left.is_set()))
        found[text] = batched.classify([text], TMDB)[0]

    threads = [threading.Thread(target=ask, args=[text]) for text in "abcdef"]
    threads[0].start()
    assert slow.entered.wait(30)
    for place, thread in enumerate(threads[1:], 2):
        thread.start()
        while sum(came) < place:
            time.sleep(0.005)
    time.sleep(0.05)  # the last one is counted a moment before it waits
    left.set()
    slow.go_on.set()
    for thread in threads:
        thread.join(30)
    assert sorted(slow.read) == ["a", "d", "f"]
    assert {text: one.problem.kind if one.problem else None for text, one in found.items()} == {
        text: "client_disconnected" if text in away else None for text in "abcdef"
    }
    assert sum(came) == 0


def test_what_is_under_way_at_the_endpoint_is_given_up_and_the_rest_is_not_sent() -> None:
    heard, deadline = threading.Event(), hangs(20)

    def hears(handler: BaseHTTPRequestHandler) -> None:
        heard.set()
        deadline(handler)

    with endpoint(hears) as server:
        transport = HTTPTransport(server.url, "", 60, 0, 1)
        CURRENT_REQUEST.set(RequestContext(disconnected=heard.is_set))
        try:
            found = transport.post([{}, {}, {}])
        finally:
            CURRENT_REQUEST.set(RequestContext())
    assert [isinstance(one, Problem) and one.kind for one in found] == ["client_disconnected"] * 3
    assert len(server.requests) == 1


def test_one_that_waits_longer_than_it_is_looked_after_gets_its_answer() -> None:
    with endpoint(says("here")) as server:
        said = server.then[0]
        server.then = [lambda handler: (time.sleep(0.8), said(handler))[1]]  # type: ignore[func-returns-value]
        CURRENT_REQUEST.set(RequestContext(disconnected=lambda: False))
        (found,) = HTTPTransport(server.url, "", 60, 0, 1).post([{}])
        CURRENT_REQUEST.set(RequestContext())
    assert found["choices"][0]["message"]["content"] == "here"


def test_over_a_real_server_the_endpoint_never_hears_of_those_who_hung_up(tmp_path: Path) -> None:
    answer = says('{"labels": ["War"]}')
    started = threading.Event()

    def thinks(handler: BaseHTTPRequestHandler) -> None:
        started.set()
        time.sleep(1)
        answer(handler)

    with endpoint(answer) as model:
        settings = {"OPENAI_BASE_URL": model.url, "MARQUEE_CONCURRENCY": "1", "MARQUEE_STRATEGY": "json_list"}
        paths = {"MARQUEE_CACHE_PATH": str(tmp_path / "c"), "MARQUEE_PROBE_PATH": str(tmp_path / "p")}
        with service(**settings | paths) as running:
            model.then = [thinks]
            before = len(model.requests)
            waiting = [_sent(running.url, text) for text in ("first", "second")]
            assert started.wait(30)
            for text in ("third", "fourth", "fifth"):
                _sent(running.url, text).close()
            for client in waiting:
                assert client.recv(4_096).startswith(b"HTTP/1.1 200")
                client.close()
            figures = httpx2.get(f"{running.url}/metrics", timeout=60).text
        asked = [json.dumps(body) for body in model.requests[before:]]
    assert 'marquee_requests_total{route="/classify",status="499"} 3.0' in figures
    words = ("first", "second", "third", "fourth", "fifth")
    assert [word for word in words if any(word in one for one in asked)] == ["first", "second"]


def _sent(url: str, text: str) -> socket.socket:
    """A connection over which a text has been sent to be labelled."""
    parts, body = urlsplit(url), json.dumps({"text": text}).encode()
    client = socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=60)
    head = "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return client
