"""Concurrency: the adaptive limit, and calls that requests share."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from llm.backends.concurrency import ConcurrencyLimiter, SharedCalls
from llm.request_context import CURRENT_REQUEST, RequestContext
from marquee.settings import read_settings
from service.app import create_app
from service.services import build
from similarity.errors import Disconnected, Expired
from tests.support.misbehaving import endpoint, hangs


async def replies(limiter: ConcurrencyLimiter, count: int) -> None:
    for _ in range(count):
        async with limiter.acquire():
            pass


def with_steady_latency(most: int) -> ConcurrencyLimiter:
    limiter = ConcurrencyLimiter(most)
    limiter._record = lambda seconds, took=limiter._record: took(0.1)  # type: ignore[method-assign,misc]
    return limiter


def test_the_bound_doubles_with_every_round_of_replies_at_first() -> None:
    limiter = with_steady_latency(64)
    bounds = []
    for _ in range(4):
        bounds.append(limiter.limit)
        asyncio.run(replies(limiter, limiter.limit))
    assert bounds == [8, 16, 32, 64]
    assert limiter.limit == 64


def test_after_a_push_back_it_rises_by_one_a_round() -> None:
    limiter = with_steady_latency(64)
    asyncio.run(replies(limiter, 24))
    limiter.push_back()
    cut = limiter.limit
    assert cut == 22
    asyncio.run(replies(limiter, cut))
    assert limiter.limit in (cut, cut + 1)


@contextmanager
def request_with(**asking: Any) -> Iterator[None]:
    token = CURRENT_REQUEST.set(RequestContext(**asking))
    try:
        yield
    finally:
        CURRENT_REQUEST.reset(token)


@pytest.mark.parametrize(
    ("asking", "error"),
    [
        ({"deadline": 0.0}, Expired),
        ({"deadline": -1.0}, Expired),
        ({"disconnected": lambda: True}, Disconnected),
    ],
)
def test_a_request_that_is_over_does_not_wait_and_the_call_goes_on(asking: dict[str, Any], error: type) -> None:
    calls, release, done = SharedCalls(), Event(), Event()

    def slow() -> None:
        release.wait(30)
        done.set()

    with request_with(**asking), pytest.raises(error):
        calls.result("k", slow)
    release.set()
    assert done.wait(30)


def test_equal_calls_at_one_time_are_one_call() -> None:
    calls, release, runs = SharedCalls(), Event(), []

    def slow() -> int:
        runs.append(1)
        release.wait(30)
        return 7

    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(calls.result("k", slow))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert calls.result("other", lambda: 1) == 1
    release.set()
    for thread in threads:
        thread.join(30)
    assert found == [7] * 8
    assert len(runs) < 8


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt()])
def test_what_a_call_raises_reaches_the_request_and_the_next_call_runs(error: BaseException) -> None:
    calls = SharedCalls()

    def failing() -> int:
        raise error

    with pytest.raises(type(error)):
        calls.result("k", failing)
    assert calls.result("k", lambda: 2) == 2


ROUTES = (
    ("/classify", {"text": "x", "strategy": "json_list"}),
    ("/classify", {"text": "x", "strategy": "label_tokens", "labels": ["a", "b"], "multi": False}),
    ("/classify", {"text": "x", "strategy": "yes_no"}),
    ("/classify", {"text": "x"}),
    (
        "/v1/decisions",
        {"model": "marquee", "input": "x", "questions": [{"type": "predicate", "instructions": "is it?"}]},
    ),
)


@pytest.mark.parametrize(("route", "body"), ROUTES)
def test_the_first_request_to_an_endpoint_that_hangs_ends_at_its_deadline(
    away: Path, route: str, body: dict[str, Any]
) -> None:
    with endpoint(hangs(20)) as server:
        client = create_app(
            build(read_settings(openai_base_url=server.url, model="m", request_timeout=0.3, retries=0))
        ).test_client()
        start = time.monotonic()
        answer = client.post(route, json=body)
    assert time.monotonic() - start < 10  # a capability check alone waits 20 s
    assert answer.status_code == 504, answer.get_json()
    assert answer.get_json()["type"] == "/problems/timeout"


@pytest.mark.parametrize("strategy", ["json_list", "label_tokens", "yes_no"])
def test_an_endpoint_that_is_down_is_unreachable_and_not_one_without_probabilities(away: Path, strategy: str) -> None:
    with endpoint(hangs(0)) as server:
        url = server.url
    client = create_app(build(read_settings(openai_base_url=url, strategy=strategy, retries=0))).test_client()
    answer = client.post("/classify", json={"text": "x", "labels": ["a", "b"]}).get_json()
    assert (answer["status"], answer["type"]) == (503, "/problems/model-unreachable"), answer
