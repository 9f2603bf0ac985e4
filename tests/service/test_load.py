"""Load: typed questions and similar films have a queue limit, shared batches and a deadline, as ``/classify`` has."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from llm.classifier import AnswerSource, Prediction
from llm.embedded.cosine import TextEncoder
from llm.embedded.matcher import Matcher
from llm.wrappers.admission import MicroBatchedPairs, Pair
from marquee.settings import read_settings
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text
from service.app import create_app
from service.decisions import ScoreDecider
from service.services import Services, build
from similarity.index.builder import FilmSource as FilmSource
from similarity.index.builder import build as build_index
from similarity.index.reloading import live
from similarity.index.search import Similar
from similarity.micro_batching import Admission
from tests.service.test_classify import problem_of
from tests.similarity.films import films
from tests.similarity.words import Vectors, Words

QUESTION = {"type": "predicate", "instructions": "The customer wants money back."}


class Held:
    """A model that stops in its first pass until it is let go."""

    def __init__(self) -> None:
        self.passes: list[int] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def hold(self, items: Sequence[Any]) -> None:
        self.passes.append(len(items))
        self.begun.set()
        assert self.go_on.wait(30)


class HeldPairs(Held):
    """Typed questions."""

    def predict(self, pairs: Sequence[Pair]) -> list[Prediction]:
        self.hold(pairs)
        return [
            Prediction(one.names, AnswerSource("held", one.name), dict.fromkeys(one.names, 0.5)) for _, one in pairs
        ]


class HeldWords(Words, Held):
    """An encoder."""

    def __init__(self) -> None:
        Words.__init__(self)
        Held.__init__(self)

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.hold(texts)
        return Words.encode(self, texts)


def deciding(embedded: Matcher, limit: int) -> tuple[Flask, Held]:
    held = HeldPairs()
    decider = ScoreDecider(embedded, MicroBatchedPairs("held", held.predict, Admission(limit)))
    return create_app(Services(lambda choice: embedded, lambda: None, lambda: None, "tmdb", decider=decider)), held


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    build_index(folder, FilmSource(films(50), ""), Words())
    return folder


def comparing(index: Path, limit: int) -> tuple[Flask, Held]:
    held = HeldWords()
    films = Similar(live(index, held), held, Admission(limit))
    return create_app(Services(lambda choice: None, lambda: None, lambda: None, "tmdb", similar=lambda: films)), held  # type: ignore[arg-type, return-value]


@pytest.fixture(params=["/v1/decisions", "/similar"])
def route(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serve(route: str, embedded: Matcher, index: Path) -> Callable[[int], tuple[Flask, Held]]:
    return lambda limit: deciding(embedded, limit) if route == "/v1/decisions" else comparing(index, limit)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(12) as running:
        yield running


def post(app: Flask, route: str, text: str, **headers: str) -> TestResponse:
    sent: dict[str, Any] = {"text": text}
    if route == "/v1/decisions":
        sent = {"model": "marquee", "input": text, "questions": [QUESTION]}
    return app.test_client().post(route, json=sent, headers=headers)


Serve = Callable[[int], tuple[Flask, Held]]


def test_a_request_too_many_is_503_with_a_time_to_retry(serve: Serve, route: str, pool: ThreadPoolExecutor) -> None:
    app, held = serve(1)
    first = pool.submit(post, app, route, "w1")
    assert held.begun.wait(30)
    rejected = post(app, route, "w2")
    assert "1 requests are pending" in problem_of(rejected, 503, "model-busy")["detail"]
    assert rejected.headers["Retry-After"] == "1"
    held.go_on.set()
    assert first.result(30).status_code == 200
    assert post(app, route, "w2").status_code == 200


def test_a_request_is_answered_by_its_deadline(serve: Serve, route: str, pool: ThreadPoolExecutor) -> None:
    app, held = serve(8)
    first = pool.submit(post, app, route, "w1")
    assert held.begun.wait(30)
    problem_of(post(app, route, "w2", **{"X-Request-Timeout": "0.02"}), 504, "timeout")
    held.go_on.set()
    assert first.result(30).status_code == 200
    assert held.passes == [1], "the late one was not computed"


def test_a_request_of_a_client_that_disconnects_is_not_computed(
    serve: Serve, route: str, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, held = serve(8)
    first = pool.submit(post, app, route, "w1")
    assert held.begun.wait(30)
    monkeypatch.setattr("service.request_hooks.disconnected", lambda client: lambda: True)
    left = pool.submit(post, app, route, "w2")
    time.sleep(0.02)
    held.go_on.set()
    assert left.result(30).status_code == 499
    assert first.result(30).status_code == 200
    assert held.passes == [1]


def test_requests_that_arrive_together_share_a_pass(serve: Serve, route: str, pool: ThreadPoolExecutor) -> None:
    app, held = serve(64)
    pending = 0
    first = pool.submit(post, app, route, "w1")
    assert held.begun.wait(30)
    others = [pool.submit(post, app, route, f"w{number}") for number in range(2, 8)]
    end = time.monotonic() + 30
    while pending < 6 and time.monotonic() < end:
        time.sleep(0.001)
        pending = len(_batcher_of(app, route)._waiting)
    held.go_on.set()
    assert {reply.result(30).status_code for reply in (first, *others)} == {200}
    assert held.passes == [1, 6]


def _batcher_of(app: Flask, route: str) -> Any:
    parts: Services = app.extensions["marquee"]
    if route == "/similar":
        return parts.similar()._encode
    decider = parts.question_decider
    assert isinstance(decider, ScoreDecider)
    assert isinstance(decider.predict, MicroBatchedPairs)
    return decider.predict._batcher


class Counted:
    """An encoder that keeps what it encodes."""

    def __init__(self, inner: TextEncoder) -> None:
        self.name, self._inner, self.seen = inner.name, inner, list[str]()

    def encode(self, texts: Sequence[str]) -> Any:
        self.seen += map(str, texts)
        return self._inner.encode(texts)


def test_every_text_and_every_condition_is_encoded_once(embedded: Matcher) -> None:
    counted, read = Counted(embedded.encoder), Counted(embedded.general)
    matcher = Matcher(counted, embedded.tuned, read, embedded.weights)
    conditions = [Taxonomy("decision", (Label(words),)) for words in ("It is late.", "It is broken.")]
    teams = Taxonomy("decision", (Label("It is late."), Label("billing", "invoices and refunds")), multi=False)
    texts = [Text("The parcel is late."), Text("The app crashes.")]
    found = matcher.predict([(text, asked) for text in texts for asked in (*conditions, teams, conditions[0])])
    assert sorted(counted.seen) == sorted(["It is late.", "It is broken.", "billing", "billing: invoices and refunds"])
    assert read.seen == [text.body for text in texts]
    assert found[0] == found[3]
    seen = len(counted.seen)
    matcher.predict([(texts[0], asked) for asked in conditions])
    assert len(counted.seen) == seen, "the conditions are cached"
    assert len(read.seen) == len(texts) + 1


def test_pairs_are_answered_as_classify_answers_each(embedded: Matcher) -> None:
    vocabularies = [
        Taxonomy("own", (Label("War"),)),
        Taxonomy("own", (Label("War"), Label("Comedy"), Label("billing"))),
        Taxonomy("own", (Label("calm"), Label("angry")), multi=False),
        Taxonomy("own", (Label("refund", "wants money back"),), allow_none=True),
    ]
    pairs = [(Text(words), one) for words in ("A war breaks out.", "Give me my money back!") for one in vocabularies]
    for pair, found in zip(pairs, embedded.predict(pairs), strict=True):
        (apart,) = embedded.classify([pair[0]], pair[1])
        assert found.labels == apart.labels
        assert found.scores == pytest.approx(apart.scores, abs=2e-3)


def test_the_service_as_it_is_built_limits_questions_with_texts(
    away: Path, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def held(self: Matcher, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        begun.set()
        assert go_on.wait(30)
        return [Prediction(("War",), AnswerSource(self.name, taxonomy.name))] * len(texts)

    monkeypatch.setattr(Matcher, "classify", held)
    app = create_app(build(read_settings(classifier="embedded", max_pending=1)))
    first = pool.submit(post, app, "/classify", "A war.")
    assert begun.wait(30)
    problem_of(post(app, "/v1/decisions", "A war."), 503, "model-busy")
    go_on.set()
    assert first.result(30).status_code == 200
    assert post(app, "/v1/decisions", "A war.").status_code == 200
