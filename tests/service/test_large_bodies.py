"""A body over the limit is answered with 413, which ordinary clients come to read, and slow ones are still shut."""

import http.client
import io
import json
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from shutil import which
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from service.slow_clients import BufferBodyMiddleware, RequestReads
from tests.support.process import service

MEGABYTE = 1_000_000
Answer = tuple[int, dict[str, Any]]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with service(MARQUEE_CLASSIFIER="embedded") as running:
        yield running.url


def body(size: int) -> bytes:
    return b'{"text": "' + b"x" * size + b'"}'


def pieces(raw: bytes) -> Iterator[bytes]:
    for start in range(0, len(raw), 100_000):
        yield raw[start : start + 100_000]


def by_urllib(url: str, raw: bytes) -> Answer:
    sent = urllib.request.Request(url, raw, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(sent, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def by_http_client(url: str, raw: bytes, chunked: bool = False) -> Answer:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        headers = {"Content-Type": "application/json"} | ({"Transfer-Encoding": "chunked"} if chunked else {})
        connection.request("POST", urlsplit(url).path, pieces(raw) if chunked else raw, headers, encode_chunked=chunked)
        reply = connection.getresponse()
        assert reply.status == 200 or reply.getheader("Connection") == "close"
        return reply.status, json.load(reply)
    finally:
        connection.close()


def by_http_client_in_chunks(url: str, raw: bytes) -> Answer:
    return by_http_client(url, raw, chunked=True)


def by_httpx(url: str, raw: bytes) -> Answer:
    reply = httpx2.post(url, content=raw, headers={"Content-Type": "application/json"}, timeout=60)
    return reply.status_code, reply.json()


def by_curl(url: str, raw: bytes) -> Answer:
    if not which("curl"):
        pytest.skip("curl is not installed")
    command = ["curl", "-sS", "--max-time", "60", "-H", "Content-Type: application/json", "--data-binary", "@-", url]
    done = subprocess.run(command, input=raw, capture_output=True, check=True)
    answer = json.loads(done.stdout)
    return answer.get("status", 200), answer


CLIENTS = (by_urllib, by_http_client, by_http_client_in_chunks, by_httpx, by_curl)


@pytest.mark.parametrize("megabytes", [5, 17, 60])
@pytest.mark.parametrize("send", CLIENTS)
def test_a_body_over_the_limit_gets_its_413(url: str, send: Callable[[str, bytes], Answer], megabytes: int) -> None:
    status, answer = send(f"{url}/classify", body(megabytes * MEGABYTE))
    assert (status, answer["type"]) == (413, "/problems/too-large")


@pytest.mark.parametrize("send", CLIENTS)
def test_after_it_the_next_request_is_served(url: str, send: Callable[[str, bytes], Answer]) -> None:
    assert send(f"{url}/classify", b'{"text": "A war."}')[0] == 200


@pytest.mark.parametrize("path", ["/similar", "/nothing", "/v1/decisions"])
def test_so_does_every_other_answer_to_it(url: str, path: str) -> None:
    assert by_urllib(url + path, body(20 * MEGABYTE))[0] in (404, 413)


def test_clients_that_never_close_their_side_do_not_keep_others_waiting(url: str) -> None:
    """Two seconds are given to each: one after the other they would take forty."""
    place = urlsplit(url)
    with ExitStack() as open_ones:
        for _ in range(20):
            client = socket.create_connection((str(place.hostname), int(place.port or 0)), timeout=30)
            open_ones.enter_context(closing(client))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert httpx2.get(f"{url}/healthz", timeout=20).status_code == 200


def test_a_client_that_sends_the_rest_slowly_is_shut() -> None:
    reading, (here, there) = RequestReads(0.05), socket.socketpair()
    stream = here.makefile("rb")
    answered, done = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        return [b"413"]

    def serve() -> None:
        environ = {"wsgi.input": stream, "CONTENT_LENGTH": "1000", "gunicorn.socket": here}
        answer = BufferBodyMiddleware(app, reading, 10)(environ, None)
        assert list(answer) == [b"413"]
        answered.set()
        answer.close()  # type: ignore[attr-defined]
        done.set()

    with here, there, stream:
        thread = threading.Thread(target=serve)
        thread.start()
        assert answered.wait(30)
        there.sendall(b"a byte now and then")
        for _ in range(3_000):
            reading.shut_late()
            if done.wait(0.01):
                break
        thread.join(30)
        assert done.is_set()
        with pytest.raises(OSError, match="pipe"):
            there.sendall(b"x")


class Endless(io.RawIOBase):
    """A body that never ends."""

    def __init__(self) -> None:
        self.given = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self.given += size
        return b"x" * size


def test_no_more_than_a_limit_is_discarded() -> None:
    stream, closed = Endless(), list[bool]()
    answer = BufferBodyMiddleware(lambda environ, start: [b"413"], RequestReads(1), 10, lambda: closed.append(True))(
        {"wsgi.input": stream, "CONTENT_LENGTH": str(10**12)}, None
    )
    assert (list(answer), stream.given, closed) == ([b"413"], 0, [True])
    answer.close()  # type: ignore[attr-defined]
    assert stream.given == 128 * 2**20


@pytest.mark.parametrize("fault", [OSError("reset"), ValueError("bad chunk")])
def test_a_fault_in_the_rest_of_a_body_does_no_harm(fault: Exception) -> None:
    class Broken(Endless):
        def read(self, size: int = -1) -> bytes:
            raise fault

    answer = BufferBodyMiddleware(lambda environ, start: [b"413"], RequestReads(1), 10)(
        {"wsgi.input": Broken(), "CONTENT_LENGTH": "1000"}, None
    )
    answer.close()  # type: ignore[attr-defined]
