"""Transport: concurrent requests in order, within the concurrency limit, shared by all threads."""

import asyncio
import gc
import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from typing import Any

from llm.backends.concurrency import ConcurrencyLimiter
from llm.backends.transport import HTTPTransport
from llm.classifier import Problem
from llm.request_context import CURRENT_REQUEST, RequestContext
from tests.support.misbehaving import body, endpoint, hangs, says


class Crowd:
    """An endpoint that notes how many requests it has at once."""

    def __init__(self, seconds: float = 0.02) -> None:
        self.now = self.most = 0
        self._seconds, self._lock = seconds, threading.Lock()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self._seconds)
        with self._lock:
            self.now -= 1
        says("ok")(handler)


def test_replies_come_in_the_order_of_the_bodies_and_a_problem_in_its_place() -> None:
    with endpoint(says("first"), body(400, {"error": "bad"}), says("third")) as server:
        first, second, third = HTTPTransport(server.url, "", 5, 0, 1).post([{"n": n} for n in range(3)])
    assert first["choices"][0]["message"]["content"] == "first"
    assert isinstance(second, Problem)
    assert third["choices"][0]["message"]["content"] == "third"
    assert [asked["n"] for asked in server.requests] == [0, 1, 2]


def test_no_bodies_are_no_requests() -> None:
    assert HTTPTransport("http://127.0.0.1:1/v1", "", 1, 0, 8).post([]) == []


def test_requests_in_flight_never_exceed_the_limit_over_all_callers() -> None:
    crowd = Crowd()
    with endpoint(crowd) as server:
        transport = HTTPTransport(server.url, "", 10, 0, 4)
        with ThreadPoolExecutor(6) as pool:
            done = list(pool.map(lambda _: len(transport.post([{}] * 10)), range(6)))
    assert done == [10] * 6
    assert 2 <= crowd.most <= 4


def test_a_forked_process_has_its_own_connections() -> None:
    with endpoint(says("ok")) as server:
        transport = HTTPTransport(server.url, "", 5, 0, 4)
        transport.post([{}])
        child = multiprocessing.get_context("fork").Process(target=lambda: transport.post([{}] * 3))
        child.start()
        child.join(30)
        assert child.exitcode == 0
        transport.post([{}])
    assert len(server.requests) == 5


def test_a_transport_without_references_ends_its_thread_and_connections() -> None:
    before = set(threading.enumerate())
    with endpoint(says("ok")) as server:
        transport = HTTPTransport(server.url, "", 5, 0, 4)
        transport.post([{}])
        (running,) = (thread for thread in threading.enumerate() if thread.name == "endpoint" and thread not in before)
        del transport
        gc.collect()
        assert not running.is_alive()


def test_the_limit_rises_while_latency_is_steady_and_falls_at_a_push_back() -> None:
    async def many(limiter: ConcurrencyLimiter, number: int) -> None:
        async def one() -> None:
            async with limiter.acquire():
                await asyncio.sleep(0.001)

        await asyncio.gather(*(one() for _ in range(number)))

    async def story() -> tuple[int, int, int, int]:
        limiter = ConcurrencyLimiter(32)
        start = limiter.limit
        await many(limiter, 400)
        raised = limiter.limit
        limiter.push_back()
        cut = limiter.limit
        limiter.push_back()  # the same overload, reported twice
        return start, raised, cut, limiter.limit

    start, raised, cut, again = asyncio.run(story())
    assert start < raised
    assert cut < raised
    assert again == cut


def test_a_cancelled_caller_passes_its_slot_to_the_next() -> None:
    async def story() -> bool:
        limiter = ConcurrencyLimiter(1)
        async with limiter.acquire():
            waiting = [asyncio.create_task(_hold(limiter)) for _ in range(3)]
            await asyncio.sleep(0.01)
            waiting[0].cancel()
        await asyncio.wait_for(asyncio.gather(*waiting[1:]), 5)
        return waiting[0].cancelled()

    async def _hold(limiter: ConcurrencyLimiter) -> None:
        async with limiter.acquire():
            await asyncio.sleep(0)

    assert asyncio.run(story())


def test_an_overloaded_endpoint_gets_fewer_concurrent_requests() -> None:
    crowd = Crowd(0.03)

    def overloaded(handler: BaseHTTPRequestHandler) -> None:
        if crowd.now >= 3:
            body(503, {"error": "too many"}, Retry_After="0")(handler)
        else:
            crowd(handler)

    with endpoint(overloaded) as server:
        replies = HTTPTransport(server.url, "", 10, 8, 16).post([{}] * 60)
    assert not [reply for reply in replies if isinstance(reply, Problem)]


# --- request context ---


def asking(asked: RequestContext, transport: HTTPTransport) -> list[Any]:
    """Two bodies, sent on behalf of a request."""
    token = CURRENT_REQUEST.set(asked)
    try:
        return transport.post([{"n": 1}, {"n": 2}])
    finally:
        CURRENT_REQUEST.reset(token)


def test_the_request_id_is_sent() -> None:
    with endpoint(says("[]")) as server:
        asking(RequestContext("abc-1"), HTTPTransport(server.url, "", 5, 0, 4))
        assert [headers["x-request-id"] for headers in server.headers] == ["abc-1", "abc-1"]


def test_requests_are_cancelled_at_the_deadline() -> None:
    with endpoint(hangs(20)) as server:
        found = asking(RequestContext(deadline=time.monotonic() + 1), HTTPTransport(server.url, "", 60, 0, 1))
        assert [problem.kind for problem in found] == ["timeout", "timeout"]
        assert len(server.requests) <= 1, "the second one was never sent"
        assert [
            problem.kind for problem in asking(RequestContext(deadline=0.0), HTTPTransport(server.url, "", 60, 0, 1))
        ] == ["timeout"] * 2
        assert len(server.requests) <= 1
