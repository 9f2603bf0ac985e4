"""``"explain": true`` over HTTP, through the client and on the command line."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient

import marquee
from llm.backends.backend import Completion, Constraint, Conversation, FakeBackend
from llm.classifier import Classifier, Usage
from llm.embedded.matcher import Matcher
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from llm.wrappers.cache import AnswerStore, Cached
from main import main
from marquee.client import Client
from prompts import registry
from prompts.text import Text
from service.app import create_app
from service.services import Services
from tests.support.served import served_at

WESTERN = "A cowboy rides into a lawless frontier town. He falls in love with the school teacher."


def application(classifier: Classifier) -> Flask:
    return create_app(Services(lambda options: classifier, lambda: None, lambda: None, "tmdb"))


@pytest.fixture
def client(embedded: Matcher) -> FlaskClient:
    return application(embedded).test_client()


def test_an_answer_has_its_evidence_only_where_it_is_requested(client: FlaskClient) -> None:
    plain = client.post("/classify", json={"text": WESTERN}).get_json()
    explained = client.post("/classify", json={"text": WESTERN, "explain": True}).get_json()
    evidence = explained.pop("evidence")
    assert explained.pop("unexplained") == {}
    assert explained == plain
    assert {one["label"] for one in evidence} == set(plain["labels"])
    assert all(WESTERN[one["start"] : one["end"]] == one["quote"] for one in evidence)
    assert set(evidence[0]) == {"label", "kind", "quote", "start", "end", "contribution", "field"}


def test_places_count_characters_of_the_text_as_it_was_sent(client: FlaskClient) -> None:
    sent = {"description": "\U0001f920 The She\u0301riff draws. \ud800 He shoots the outlaws.", "title": " A Sheriff "}
    body = client.post("/classify", data=json.dumps({**sent, "explain": True}), content_type="application/json")
    for one in body.get_json()["evidence"]:
        field = sent["title" if one["field"] == "title" else "description"]
        assert field[one["start"] : one["end"]].replace("\ud800", "\ufffd") == one["quote"]


def test_every_text_of_a_batch_has_its_own(client: FlaskClient) -> None:
    request = {"texts": [WESTERN, "", {"text": "It. Crashed.", "title": "Save"}, "x"], "labels": ["crash"]}
    first, empty, *others = client.post("/classify", json={**request, "explain": True}).get_json()["results"]
    assert "problem" in empty
    assert "evidence" not in empty
    assert all("evidence" in one and "unexplained" in one for one in (first, *others))


def test_no_label_needs_no_evidence(client: FlaskClient) -> None:
    request = {"text": "qwzx 8213 jjj", "labels": ["plumbing", "tax law"], "allow_none": True, "explain": True}
    body = client.post("/classify", json=request).get_json()
    assert (body["labels"], body["evidence"], body["unexplained"]) == ([], [], {})


@pytest.mark.parametrize(("field", "value"), [("explain", "yes"), ("rationale", True)])
def test_another_value_or_name_is_an_error_that_names_the_field(client: FlaskClient, field: str, value: object) -> None:
    response = client.post("/classify", json={"text": "x", field: value})
    assert response.status_code == 422
    assert "explain" in response.get_json()["detail"]


class Quoting(FakeBackend):
    """Answers War and quotes ``quote``; each request takes 100 tokens."""

    quote = "armies meet"

    def __init__(self) -> None:
        super().__init__(lambda messages: json.dumps([self.quote if "Label: " in messages[-1]["content"] else "War"]))

    def generate(self, conversations: Sequence[Conversation], constraint: Constraint) -> list[Completion]:
        return [Completion(one.text, Usage(90, 0, 10)) for one in super().generate(conversations, constraint)]


def test_a_quote_costs_tokens_and_a_repeated_request_none(tmp_path: Path) -> None:
    model = Cached(LanguageModel(Quoting(), JSONList()), AnswerStore(tmp_path / "cache"))
    client = application(model).test_client()
    request = {"text": "Two armies meet at a river.", "explain": True}
    first, again = (client.post("/classify", json=request).get_json() for _ in range(2))
    (quote,) = first["evidence"]
    assert (quote["kind"], quote["quote"], quote["contribution"]) == ("quote", "armies meet", None)
    assert first["usage"]["prompt_tokens"] == 180
    assert "usage" not in again
    assert again["evidence"] == first["evidence"]


def test_a_quote_that_is_not_in_the_text_is_not_shown() -> None:
    model = LanguageModel(Quoting(), JSONList())
    body = application(model).test_client().post("/classify", json={"text": "A river.", "explain": True}).get_json()
    assert (body["labels"], body["evidence"]) == (["War"], [])
    assert body["unexplained"] == {"War": "the model's quote is not in the text"}


def test_the_client_and_the_command_line_have_what_the_service_has(embedded: Matcher) -> None:
    taxonomy, texts = registry.taxonomy("tmdb"), [Text(WESTERN), Text("")]
    here = marquee.classify(texts, taxonomy, explain=True, classifier=embedded)
    with served_at(application(embedded)) as url:
        there = marquee.classify(texts, taxonomy, explain=True, classifier=Client(url))
        shown = CliRunner().invoke(main, ["classify", WESTERN, "--taxonomy", "tmdb", "--explain", "--url", url])
    assert [one.evidence for one in there] == [one.evidence for one in here]
    assert '  Western: "A cowboy rides into a lawless frontier town." +' in shown.stdout
    assert "  Western: words cowboy +" in shown.stdout


def test_the_command_line_says_why_there_is_no_evidence() -> None:
    arguments = ["classify", "anything", "--labels", "bug,praise", "--single", "--explain"]
    shown = CliRunner().invoke(main, arguments)
    assert "no evidence; no sentence or word by itself raises its score" in shown.stdout


def test_the_command_line_names_the_words_that_were_left_out() -> None:
    arguments = ["classify", "I was charged twice", "--labels", "refund,delivery", "--explain"]
    shown = CliRunner().invoke(main, arguments)
    assert "  refund: words left out: " in shown.stdout
    assert "no evidence" not in shown.stdout
