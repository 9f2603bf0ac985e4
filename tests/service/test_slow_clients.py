"""Slow clients, and bodies read before the application is called."""

import io
import socket
import time
from typing import Any

import pytest

from service.slow_clients import BufferBodyMiddleware, RequestReads


def test_what_takes_too_long_to_arrive_is_shut_and_nothing_else() -> None:
    reading = RequestReads(0.05)
    slow, punctual = socket.socketpair(), socket.socketpair()
    reading.begin(slow[0])
    reading.begin(punctual[0])
    reading.end(punctual[0])
    reading.shut_late()
    slow[1].sendall(b"a byte now and then")
    assert slow[0].recv(1) == b"a", "there is time yet"
    time.sleep(0.1)
    reading.shut_late()
    punctual[1].sendall(b"x")
    assert punctual[0].recv(1) == b"x"
    with pytest.raises(OSError, match="pipe"):
        slow[1].sendall(b"x")
    for end in (*slow, *punctual):
        end.close()


def test_one_that_is_gone_already_does_no_harm() -> None:
    reading, (here, there) = RequestReads(0.0), socket.socketpair()
    reading.begin(here)
    here.close()
    there.close()
    reading.end(None)
    time.sleep(0.01)
    reading.shut_late()


def passed_on(raw: bytes, most: int = 10, **environ: str) -> dict[str, Any]:
    """What the application is given of a body, and how much of it is left failed_predictions."""
    seen: dict[str, Any] = {}

    def app(given: dict[str, Any], start: Any) -> list[bytes]:
        seen.update(given, body=given["wsgi.input"].read())
        return []

    stream = io.BytesIO(raw)
    BufferBodyMiddleware(app, RequestReads(1), most)({"wsgi.input": stream, **environ}, None)
    return seen


def test_a_body_arrives_whole_before_the_application_is_called() -> None:
    assert passed_on(b"12345", CONTENT_LENGTH="5")["body"] == b"12345"
    assert passed_on(b"1234567890", CONTENT_LENGTH="10")["body"] == b"1234567890"


def test_a_body_that_announces_too_much_is_not_read() -> None:
    stream, asked = io.BytesIO(b"x" * 100), list[int]()
    BufferBodyMiddleware(lambda given, start: asked.append(given["wsgi.input"].tell()) or [], RequestReads(1), 10)(  # type: ignore[func-returns-value]
        {"wsgi.input": stream, "CONTENT_LENGTH": "100"}, None
    )
    assert asked == [0]


def test_chunks_are_read_up_to_one_byte_beyond_the_bound() -> None:
    seen = passed_on(b"x" * 100, HTTP_TRANSFER_ENCODING="chunked")
    assert (seen["body"], seen["CONTENT_LENGTH"]) == (b"x" * 11, "11")
    seen = passed_on(b"12345", HTTP_TRANSFER_ENCODING="chunked")
    assert (seen["body"], seen["CONTENT_LENGTH"]) == (b"12345", "5")
