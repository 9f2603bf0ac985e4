"""A thread that stays with its connection."""

import io
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from service.worker import Worker

THREADS = 2


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's end of a connection, and the client's."""
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def asks_again(here: socket.socket, alive: bool = True, connections: int = THREADS, read_ahead: bytes = b"") -> bool:
    """What a worker finds that has just answered on this connection."""
    worker = Worker.__new__(Worker)
    worker.alive, worker.nr_conns, worker.cfg = alive, connections, SimpleNamespace(threads=THREADS)
    unreader = SimpleNamespace(buf=io.BytesIO(read_ahead))
    return worker._asks_again(SimpleNamespace(sock=here, parser=SimpleNamespace(unreader=unreader)))


def test_who_asks_again_at_once_keeps_the_thread(ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    assert not asks_again(here), "nothing has come yet"
    there.sendall(b"POST")
    assert asks_again(here)


def test_the_end_of_a_connection_is_noticed_by_the_same_thread(ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    there.close()
    assert asks_again(here)


def test_no_thread_is_held_where_it_could_be_missed(ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    there.sendall(b"POST")
    assert not asks_again(here, connections=THREADS + 1), "others wait for threads"
    assert not asks_again(here, alive=False), "the worker leaves"
    assert not asks_again(here, read_ahead=b"POST"), "gunicorn's own way knows of what was read ahead"
