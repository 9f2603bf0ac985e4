"""Ids, deadlines, figures and the log."""

import io
import json
import logging
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from llm.backends.backend import Completion, FakeBackend
from llm.classifier import AnswerSource, Prediction, Problem, Usage
from llm.language_model import LanguageModel
from llm.request_context import CURRENT_REQUEST, RequestContext
from llm.strategies.json_list import JSONList
from marquee.settings import read_settings
from service.app import create_app
from service.services import Limits, Services, build
from service.telemetry import JSONLines, Metrics
from tests.support.misbehaving import endpoint, hangs, says

SECRET_TEXT = "A plot that nobody else should read."


def served(*replies: str | Problem, seconds: float = 60.0) -> FlaskClient:
    waiting = list(replies)
    model = LanguageModel(FakeBackend(lambda conversation: waiting.pop(0) if waiting else '["War"]', "a"), JSONList())
    return create_app(
        Services(lambda choice: model, lambda: None, lambda: None, "tmdb", Limits(seconds=seconds))
    ).test_client()


def built(**settings: Any) -> FlaskClient:
    return create_app(build(read_settings(**settings))).test_client()


def figure(client: FlaskClient, name: str) -> float:
    """One figure of /metrics, by its name and labels as they stand there."""
    found = re.search(rf"^{re.escape(name)} ([\d.e+-]+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


# --- ids ---


def test_a_requests_id_is_echoed_and_one_is_made_where_there_is_none() -> None:
    client = served()
    assert client.get("/healthz", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
    made = client.get("/healthz").headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)
    assert client.get("/healthz").headers["X-Request-ID"] != made


@pytest.mark.parametrize("given", ["a b", "x" * 200, '"}{', "é"])
def test_an_id_that_could_forge_a_log_is_replaced(given: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", served().get("/", headers={"X-Request-ID": given}).headers["X-Request-ID"])


def test_the_id_goes_on_to_the_endpoint(away: Path) -> None:
    with endpoint(says('["War"]')) as server:
        client = built(openai_base_url=server.url, strategy="json_list")
        client.post("/classify", json={"text": "x"}, headers={"X-Request-ID": "abc-1"})
        assert server.headers[-1]["x-request-id"] == "abc-1"


def test_nothing_of_a_request_is_left_for_the_next_one() -> None:
    served().get("/", headers={"X-Request-ID": "abc-1"})
    assert CURRENT_REQUEST.get() == RequestContext()


# --- deadlines ---


def test_a_request_may_allow_less_time_than_the_service_and_then_gets_504(away: Path) -> None:
    with endpoint(says('["War"]')) as server:
        client = built(openai_base_url=server.url, strategy="json_list", cache=False)
        assert client.post("/classify", json={"text": "x"}).status_code == 200
        server.then = [hangs(20)]
        reply = client.post("/classify", json={"text": "x"}, headers={"X-Request-Timeout": "0.3"})
    assert (reply.status_code, reply.get_json()["type"]) == (504, "/problems/timeout")


def test_what_a_service_allows_at_most_holds_without_a_word(away: Path) -> None:
    with endpoint(hangs(20)) as server:
        client = built(openai_base_url=server.url, strategy="json_list", request_timeout=0.3, retries=0)
        assert client.post("/classify", json={"text": "x"}).status_code in (503, 504)
        reply = client.post("/classify", json={"text": "x"}, headers={"X-Request-Timeout": "600"})
        assert reply.status_code == 504


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan", ""])
def test_a_time_that_is_none_is_told(given: str) -> None:
    reply = served().post("/classify", json={"text": "x"}, headers={"X-Request-Timeout": given})
    assert reply.status_code == 400
    assert "X-Request-Timeout" in reply.get_json()["detail"]


def test_the_time_runs_from_the_requests_beginning() -> None:
    seen: list[float] = []

    class Seeing:
        name = "seeing"

        def classify(self, texts: Any, taxonomy: Any) -> Any:
            seen.append(CURRENT_REQUEST.get().deadline - time.monotonic())
            raise ZeroDivisionError

    client = create_app(Services(lambda choice: Seeing(), lambda: None, lambda: None, "tmdb")).test_client()
    client.post("/classify", json={"text": "x"}, headers={"X-Request-Timeout": "7"})
    assert 0 < seen[0] <= 7


# --- metrics ---


def test_requests_are_counted_by_route_and_status() -> None:
    client = served()
    client.post("/classify", json={"text": "x"})
    client.post("/classify", json={"texts": ["a", "b"]})
    client.post("/classify", json={})
    client.get("/nowhere/at/all")
    assert figure(client, 'marquee_requests_total{route="/classify",status="200"}') == 2
    assert figure(client, 'marquee_requests_total{route="/classify",status="422"}') == 1
    assert figure(client, 'marquee_requests_total{route="none",status="404"}') == 1
    assert figure(client, 'marquee_request_seconds_count{route="/classify"}') == 3
    assert figure(client, 'marquee_answers_total{model="a"}') == 3


def test_abstentions_invalid_words_and_problems_are_counted() -> None:
    client = served('["Cooking", "War"]', "rubbish", Problem("busy", "later"), "[]")
    for _ in range(3):
        client.post("/classify", json={"text": "x"})
    client.post("/classify", json={"text": "x", "labels": ["a", "b"], "allow_none": True})
    assert figure(client, "marquee_invalid_words_total") == 1
    assert figure(client, 'marquee_problems_total{kind="unreadable"}') == 1
    assert figure(client, 'marquee_problems_total{kind="busy"}') == 1
    assert figure(client, "marquee_abstentions_total") == 1


def test_answers_with_a_warning_are_counted() -> None:
    metrics = Metrics()
    source = AnswerSource("embedded/a", "t")
    metrics.count_predictions([Prediction(("a",), source), Prediction(("a",), source, warnings=("in Korean",))])
    assert b"marquee_warned_total 1.0" in metrics.exposition()


def test_tokens_and_cost_are_counted() -> None:
    class Counting(FakeBackend):
        def generate(self, conversations: Any, constraint: Any) -> list[Completion]:
            return [Completion('["War"]', Usage(1_000, 400, 10)) for _ in conversations]

    model = LanguageModel(Counting(name="gpt-4o-mini"), JSONList())
    client = create_app(Services(lambda choice: model, lambda: None, lambda: None, "tmdb")).test_client()
    client.post("/classify", json={"texts": ["a", "b"]})
    assert figure(client, 'marquee_tokens_total{kind="prompt",model="gpt-4o-mini"}') == 2_000
    assert figure(client, 'marquee_tokens_total{kind="cached",model="gpt-4o-mini"}') == 800
    assert figure(client, 'marquee_tokens_total{kind="completion",model="gpt-4o-mini"}') == 20
    assert figure(client, 'marquee_cost_usd_total{model="gpt-4o-mini"}') > 0


def test_cache_hits_and_the_queue_are_counted(away: Path) -> None:
    with endpoint(says('["War"]')) as server:
        client = built(openai_base_url=server.url, strategy="json_list")
        for _ in range(4):
            client.post("/classify", json={"texts": ["a", "b"]})
    assert figure(client, "marquee_cache_hits_total") == 6
    assert figure(client, 'marquee_answers_total{model="Qwen/Qwen2-7B-Instruct"}') == 8
    assert figure(client, 'marquee_queue_requests{classifier="model"}') == 0


def test_two_applications_have_figures_of_their_own() -> None:
    first, second = served(), served()
    first.post("/classify", json={"text": "x"})
    assert figure(second, 'marquee_answers_total{model="a"}') == 0


# --- response cache ---


def test_a_remembered_answer_comes_without_a_look_into_the_cache_and_is_the_same(away: Path) -> None:
    with endpoint(says('["War"]')) as server:
        client = built(openai_base_url=server.url, strategy="json_list", cache_path=away / "c")
        fresh, remembered = (client.post("/classify", json={"text": "x"}) for _ in range(2))
        with sqlite3.connect(away / "c") as connection:
            connection.execute("DELETE FROM answers")
        hot = client.post("/classify", json={"text": "x"})
        other = client.post("/classify", json={"text": "x", "cache": False})
    assert (fresh.get_json()["cached"], remembered.get_json()["cached"]) == (False, True)
    assert hot.text == remembered.text
    assert hot.mimetype == "application/json"
    assert other.get_json()["cached"] is False


@pytest.mark.parametrize(
    ("body", "read_as", "other"),
    [
        (b'{"text": "x \xe9"}', "latin-1", {"Content-Type": "application/json; charset=cp1251"}),
        (b'{"text": "x \xe9"}', "latin-1", {"Content-Type": "application/json"}),
        (b'{"text": "x"}', "utf-8", {"Content-Encoding": "gzip"}),
        (b'{"text": "x"}', "utf-8", {"Content-Type": "text/plain"}),
    ],
)
def test_the_same_bytes_are_another_request_where_they_are_read_in_another_way(
    away: Path, body: bytes, read_as: str, other: dict[str, str]
) -> None:
    headers = {"Content-Type": f"application/json; charset={read_as}"}
    with endpoint(says('["War"]')) as server:
        client = built(openai_base_url=server.url, strategy="json_list", cache_path=away / "c")
        answers = [client.post("/classify", data=body, headers=headers).get_json() for _ in range(3)]
        different = client.post("/classify", data=body, headers={**headers, **other})
    assert [answer["cached"] for answer in answers] == [False, True, True]
    assert different.status_code >= 400 or different.get_json()["cached"] is False


# --- readiness and the log ---


def test_a_service_that_is_told_to_stop_is_not_ready_and_says_why() -> None:
    parts = Services(lambda choice: LanguageModel(FakeBackend()), lambda: None, lambda: None, "tmdb")
    client = create_app(parts).test_client()
    assert client.get("/readyz").status_code == 200
    parts.stopping.set()
    reply = client.get("/readyz")
    assert (reply.status_code, reply.get_json()["type"]) == (503, "/problems/stopping")
    assert client.get("/healthz").status_code == 200


def test_the_log_is_json_that_tells_the_request_and_never_its_text() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONLines())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel("INFO")
    try:
        client = served('["War"]', SECRET_TEXT)
        headers = {"X-Request-ID": "abc-1"}
        client.post("/classify", json={"text": SECRET_TEXT}, headers=headers)
        client.post("/classify", json={"text": SECRET_TEXT}, headers=headers)
        client.post("/classify", json={"texts": [SECRET_TEXT, ""]}, headers=headers)
        client.post("/classify", json={"text": SECRET_TEXT, "multi": SECRET_TEXT}, headers=headers)
        client.get("/healthz")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["status"] for line in lines] == [200, 502, 200, 422]
    assert {line["request_id"] for line in lines} == {"abc-1"}
    assert {"time", "level", "logger", "message", "method", "path", "ms", "bytes"} <= lines[0].keys()
    assert "nobody else" not in stream.getvalue()


def test_a_surprise_stands_in_the_log_as_one_line() -> None:
    try:
        raise ZeroDivisionError("story")
    except ZeroDivisionError:
        record = logging.getLogger("x").makeRecord("x", 40, "f", 1, "oh\nno", (), __import__("sys").exc_info())
    line = JSONLines().format(record)
    assert "\n" not in line
    assert "story" in json.loads(line)["exception"]
