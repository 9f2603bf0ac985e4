"""Sharing forward passes, bounding queues, and giving up what nobody waits for."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from llm.backends.backend import FakeBackend
from llm.classifier import AnswerSource, Prediction
from llm.language_model import LanguageModel
from llm.request_context import CURRENT_REQUEST, RequestContext
from llm.strategies.json_list import JSONList
from llm.wrappers.admission import AdmissionControl, MicroBatched
from prompts import registry
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from similarity.micro_batching import Admission

TMDB, IMDB = registry.taxonomy("tmdb"), registry.taxonomy("imdb")


class Recorder:
    """Answers every text with itself, as the model's name; keeps what each pass was for; slow or held up if asked."""

    name = "recorder"

    def __init__(self) -> None:
        self.seconds = 0.0  # of one pass
        self.passes: list[list[str]] = []
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        words = [Text.of(text).body for text in texts]
        self.passes.append(words)
        self.entered.set()
        assert self.go_on.wait(30)
        time.sleep(self.seconds)
        if "broken" in words:
            raise ValueError("broken")
        return [Prediction((), AnswerSource(word, taxonomy.name)) for word in words]


class Crowd:
    """Many callers of one batched recorder; the first holds the pass while the others come."""

    def __init__(self, most: int = 64, at_once: int = 1) -> None:
        self.inner, self.inside, self.came, self.passes = Recorder(), 0, 0, list[int]()
        self.batched = MicroBatched(self.inner, Admission(most, self._count), self.passes.append, at_once)
        self._lock = threading.Lock()

    def _count(self, change: int) -> None:
        with self._lock:
            self.inside += change
            self.came += max(0, change)

    def ask(self, text: str, taxonomy: Taxonomy = TMDB, seconds: float | None = None) -> Prediction:
        """One text, by someone who waits so many seconds."""
        CURRENT_REQUEST.set(
            RequestContext(deadline=time.monotonic() + seconds) if seconds is not None else RequestContext()
        )
        return self.batched.classify([text], taxonomy)[0]

    def behind(self, *calls: Callable[[], Prediction]) -> list[Prediction]:
        """All calls, made while a pass for "first" is held up until all of them wait."""
        self.inner.go_on.clear()
        self.came = 0
        with ThreadPoolExecutor(len(calls) + 1) as pool:
            first = pool.submit(self.ask, "first")
            assert self.inner.entered.wait(30)
            others = []
            for place, call in enumerate(calls):
                others.append(pool.submit(call))
                _until(lambda place=place: self.came >= place + 2)  # type: ignore[misc]
            self.inner.go_on.set()
            assert first.result(30).source.model == "first"
            return [other.result(30) for other in others]


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_one_who_comes_alone_is_answered_alone() -> None:
    crowd = Crowd()
    assert [crowd.ask(text).source.model for text in "ab"] == ["a", "b"]
    assert crowd.inner.passes == [["a"], ["b"]]


def test_those_who_come_meanwhile_share_a_pass_and_get_their_own_answers() -> None:
    crowd = Crowd()
    found = crowd.behind(*(lambda word=word: crowd.ask(word) for word in "abcde"))
    assert [prediction.source.model for prediction in found] == list("abcde")
    assert crowd.inner.passes == [["first"], list("abcde")]
    assert crowd.passes == [1, 5]


def test_passes_at_once_share_those_who_wait() -> None:
    crowd = Crowd(at_once=2)
    calls = [lambda word=word: crowd.ask(word) for word in ["second", *"abcdef"]]
    found = crowd.behind(*calls)
    assert [prediction.source.model for prediction in found] == ["second", *"abcdef"]
    assert crowd.inner.passes[:2] == [["first"], ["second"]]  # the second waited for nobody
    assert len(crowd.inner.passes[2]) == 3  # half of those who waited then
    assert sorted(word for words in crowd.inner.passes for word in words) == sorted([*"abcdef", "first", "second"])


def test_a_pass_takes_those_of_like_length_and_who_waited_longest_leads_the_next() -> None:
    crowd = Crowd()  # a pass has room for 128 texts
    calls = [lambda text=text: crowd.batched.classify([text] * 60, TMDB)[0] for text in ("aa", "b" * 400, "cc")]
    assert [one.source.model for one in crowd.behind(*calls)] == ["aa", "b" * 400, "cc"]
    assert crowd.inner.passes == [["first"], ["aa"] * 60 + ["cc"] * 60, ["b" * 400] * 60]


def test_another_taxonomy_is_another_pass() -> None:
    crowd = Crowd()
    calls = [lambda: crowd.ask("a"), lambda: crowd.ask("b", IMDB), lambda: crowd.ask("c")]
    found = crowd.behind(*calls)
    assert [prediction.source.taxonomy for prediction in found] == ["tmdb", "imdb", "tmdb"]
    assert crowd.inner.passes == [["first"], ["a", "c"], ["b"]]


def test_a_pass_is_no_larger_than_it_may_be() -> None:
    crowd = Crowd()
    many = [f"{number}" for number in range(100)]
    calls = [lambda: crowd.batched.classify(many, TMDB)[-1]] * 3
    assert [prediction.source.model for prediction in crowd.behind(*calls)] == ["99"] * 3
    assert [len(texts) for texts in crowd.inner.passes] == [1, 100, 100, 100]


def test_what_nobody_waits_for_any_more_is_not_read() -> None:
    crowd = Crowd()
    late, punctual = crowd.behind(lambda: crowd.ask("timeout", seconds=0.0), lambda: crowd.ask("punctual", seconds=60))
    assert late.problem is not None
    assert late.problem.kind == "timeout"
    assert punctual.problem is None
    assert crowd.inner.passes == [["first"], ["punctual"]]


def test_what_one_has_broken_the_others_do_not_bear() -> None:
    crowd = Crowd()

    def broken() -> Prediction:
        with pytest.raises(ValueError, match="broken"):
            crowd.ask("broken")
        return Prediction((), AnswerSource("raised", ""))

    found = crowd.behind(lambda: crowd.ask("a"), broken, lambda: crowd.ask("c"))
    assert [prediction.source.model for prediction in found] == ["a", "raised", "c"]
    assert crowd.ask("after").source.model == "after"


def test_one_too_many_is_turned_away_at_once_and_told_when_to_come_again() -> None:
    crowd = Crowd(most=2)
    crowd.inner.go_on.clear()
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(crowd.ask, word) for word in ("first", "a")]
        _until(lambda: crowd.inside == 2)
        away = crowd.ask("x")
        crowd.inner.go_on.set()
        found = [call.result(30) for call in calls]
    assert away.problem is not None
    assert (away.problem.kind, away.problem.retry_after) == ("busy", 1.0)
    assert [one.source.model for one in found] == ["first", "a"]
    assert crowd.inside == 0
    assert ["x"] not in crowd.inner.passes


def test_under_a_crowd_with_little_patience_everybody_hears_something_of_their_own() -> None:
    crowd = Crowd()
    crowd.inner.seconds = 0.002  # a pass in no time leaves nobody to wait, and so nothing to share

    def ask(number: int) -> bool:
        found = crowd.ask(f"{number}", IMDB if number % 3 else TMDB, seconds=0.0005 if number % 5 == 0 else 60)
        return found.problem.kind == "timeout" if found.problem else found.source.model == f"{number}"

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(800)))
    assert crowd.ask("after").source.model == "after"
    assert len(crowd.inner.passes) < 801


def test_a_language_model_has_a_gate_too() -> None:
    gate = Admission(1)
    bounded = AdmissionControl(LanguageModel(FakeBackend(lambda conversation: '["War"]'), JSONList()), gate)
    with ExitStack() as inside:
        inside.enter_context(gate.admit())
        (away,) = bounded.classify(["a plot"], TMDB)
        assert away.problem is not None
        assert away.problem.kind == "busy"
    assert bounded.classify(["a plot"], TMDB)[0].labels == ("War",)
    assert bounded.fingerprint(Text("a plot"), TMDB) == bounded.inner.fingerprint(Text("a plot"), TMDB)
