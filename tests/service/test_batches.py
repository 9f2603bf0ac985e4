"""Batches over HTTP: a bad text costs its own answer; limits of a request fail the request."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient

from llm.backends.backend import FakeBackend
from llm.classifier import AnswerSource, Classifier, Prediction, Problem, ProblemKind
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from llm.wrappers.combined import Cascade, Fallback
from main import main
from marquee.client import Client
from prompts import registry
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts
from service.app import create_app
from service.schemas.classify import ClassifyRequest
from service.services import Limits, Services
from tests.eval.rows import Named
from tests.support.served import served_at

TMDB = registry.taxonomy("tmdb")
LIMITS = Limits(body_bytes=40_000, texts=100, text_chars=1_000, labels=20)
LONG = "war " * 300  # beyond the limit of a text
HUGE = "war " * 20_000  # beyond the limit of a body


def app_of(classifier: Classifier, limits: Limits = LIMITS) -> Flask:
    return create_app(Services(lambda choice: classifier, lambda: None, lambda: None, "tmdb", limits))


@pytest.fixture
def client() -> FlaskClient:
    return app_of(Named()).test_client()


@pytest.mark.parametrize(
    ("bad", "status", "said"),
    [
        ("", 422, "there is no text to label"),
        (" \n\t", 422, "there is no text to label"),
        (None, 422, "null is not a text; send a string"),
        (7, 422, "7 is not a text; send a string"),
        (1.5, 422, "1.5 is not a text"),
        (True, 422, "true is not a text"),
        ([], 422, "a list is not a text"),
        (["a"], 422, "a list is not a text"),
        ({}, 422, "there is no text to label"),
        ({"text": ""}, 422, "there is no text to label"),
        ({"text": None, "title": None}, 422, "there is no text to label"),
        ({"text": 7}, 422, "text is 7; give a string"),
        ({"text": {"a": 1}}, 422, "text is an object; give a string"),
        ({"text": "war", "description": "war"}, 422, "text and description are names of the same field"),
        ({"title": 7}, 422, "title is 7; give a string"),
        ({"text": "war", "year": 20}, 422, "year is 20; give 1870 or more"),
        (LONG, 413, "the text has 1200 characters; at most 1000"),
        ({"text": "war " * 200, "title": "war " * 100}, 413, "the text has 1200 characters; at most 1000"),
    ],
)
def test_one_bad_text_is_its_own_problem(client: FlaskClient, bad: Any, status: int, said: str) -> None:
    response = client.post("/classify", json={"texts": ["a war", bad, "a crime"]})
    assert response.status_code == 200
    first, second, third = response.get_json()["results"]
    assert (first["labels"], third["labels"]) == (["War"], ["Crime"])
    assert "problem" not in first
    assert "problem" not in third
    assert second["labels"] == []
    assert second["problem"]["status"] == status
    assert said in second["problem"]["detail"]
    alone = client.post("/classify", json={"texts": [bad]})
    assert alone.status_code == 200
    assert said in alone.get_json()["results"][0]["problem"]["detail"]


@pytest.mark.parametrize(
    ("sent", "status", "field"),
    [
        ({"texts": ["a"] * 101}, 413, "texts"),
        ({"texts": []}, 422, "texts"),
        ({"texts": "a war"}, 422, "texts"),
        ({"texts": {"0": "a war"}}, 422, "texts"),
        ({"texts": ["a war", {"txet": "a crime"}]}, 422, "texts.1.txet"),
        ({"texts": ["a war"], "labels": []}, 422, "labels"),
        ({"texts": ["a war"], "taxonomy": "none such"}, 404, "taxonomy"),
        ({"texts": ["a war"], "inputs": "a crime"}, 422, "inputs"),
    ],
)
def test_what_is_wrong_with_a_request_fails_the_request(
    client: FlaskClient, sent: Any, status: int, field: str
) -> None:
    response = client.post("/classify", json=sent)
    assert (response.status_code, response.get_json()["field"]) == (status, field)


@pytest.mark.parametrize(("name", "count"), [("texts", 500_000), ("labels", 500_000)])
def test_a_request_of_too_many_entries_is_refused_before_they_are_read(
    name: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: Any, **__: Any) -> Any:
        raise AssertionError("an entry is read")

    monkeypatch.setattr(ClassifyRequest, "model_validate", read)
    client = app_of(Named(), Limits(texts=10, labels=10)).test_client()
    response = client.post("/classify", json={"text": "a", name: [1] * count})
    assert (response.status_code, response.get_json()["field"]) == (413, name)


@pytest.mark.parametrize(
    ("sent", "status"),
    [({"text": ""}, 422), ({"text": None}, 422), ({"title": " "}, 422), ({"text": 7}, 422), ({"text": LONG}, 413)],
)
def test_a_single_bad_text_fails_its_request(client: FlaskClient, sent: Any, status: int) -> None:
    assert client.post("/classify", json=sent).status_code == status


class Failing:
    """Gives every text that is not empty the same problem."""

    name = "failing"

    def __init__(self, kind: ProblemKind) -> None:
        self.kind = kind

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        source = AnswerSource(self.name, taxonomy.versioned_name)
        return [
            Prediction((), source, problem=Problem("empty" if text.empty else self.kind, "as it is"))
            for text in checked_texts(texts)
        ]


@pytest.mark.parametrize(
    ("kind", "status"),
    [("unreadable", 200), ("rejected", 200), ("too_long", 200), ("unreachable", 503), ("busy", 503), ("timeout", 504)],
)
def test_a_batch_without_any_answer_fails_only_for_a_reason_of_the_moment(kind: ProblemKind, status: int) -> None:
    response = app_of(Failing(kind)).test_client().post("/classify", json={"texts": ["", "a", "b"]})
    assert response.status_code == status


def test_texts_beyond_a_length_do_not_reach_the_classifier() -> None:
    client = app_of(Named(), Limits(text_chars=10)).test_client()
    texts = ["a war", "a war in the mountains", {"text": "a war", "title": "a title"}, ""]
    found = client.post("/classify", json={"texts": texts}).get_json()["results"]
    kinds = [one.get("problem", {}).get("type", "").removeprefix("/problems/") for one in found]
    assert kinds == ["", "text-too-long", "text-too-long", "invalid-request"]


BAD: dict[int, Any] = {0: None, 5: "", 17: float("nan"), 31: LONG, 32: 7, 50: HUGE, 63: " "}


def test_the_client_loses_no_good_row_of_a_batch_with_bad_ones() -> None:
    rows = [BAD.get(place, f"a war number {place}") for place in range(64)]
    with served_at(app_of(Named())) as url:
        found = Client(url).classify(rows, TMDB)
    assert len(found) == 64
    for place, one in enumerate(found):
        if place in BAD:
            kind = "too_long" if BAD[place] in (LONG, HUGE) else "empty"
            assert one.labels == (), (place, one.problem)
            assert one.problem is not None, (place, one.problem)
            assert one.problem.kind == kind, (place, one.problem)
        else:
            assert (one.labels, one.problem) == (("War",), None), (place, one.problem)


def test_a_batch_that_is_too_large_for_a_body_is_sent_in_parts() -> None:
    rows = [f"a war number {place} {'x' * 900}" for place in range(64)]  # 60,000 characters, and 40,000 are accepted
    with served_at(app_of(Named())) as url:
        assert all(one.labels == ("War",) for one in Client(url).classify(rows, TMDB))


def test_a_service_that_takes_fewer_texts_gets_smaller_batches() -> None:
    with served_at(app_of(Named(), Limits(texts=10))) as url:
        assert all(one.labels == ("War",) for one in Client(url).classify(["a war"] * 64, TMDB))


@pytest.mark.usefixtures("away")
def test_bulk_over_a_url_labels_every_good_row(away: Path) -> None:
    rows = [{"id": place, "text": "" if place % 7 == 3 else LONG if place % 7 == 5 else "a war"} for place in range(64)]
    (away / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with served_at(app_of(Named())) as url:
        arguments = ["bulk", "in.jsonl", "--out", "out.jsonl", "--system", f"service:{url}"]
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code in (0, 1, 2), result.output
    written = [json.loads(line) for line in (away / "out.jsonl").read_text().splitlines()]
    assert len(written) == 64
    for row, answer in zip(rows, written, strict=True):
        assert ("War" in json.dumps(answer["labels"])) == (row["text"] == "a war"), answer


# --- notes ---


@pytest.mark.parametrize(
    ("sent", "notes"),
    [
        ({}, None),
        ({"strategy": "auto"}, None),
        ({"strategy": "label_tokens"}, ["strategy 'label_tokens' is ignored: named answers"]),
        ({"prompt": "plot"}, ["prompt 'plot.v2' is ignored: named answers"]),
        (
            {"strategy": "yes_no", "prompt": "auto.v1"},
            ["strategy 'yes_no' is ignored: named answers", "prompt 'auto.v1' is ignored: named answers"],
        ),
    ],
)
def test_a_field_without_effect_is_named_in_the_answer(client: FlaskClient, sent: Any, notes: list[str] | None) -> None:
    assert client.post("/classify", json={"text": "a war", **sent}).get_json().get("notes") == notes
    (one,) = client.post("/classify", json={"texts": ["a war"], **sent}).get_json()["results"]
    assert one.get("notes") == notes


def test_answers_of_a_stand_in_say_that_they_have_no_strategy_or_prompt() -> None:
    down = LanguageModel(FakeBackend(lambda conversation: Problem("unreachable", "as it is"), "a-model"), JSONList())
    up = LanguageModel(FakeBackend(lambda conversation: '["War"]', "a-model"), JSONList())
    sent = {"texts": ["a war", ""], "strategy": "json_list", "prompt": "plot"}

    def notes(classifier: Classifier) -> list[Any]:
        results = app_of(classifier).test_client().post("/classify", json=sent).get_json()["results"]
        return [result.get("notes") for result in results]

    ignored = ["strategy 'json_list' is ignored: named answers", "prompt 'plot.v2' is ignored: named answers"]
    assert notes(Fallback(down, Named())) == [ignored, None]
    assert notes(Fallback(up, Named())) == [None, None]
    assert notes(Cascade(Named(), up, 0.1)) == [ignored, None]
    assert notes(Cascade(Named(), up, 2.0)) == [None, None]


@pytest.mark.parametrize(
    ("sent", "slug"), [({"strategy": "label_token"}, "unknown-strategy"), ({"prompt": "no"}, "unknown-")]
)
def test_an_unknown_strategy_or_prompt_is_an_error(client: FlaskClient, sent: Any, slug: str) -> None:
    response = client.post("/classify", json={"text": "a war", **sent})
    assert response.status_code == 404
    assert slug in response.get_json()["type"]


def test_the_command_line_prints_notes_of_a_service_and_of_its_own() -> None:
    with served_at(app_of(Named())) as url:
        result = CliRunner().invoke(main, ["classify", "a war", "--strategy", "label_tokens", "--url", url])
        shown = CliRunner().invoke(main, ["classify", "a war", "--prompt", "plot", "--url", url, "--json"])
    assert "— strategy 'label_tokens' is ignored: named answers" in result.stderr
    assert json.loads(shown.stdout)["notes"] == ["prompt 'plot.v2' is ignored: named answers"]


@pytest.mark.usefixtures("away")
def test_the_embedded_classifier_says_that_it_has_no_strategy() -> None:
    result = CliRunner().invoke(main, ["classify", "a war", "--strategy", "label_tokens"])
    assert "— strategy 'label_tokens' is ignored: the embedded classifier answers" in result.stderr


# --- genres and labels ---


@pytest.mark.parametrize(
    ("path", "default", "sent", "genres"),
    [
        ("/classify", "tmdb", {"description": "a war"}, True),
        ("/classify", "tmdb", {"text": "a war"}, True),
        ("/classify", "tmdb", {"texts": ["a war"]}, True),
        ("/classify", "tickets", {"description": "a war"}, True),
        ("/classify", "tickets", {"text": "a war"}, False),
        ("/classify", "tmdb", {"text": "a war", "taxonomy": "imdb"}, True),
        ("/classify", "tmdb", {"text": "a war", "taxonomy": "news"}, False),
        ("/classify", "tmdb", {"description": "a war", "taxonomy": "tickets"}, False),
        ("/classify", "tmdb", {"description": "a war", "labels": ["billing", "War"]}, False),
        ("/classify", "tmdb", {"texts": ["a war"], "labels": ["billing", "War"]}, False),
        ("/predict_genre", "tmdb", {"text": "a war", "taxonomy": "news"}, True),
        ("/predict_genre", "tmdb", {"text": "a war"}, True),
    ],
)
def test_genres_are_answered_where_the_labels_are_genres(path: str, default: str, sent: Any, genres: bool) -> None:
    client = create_app(Services(lambda choice: Named(), lambda: None, lambda: None, default, LIMITS)).test_client()
    body = client.post(path, json=sent).get_json()
    for answer in body.get("results", [body]):
        assert ("genres" in answer) == genres
        assert isinstance(answer["labels"], list)
        assert answer.get("genres", answer["labels"]) == answer["labels"]


def test_the_same_body_on_two_routes_is_remembered_apart() -> None:
    class Remembering(Named):
        def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
            from dataclasses import replace

            return [replace(one, cached=True) for one in super().classify(texts, taxonomy)]

    client = create_app(
        Services(lambda choice: Remembering(), lambda: None, lambda: None, "news", LIMITS)
    ).test_client()
    sent = {"text": "a war"}
    for _ in range(2):
        assert "genres" not in client.post("/classify", json=sent).get_json()
        assert "genres" in client.post("/predict_genre", json=sent).get_json()
