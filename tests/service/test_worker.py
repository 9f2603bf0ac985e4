"""A thread that stays with its connection."""

import io
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.workers import gthread

from prompts.errors import InvalidSetting
from service.server import DEFER, TESTED, Worker, check_gunicorn
from tests.support.process import ROOT

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
    connection = SimpleNamespace(sock=here, parser=SimpleNamespace(unreader=unreader))
    return bool(worker._has_next_request(connection))


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


# --- names of gunicorn ---


def test_the_pinned_gunicorn_is_the_one_that_was_tested_and_has_all_that_is_used() -> None:
    pins = [line.strip() for line in (ROOT / "requirements.txt").read_text().splitlines() if "gunicorn" in line]
    assert pins == [f"gunicorn=={TESTED}"]
    check_gunicorn()
    assert DEFER is not None


@pytest.mark.parametrize(
    ("owner", "name", "said"),
    [
        (gthread, "_DEFER", "gthread._DEFER"),
        (gthread.TConn, "wait_for_data", "TConn.wait_for_data"),
        (gthread.ThreadWorker, "set_accept_enabled", "ThreadWorker.set_accept_enabled"),
        (gthread.PollableMethodQueue, "defer", "PollableMethodQueue.defer"),
    ],
)
def test_a_gunicorn_without_a_name_that_is_used_is_named_at_the_start(
    owner: Any, name: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(owner, name)
    with pytest.raises(InvalidSetting, match=f"lacks {said}, .* install gunicorn=={TESTED}"):
        check_gunicorn()


def test_what_a_constructor_no_longer_sets_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def constructor(self: Any) -> None:
        self.sock = self.parser = self.data_ready = None

    monkeypatch.setattr(gthread.TConn, "__init__", constructor)
    with pytest.raises(InvalidSetting, match=r"lacks TConn.initialized, "):
        check_gunicorn()
