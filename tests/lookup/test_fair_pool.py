"""Requests share the look-up's threads fairly."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llm.wrappers.cache import AnswerStore
from lookup.film import FilmQuery, FilmRecord, LookupFailure
from lookup.lookup import FairPool, Lookup, PoolClient


@dataclass
class Held:
    """A provider whose look-ups of some titles hang until they are let go."""

    name: str = "held"
    base_url: str = "http://held.example"
    hanging: str = "hangs"
    requests: list[str] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)

    def find(self, wanted: FilmQuery, deadline: float) -> FilmRecord | LookupFailure:
        self.requests.append(wanted.title)
        if wanted.title.startswith(self.hanging):
            assert self.go_on.wait(30)
        return FilmRecord(
            "held", wanted.title, 1999, "1", "http://held.example/1", f"plot of {wanted.title}", "overview"
        )


@pytest.fixture
def held() -> Iterator[Held]:
    provider = Held()
    yield provider
    provider.go_on.set()


def deadline(condition: Callable[[], bool]) -> None:
    pause, end = threading.Event(), time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        pause.wait(0.001)


@pytest.mark.parametrize("titles", [8, 40, 256])
def test_a_large_request_that_hangs_does_not_keep_a_small_one_waiting(held: Held, titles: int) -> None:
    lookup = Lookup((held,))
    large = [FilmQuery(f"hangs {number}") for number in range(titles)]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lookup.find_all, large, time.monotonic() + 60)
        deadline(lambda: len(held.requests) == 8)
        (small,) = lookup.find_all([FilmQuery("small")], time.monotonic() + 30)
        assert small.film
        assert small.film.plot == "plot of small"
        assert not waiting.done()
        held.go_on.set()
        assert [outcome.film is not None for outcome in waiting.result(30)] == [True] * titles


def test_a_large_request_is_answered_by_its_deadline_and_the_rest_is_not_asked(held: Held) -> None:
    lookup = Lookup((held,))
    found = lookup.find_all([FilmQuery(f"hangs {number}") for number in range(100)], time.monotonic() + 0.05)
    assert {outcome.attempts[0].failure.kind for outcome in found} == {"timeout"}
    held.go_on.set()
    assert lookup.find_all([FilmQuery("after")])[0].film
    assert len(held.requests) == 9, "eight of the large request, and the one after"


def test_each_scope_remembers_its_own(held: Held, tmp_path: Path) -> None:
    lookup = Lookup((held,), AnswerStore(tmp_path / "l"))
    found = [lookup.find_all([FilmQuery("one")], scope=scope)[0].cached for scope in ("ada", "bob", "ada", "", "bob")]
    assert found == [False, False, True, False, True]


def test_scopes_share_what_is_remembered_where_the_settings_say_so(held: Held, tmp_path: Path) -> None:
    lookup = Lookup((held,), AnswerStore(tmp_path / "l"), shared=True)
    assert [lookup.find_all([FilmQuery("one")], scope=scope)[0].cached for scope in ("ada", "bob")] == [False, True]


# --- the pool ---


class Turns:
    """Calls that note their order; the first of them holds the only thread."""

    def __init__(self, threads: int = 1, per_client: int = 1) -> None:
        self.pool, self.order, self.go_on = FairPool(threads, per_client), list[str](), threading.Event()

    def call(self, client: PoolClient, name: str) -> Future[None]:
        def run() -> None:
            assert self.go_on.wait(30)
            self.order.append(name)

        return self.pool.submit(client, run)


def test_clients_take_turns_call_by_call() -> None:
    turns, many, few, one = Turns(), PoolClient(), PoolClient(), PoolClient()
    calls = [turns.call(many, f"many{number}") for number in range(5)]
    calls += [turns.call(few, f"few{number}") for number in range(2)]
    calls.append(turns.call(one, "one"))
    turns.go_on.set()
    for call in calls:
        call.result(30)
    assert turns.order == ["many0", "many1", "few0", "one", "many2", "few1", "many3", "many4"]


def test_a_cancelled_call_is_not_run_and_gives_its_turn_away() -> None:
    turns, first, second = Turns(), PoolClient(), PoolClient()
    calls = [turns.call(first, f"first{number}") for number in range(4)]
    calls.append(turns.call(second, "second"))
    assert [call.cancel() for call in calls[1:3]] == [True, True]
    turns.go_on.set()
    calls[3].result(30)
    calls[4].result(30)
    assert sorted(turns.order) == ["first0", "first3", "second"]


def test_no_client_has_more_threads_than_its_share_and_none_is_left_idle() -> None:
    turns, greedy, modest = Turns(threads=4, per_client=3), PoolClient(), PoolClient()
    calls = [turns.call(greedy, f"greedy{number}") for number in range(9)]
    assert (greedy.running, len(greedy.queue)) == (3, 6)
    calls += [turns.call(modest, f"modest{number}") for number in range(3)]
    assert (greedy.running, modest.running) == (3, 1)
    turns.go_on.set()
    for call in calls:
        call.result(30)
    assert len(turns.order) == 12
    deadline(lambda: greedy.running == modest.running == 0)


def test_what_a_call_raises_reaches_its_client_and_costs_no_thread() -> None:
    pool, client = FairPool(1, 1), PoolClient()

    def fails() -> None:
        raise ValueError("no")

    failed = [pool.submit(client, fails) for _ in range(3)]
    assert [str(one.exception(30)) for one in failed] == ["no"] * 3
    assert pool.submit(client, lambda: "yes").result(30) == "yes"


def test_many_clients_at_once_all_get_their_results() -> None:
    pool = FairPool(4, 2)

    def client(number: int) -> bool:
        me = PoolClient()
        calls = [pool.submit(me, lambda turn=turn: (number, turn)) for turn in range(50)]  # type: ignore[misc]
        return [call.result(30) for call in calls] == [(number, turn) for turn in range(50)]

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(client, range(16)))
