"""Calls share batches, keep to a limit and a deadline, and never wait for a thread that was ended."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from similarity.errors import Disconnected, Expired, NoResult, Rejected
from similarity.micro_batching import PATIENT, Admission, Caller, MicroBatcher, Patient

Batcher = MicroBatcher[str, list[str]]


@dataclass
class Held:
    """A computation that stops in its first batch until it is let go; raises what a batch holds that is in ``faults``.

    Attributes:
        batches: the items of each batch so far.
    """

    faults: dict[str, BaseException] = field(default_factory=dict)
    batches: list[list[str]] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __call__(self, items: Sequence[str], key: Any) -> list[str]:
        self.batches.append(list(items))
        self.begun.set()
        assert self.go_on.wait(30)
        for item in items:
            if item in self.faults:
                raise self.faults[item]
        return [f"{item}!" for item in items]


class Gone:
    """A caller whose client has closed its connection."""

    @property
    def deadline(self) -> float:
        return float("inf")

    def disconnected(self) -> bool:
        return True


def until(condition: Callable[[], bool]) -> None:
    pause, end = threading.Event(), time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        pause.wait(0.001)


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except BaseException as error:
        return error


@dataclass
class Crowd:
    """Calls that arrive one after the other while the first batch is held."""

    held: Held
    batcher: Batcher
    pool: ThreadPoolExecutor

    def first(self) -> Any:
        call = self.pool.submit(outcome, lambda: self.batcher(["first"]))
        assert self.held.begun.wait(30)
        return call

    def call(self, items: Sequence[str], key: Any = None, caller: Caller = PATIENT) -> Any:
        waiting = len(self.batcher._waiting)
        call = self.pool.submit(outcome, lambda: self.batcher(items, key, caller))
        until(lambda: len(self.batcher._waiting) > waiting or call.done())
        return call


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(24) as running:
        yield running


def crowd(pool: ThreadPoolExecutor, faults: dict[str, BaseException] | None = None, **options: Any) -> Crowd:
    held = Held(faults or {})
    return Crowd(held, MicroBatcher(held, **options), pool)


def test_a_single_caller_is_computed_at_once_and_alone() -> None:
    held = Held()
    held.go_on.set()
    batcher: Batcher = MicroBatcher(held)
    assert [batcher([word]) for word in "ab"] == [["a!"], ["b!"]]
    assert held.batches == [["a"], ["b"]]


def test_calls_that_arrive_meanwhile_share_a_batch_and_get_their_own_results(pool: ThreadPoolExecutor) -> None:
    some = crowd(pool)
    calls = [some.first(), *(some.call([word, word * 2]) for word in "abc")]
    some.held.go_on.set()
    assert [call.result(30) for call in calls] == [["first!"], ["a!", "aa!"], ["b!", "bb!"], ["c!", "cc!"]]
    assert some.held.batches == [["first"], ["a", "aa", "b", "bb", "c", "cc"]]


def test_results_may_be_an_array() -> None:
    batcher: MicroBatcher[str, Any] = MicroBatcher(lambda items, key: np.arange(len(items)))
    assert batcher(["a", "b"]).tolist() == [0, 1]


def test_only_calls_of_one_key_share_a_batch_and_the_key_that_waited_longest_is_next(pool: ThreadPoolExecutor) -> None:
    some = crowd(pool)
    first = some.first()
    calls = [some.call([f"{key}{turn}"], key) for turn, key in enumerate("xyxyx")]
    some.held.go_on.set()
    assert [call.result(30) for call in calls] == [["x0!"], ["y1!"], ["x2!"], ["y3!"], ["x4!"]]
    assert first.result(30) == ["first!"]
    assert some.held.batches == [["first"], ["x0", "x2", "x4"], ["y1", "y3"]]


def test_a_stream_of_similar_calls_does_not_keep_an_odd_one_waiting(pool: ThreadPoolExecutor) -> None:
    some = crowd(pool, max_items=2, length=len)
    some.first()
    for word in ("a", "long" * 99, "b", "c", "d"):
        some.call([word])
    some.held.go_on.set()
    until(lambda: sum(map(len, some.held.batches)) == 6)
    assert some.held.batches[:3] == [["first"], ["a", "b"], ["long" * 99, "c"]]


def test_a_call_too_many_is_rejected_at_once(pool: ThreadPoolExecutor) -> None:
    changes: list[int] = []
    admission = Admission(2, changes.append)
    some = crowd(pool, admission=admission)
    calls = [some.first(), some.call(["a"])]
    rejected = some.call(["x"]).result(30)
    assert isinstance(rejected, Rejected)
    assert rejected.retry_after == 1.0
    assert "2 requests are pending" in str(rejected)
    some.held.go_on.set()
    assert [call.result(30) for call in calls] == [["first!"], ["a!"]]
    assert sum(changes) == 0
    assert ["x"] not in some.held.batches
    assert some.batcher(["after"]) == ["after!"]


def test_batchers_of_one_model_share_its_limit(pool: ThreadPoolExecutor) -> None:
    admission = Admission(1)
    some = crowd(pool, admission=admission)
    first = some.first()
    other: Batcher = MicroBatcher(lambda items, key: list(items), admission=admission)
    with pytest.raises(Rejected):
        other(["a"])
    some.held.go_on.set()
    first.result(30)
    assert other(["a"]) == ["a"]


@pytest.mark.parametrize(
    ("caller", "error"), [(Patient(0.0), Expired), (Patient(time.monotonic() + 0.01), Expired), (Gone(), Disconnected)]
)
def test_items_that_no_one_waits_for_are_not_computed(
    pool: ThreadPoolExecutor, caller: Caller, error: type[Exception]
) -> None:
    some = crowd(pool)
    first, given_up, other = some.first(), some.call(["given up"], caller=caller), some.call(["other"])
    if error is Expired:
        assert isinstance(given_up.result(30), Expired), "while the first batch is still being computed"
    some.held.go_on.set()
    assert isinstance(given_up.result(30), error)
    assert (first.result(30), other.result(30)) == (["first!"], ["other!"])
    assert some.held.batches == [["first"], ["other"]]


def test_a_deadline_is_kept_while_the_items_are_in_anothers_batch(pool: ThreadPoolExecutor) -> None:
    entered, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def compute(items: Sequence[str], key: Any) -> list[str]:
        entered.release()
        assert go_on.acquire(timeout=30)
        return list(items)

    batcher: Batcher = MicroBatcher(compute)
    first = pool.submit(batcher, ["first"])
    assert entered.acquire(timeout=30)
    leader = pool.submit(batcher, ["leader"])
    until(lambda: len(batcher._waiting) == 1)
    late = pool.submit(outcome, lambda: batcher(["late"], None, Patient(time.monotonic() + 0.2)))
    until(lambda: len(batcher._waiting) == 2)
    go_on.release()
    assert entered.acquire(timeout=30), "the batch of the leader and the late one is under way"
    assert isinstance(late.result(30), Expired)
    go_on.release()
    assert (first.result(30), leader.result(30)) == (["first"], ["leader"])


@pytest.mark.parametrize("error", [ValueError("bad"), MemoryError("full"), RecursionError("deep")])
def test_a_call_that_cannot_be_computed_fails_alone(pool: ThreadPoolExecutor, error: Exception) -> None:
    some = crowd(pool, {"bad": error})
    calls = [some.first(), *(some.call([word]) for word in ("a", "bad", "c"))]
    some.held.go_on.set()
    assert [call.result(30) for call in calls] == [["first!"], ["a!"], error, ["c!"]]
    assert some.batcher(["after"]) == ["after!"]


def test_a_computation_that_loses_a_result_is_an_error_and_shifts_none() -> None:
    batcher: Batcher = MicroBatcher(lambda items, key: list(items)[1:])
    with pytest.raises(NoResult, match="2 items came to 1 results"):
        batcher(["a", "b"])


@pytest.mark.parametrize("ended", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
@pytest.mark.parametrize("place", [0, 1])
def test_a_leader_whose_thread_is_ended_leaves_no_one_waiting(
    pool: ThreadPoolExecutor, ended: BaseException, place: int
) -> None:
    """Ended in the first batch, which it computes alone, or in the second, which it computes for all."""
    words = ["first", "a", "b", "c", "d"]
    some = crowd(pool, {words[place]: ended})
    calls = [some.first(), *(some.call([word]) for word in words[1:])]
    some.held.go_on.set()
    found = [call.result(30) for call in calls]
    assert found.pop(place) is ended
    assert found == [[f"{word}!"] for at, word in enumerate(words) if at != place]
    assert some.batcher(["after"]) == ["after!"], "and the lead is free"


def test_a_waiting_thread_that_is_ended_never_becomes_the_leader(pool: ThreadPoolExecutor) -> None:
    class Interrupted(Gone):
        @property
        def deadline(self) -> float:
            raise KeyboardInterrupt

    some = crowd(pool)
    first = some.first()
    with pytest.raises(KeyboardInterrupt):
        some.batcher(["interrupted"], None, Interrupted())
    other = some.call(["other"])
    some.held.go_on.set()
    assert (first.result(30), other.result(30)) == (["first!"], ["other!"])
    assert some.held.batches == [["first"], ["other"]]


def test_errors_of_a_callback_reach_the_leader_and_no_one_waits(pool: ThreadPoolExecutor) -> None:
    def counts(items: int) -> None:
        if items == 3:
            raise OSError("no metrics")

    some = crowd(pool, on_batch=counts)
    calls = [some.first(), *(some.call([word]) for word in "abc")]
    some.held.go_on.set()
    first, leader, *others = [call.result(30) for call in calls]
    assert first == ["first!"]
    assert isinstance(leader, OSError)
    assert others == [["b!"], ["c!"]]
    assert some.batcher(["after"]) == ["after!"]


def test_several_batches_at_once_share_the_waiting_calls(pool: ThreadPoolExecutor) -> None:
    some = crowd(pool, concurrency=2)
    calls = [some.first()]
    calls.append(pool.submit(some.batcher, ["second"]))
    until(lambda: len(some.held.batches) == 2)
    calls += [some.call([word]) for word in "abcdef"]
    some.held.go_on.set()
    assert [call.result(30) for call in calls] == [[f"{word}!"] for word in ("first", "second", *"abcdef")]
    assert len(some.held.batches[2]) == 3


def test_under_a_crowd_every_call_gets_its_own_outcome() -> None:
    gone = Gone()

    def compute(items: Sequence[str], key: Any) -> list[str]:
        threading.Event().wait(0.001)
        if "13" in items:
            raise ValueError("13")
        if "77" in items and len(items) == 1:
            raise SystemExit
        return [f"{item} {key}" for item in items]

    batcher: Batcher = MicroBatcher(compute, admission=Admission(12), length=len)

    def one(number: int) -> bool:
        caller: Caller = gone if number % 7 == 0 else Patient(time.monotonic() + (0.0005 if number % 5 == 0 else 60))
        found = outcome(lambda: batcher([f"{number}"], number % 3, caller))
        if isinstance(found, Rejected | Expired | Disconnected):
            return True
        if number in (13, 77):
            return isinstance(found, ValueError | SystemExit) or number == 77
        return bool(found == [f"{number} {number % 3}"])

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(600)))
    assert batcher(["after"], 0) == ["after 0"]
    assert batcher._running == 0
    assert not batcher._waiting
