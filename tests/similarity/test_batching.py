"""Callers of one computation share batches, and nothing else."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from similarity.batching import SharedBatches, Together
from tests.similarity.words import Vectors, Words


class Gated(Words):
    """Stops in the first batch until it is let go; refuses a text."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.begun.set()
        assert self.go_on.wait(30)
        if "refused" in texts:
            raise ValueError("refused")
        return super().encode(texts)


def together(encoder: Gated, texts: Sequence[str]) -> list[Vectors | Exception]:
    """All texts asked for at once, the others while the first is being encoded."""
    shared = SharedBatches(encoder)

    def ask(text: str) -> Vectors | Exception:
        try:
            return np.asarray(shared.encode([text])[0])
        except ValueError as error:
            return error

    with ThreadPoolExecutor(len(texts)) as pool:
        first = pool.submit(ask, texts[0])
        assert encoder.begun.wait(30)
        others = [pool.submit(ask, text) for text in texts[1:]]
        _until(lambda: len(shared._together._waiting) == len(others))
        encoder.go_on.set()
        return [future.result(30) for future in (first, *others)]


def _until(condition: Callable[[], bool]) -> None:
    wait = threading.Event()
    while not condition():
        wait.wait(0.001)


def test_texts_that_come_meanwhile_are_encoded_together_and_each_gets_its_own_vector() -> None:
    encoder, texts = Gated(), [f"w{number}" for number in range(9)]
    found = together(encoder, texts)
    assert np.array(found) == pytest.approx(Words().encode(texts), abs=1e-6)
    assert encoder.calls == [1, 8]


def test_a_text_that_cannot_be_encoded_fails_alone() -> None:
    found = together(Gated(), ["w1", "w2", "refused", "w3"])
    assert [isinstance(one, ValueError) for one in found] == [False, False, True, False]
    assert np.array([found[1], found[3]]) == pytest.approx(Words().encode(["w2", "w3"]), abs=1e-6)


def test_more_texts_than_a_batch_takes_are_still_one_callers() -> None:
    assert SharedBatches(Words()).encode([f"w{number}" for number in range(200)]).shape == (200, Words.dimension)
    assert SharedBatches(Words()).encode([]).shape == (0, Words.dimension)


def test_nobody_waits_for_a_batch_that_their_own_items_are_not_in() -> None:
    """Two waited for the first batch; when it is done they must come back, whatever the next one takes."""
    begun, go_on, calls = threading.Semaphore(0), threading.Semaphore(0), list[int]()

    def compute(items: Sequence[int]) -> list[int]:
        calls.append(len(items))
        begun.release()
        assert go_on.acquire(timeout=30)
        return [2 * item for item in items]

    shared = Together[int, list[int]](compute)
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(shared, [1])
        assert begun.acquire(timeout=30)
        second = [pool.submit(shared, [number]) for number in (2, 3)]
        _until(lambda: len(shared._waiting) == 2)
        go_on.release()
        assert begun.acquire(timeout=30)  # the second batch is under way
        third = [pool.submit(shared, [number]) for number in (4, 5)]
        _until(lambda: len(shared._waiting) == 2)
        go_on.release()
        assert begun.acquire(timeout=30)  # the third is, and is not let go yet
        assert [first.result(30), *(one.result(30) for one in second)] == [[2], [4], [6]]
        go_on.release()
        assert [one.result(30) for one in third] == [[8], [10]]
    assert calls == [1, 2, 2]


def test_many_threads_get_what_they_asked_for_and_share_the_work() -> None:
    calls: list[int] = []

    def compute(items: Sequence[int]) -> list[int]:
        calls.append(len(items))
        threading.Event().wait(0.002)
        return [item + 1 for item in items]

    shared = Together[int, list[int]](compute)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda number: shared([number]), range(400)))
    assert found == [[number + 1] for number in range(400)]
    assert sum(calls) == 400
    assert len(calls) < 200  # sixteen at a time come, and no batch is for one alone
