"""Remembered answers: exact, bounded, safe under threads and processes, and never in the way."""

import multiprocessing
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from llm.backends.backend import Conversation, FakeBackend
from llm.calibration.thresholds import LabelThreshold, ThresholdStore
from llm.classifier import Prediction, Problem
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from llm.wrappers.cache import AnswerStore, Cached
from prompts import registry
from prompts.text import Text

TMDB = registry.taxonomy("tmdb")


class Asked:
    """A scripted engine's reply that counts."""

    def __init__(self, answer: str = '["Drama", "Cooking"]') -> None:
        self.times, self.answer = 0, answer

    def __call__(self, conversation: Conversation) -> str | Problem:
        self.times += 1
        return Problem("unreachable", "down") if self.answer == "down" else self.answer


def cached(asked: Asked, path: Path) -> Cached:
    model = LanguageModel(FakeBackend(asked), JSONList())
    return Cached(model, AnswerStore(path))


def test_an_answer_is_asked_for_once_and_remembered_whole(tmp_path: Path) -> None:
    asked = Asked()
    (first,) = cached(asked, tmp_path / "c").classify(["a plot"], TMDB)
    (again,) = cached(asked, tmp_path / "c").classify(["a plot"], TMDB)
    assert asked.times == 1
    assert (first.cached, again.cached) == (False, True)
    assert again == Prediction(first.labels, first.source, first.scores, None, first.dropped, cached=True)
    assert again.dropped == ("Cooking",)


def test_another_taxonomy_text_or_shape_is_another_answer(tmp_path: Path) -> None:
    asked = Asked()
    mine = cached(asked, tmp_path / "c")
    mine.classify(["a plot"], TMDB)
    mine.classify(["another plot"], TMDB)
    mine.classify(["a plot"], registry.taxonomy("imdb"))
    mine.classify(["a plot"], TMDB.shaped(max_labels=2))
    assert asked.times == 4


def test_an_answer_is_not_stored_where_a_calibration_changed_while_it_was_computed(tmp_path: Path) -> None:
    thresholds, asked = ThresholdStore(tmp_path / "thresholds.json"), Asked()

    def reply(conversation: Conversation) -> str | Problem:
        thresholds.put(model.threshold_key(Text("a plot"), TMDB), LabelThreshold(0.9))
        return asked(conversation)

    model = LanguageModel(FakeBackend(reply), JSONList(), thresholds=thresholds)
    Cached(model, AnswerStore(tmp_path / "c")).classify(["a plot"], TMDB)
    assert not cached(asked, tmp_path / "c").classify(["a plot"], TMDB)[0].cached  # as before the change
    assert not Cached(model, AnswerStore(tmp_path / "c")).classify(["a plot"], TMDB)[0].cached
    assert Cached(model, AnswerStore(tmp_path / "c")).classify(["a plot"], TMDB)[0].cached


def test_failures_and_rubbish_are_never_stored(tmp_path: Path) -> None:
    for answer in ("down", "I cannot say"):
        asked = Asked(answer)
        mine = cached(asked, tmp_path / "c")
        assert mine.classify(["a plot"], TMDB)[0].problem
        assert mine.classify(["a plot"], TMDB)[0].problem
        assert asked.times == 2
        asked.answer = '["War"]'
        assert mine.classify([f"now it {answer} works"], TMDB)[0].labels == ("War",)


def test_a_text_that_stands_twice_in_a_batch_is_asked_once(tmp_path: Path) -> None:
    asked = Asked()
    predictions = cached(asked, tmp_path / "c").classify(["a", "b", "a", "a"], TMDB)
    assert asked.times == 2
    assert len(predictions) == 4


def test_many_threads_share_one_file(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "c")

    def work(number: int) -> bool:
        key = str(number % 50)
        store.put({key: f"value {key}"})
        return store.get([key]) == {key: f"value {key}"}

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(800)))


def test_a_new_file_that_another_still_makes_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(sqlite3.connect(tmp_path / "c", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        leaving = threading.Timer(0.3, other.rollback)
        leaving.start()
        store = AnswerStore(tmp_path / "c")
        store.put({"a plot": "its genres"})
        leaving.join()
    assert store.get(["a plot"]) == {"a plot": "its genres"}
    assert "continuing without it" not in caplog.text


def _write_and_read(path: Path, start: int) -> bool:
    store = AnswerStore(path)
    for number in range(start, start + 100):
        store.put({str(number): f"value {number}"})
    return all(store.get([str(number)]) == {str(number): f"value {number}"} for number in range(start, start + 100))


def test_many_processes_share_one_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        done = pool.starmap(_write_and_read, [(tmp_path / "c", 100 * n) for n in range(4)])
    assert done == [True] * 4
    assert len(AnswerStore(tmp_path / "c").get([str(n) for n in range(400)])) == 400


def test_a_connection_never_crosses_a_fork(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "c")
    store.put({"parent": "1"})
    child = multiprocessing.get_context("fork").Process(target=store.put, args=({"child": "2"},))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    store.put({"parent again": "3"})
    assert store.get(["parent", "child", "parent again"]) == {"parent": "1", "child": "2", "parent again": "3"}


def test_the_size_stays_bounded_and_the_least_recently_used_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = AnswerStore(tmp_path / "c", max_bytes=200_000)
    clock = [1_000_000.0]
    monkeypatch.setattr("llm.wrappers.cache.time.time", lambda: clock[0])
    for number in range(400):
        clock[0] += 10_000
        store.put({f"{number:04}": "x" * 2_000})
        store.get(["0000"])  # in use all the time
    kept = store.get([f"{number:04}" for number in range(400)])
    pages = sqlite3.connect(tmp_path / "c").execute("PRAGMA page_count").fetchone()[0]
    assert pages * 4096 < 400_000
    assert 25 < len(kept) < 100
    assert {"0000", "0399"} <= kept.keys()
    assert "0001" not in kept


def test_many_keys_at_once_pass_sqlites_limit(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "c")
    store.put({str(number): "v" for number in range(3_000)})
    assert len(store.get([str(number) for number in range(3_000)])) == 3_000


@pytest.mark.parametrize("fault", ["damaged", "a folder", "unwritable"])
def test_a_faulty_file_costs_the_help_and_not_the_answer(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c"
    if fault == "damaged":
        path.write_bytes(b"this is no database, " * 1_000)
    elif fault == "a folder":
        path.mkdir()
    else:
        path = Path("/proc/nowhere/c")
    asked = Asked()
    mine = cached(asked, path)
    assert [mine.classify(["a plot"], TMDB)[0].labels for _ in range(4)] == [("Drama",)] * 4
    assert asked.times == 4
    assert caplog.text.count("continuing without it") == 2, "once for reading, once for writing, not once a request"
