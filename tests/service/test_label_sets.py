"""Several taxonomies in one request, and labels of its own for a text of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from flask.testing import FlaskClient

import marquee
from llm.backends.backend import Conversation, FakeBackend
from llm.classifier import Problem
from llm.embedded.matcher import Matcher
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from llm.wrappers.admission import Pair
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from service.app import create_app
from service.services import Limits, Services

TICKET = "My card was charged twice for one order."
TEAM = {"name": "team", "labels": ["billing", "crash"]}


@pytest.fixture
def passes(embedded: Matcher) -> list[Sequence[Pair]]:
    """The pairs of every pass of the embedded classifier in the test's service."""
    return []


@pytest.fixture
def client(embedded: Matcher, passes: list[Sequence[Pair]]) -> FlaskClient:
    def predict(pairs: Sequence[Pair]) -> Any:
        passes.append(pairs)
        return embedded.predict(pairs)

    limits = Limits(texts=10, labels=20, text_chars=500)
    return create_app(
        Services(lambda options: embedded, lambda: None, lambda: None, "tmdb", limits, pairs=predict)
    ).test_client()


def post(client: FlaskClient, **sent: Any) -> dict[str, Any]:
    response = client.post("/classify", json=sent)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.get_json()
    return found


def test_several_taxonomies_answer_in_one_pass_each_as_in_a_request_of_its_own(
    client: FlaskClient, passes: list[Sequence[Pair]]
) -> None:
    entries = ["sentiment", TEAM, {"taxonomy": "tickets", "top_k": 2}]
    found = post(client, text=TICKET, taxonomies=entries)["taxonomies"]
    assert [len(pairs) for pairs in passes] == [3]
    assert list(found) == ["sentiment", "team", "tickets"]
    alone: list[dict[str, Any]] = [
        {"taxonomy": "sentiment"},
        {"labels": TEAM["labels"]},
        {"taxonomy": "tickets", "top_k": 2},
    ]
    for one, sent in zip(found.values(), alone, strict=True):
        expected = post(client, text=TICKET, **sent)
        assert one.keys() == expected.keys()
        assert one.get("scores") == pytest.approx(expected.get("scores"), abs=0.01)
        assert {**one, "scores": 0} == {**expected, "scores": 0}


def test_options_of_the_request_hold_where_an_entry_has_none(client: FlaskClient) -> None:
    entries = [TEAM, {"taxonomy": "tickets", "threshold": 0.0}]
    found = post(client, text=TICKET, taxonomies=entries, threshold=0.999, scores=False)["taxonomies"]
    assert (found["team"]["labels"], len(found["tickets"]["labels"])) == ([], 2)
    assert [one["applied"]["threshold"] for one in found.values()] == [0.999, 0.0]
    assert not any("scores" in one for one in found.values())


def test_a_batch_has_an_object_of_answers_per_text_and_problems_in_their_place(client: FlaskClient) -> None:
    results = post(client, texts=[TICKET, "", "x" * 501], taxonomies=["sentiment", TEAM])["results"]
    assert [list(one["taxonomies"]) for one in results] == [["sentiment", "team"]] * 3
    assert ["problem" in one["taxonomies"]["team"] for one in results] == [False, True, True]
    assert "501 characters" in results[2]["taxonomies"]["sentiment"]["problem"]["detail"]


def test_each_text_may_have_its_own_labels(client: FlaskClient, passes: list[Sequence[Pair]]) -> None:
    texts = [
        "A lovely stay.",
        {"text": TICKET, "labels": ["billing", "crash"]},
        {"text": TICKET, "taxonomy": "tickets", "max_labels": 1},
        {"text": "It crashes.", "labels": ["crash", "Crash"]},
    ]
    first, second, third, wrong = post(client, texts=texts, taxonomy="sentiment")["results"]
    assert len(passes) == 1
    assert [one["labels"] for one in (first, second, third)] == [["positive"], ["billing"], ["Billing"]]
    assert ("scores" in first, "scores" in second) == (False, True)
    assert third["applied"]["max_labels"] == 1
    assert "'crash' and 'Crash' differ only in case" in wrong["problem"]["detail"]


def test_a_language_model_gets_the_texts_of_a_taxonomy_together() -> None:
    seen: list[Conversation] = []

    def reply(conversation: Conversation) -> str | Problem:
        seen.append(conversation)
        return '["billing"]' if "billing" in conversation[0]["content"] else '["positive"]'

    model = LanguageModel(FakeBackend(reply, "a-model"), JSONList())
    client = create_app(Services(lambda options: model, lambda: None, lambda: None, "tmdb")).test_client()
    results = post(client, texts=[TICKET, "Great."], taxonomies=["sentiment", TEAM])["results"]
    assert [one["taxonomies"]["team"]["labels"] for one in results] == [["billing"]] * 2
    assert [one["taxonomies"]["sentiment"]["labels"] for one in results] == [["positive"]] * 2
    assert len({conversation[0]["content"] for conversation in seen}) == 2
    assert len(seen) == 4


def test_an_outage_of_every_label_set_ends_the_request() -> None:
    model = LanguageModel(FakeBackend(lambda conversation: Problem("unreachable", "down"), "a-model"), JSONList())
    client = create_app(Services(lambda options: model, lambda: None, lambda: None, "tmdb")).test_client()
    response = client.post("/classify", json={"text": TICKET, "taxonomies": ["sentiment", TEAM]})
    assert (response.status_code, response.get_json()["type"]) == (503, "/problems/model-unreachable")


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        ({"text": "a", "taxonomies": []}, 422, "taxonomies has 0 items; give 1 or more"),
        ({"text": "a", "taxonomies": [{}]}, 422, "taxonomies.0 needs either taxonomy or labels"),
        ({"text": "a", "taxonomies": ["sentiment", "sentiment"]}, 422, "called 'sentiment'; give each another name"),
        ({"text": "a", "taxonomies": ["sentiment"], "multi": True}, 422, "send multi in the entries of taxonomies"),
        ({"text": "a", "taxonomies": [{"labels": ["b", "B"]}]}, 422, "taxonomies.0: taxonomy 'custom': the labels 'b'"),
        ({"text": "a", "taxonomies": ["sentimnt"]}, 404, "did you mean 'sentiment'?"),
        ({"texts": [{"text": "a", "labels": ["b"]}], "taxonomies": ["sentiment"]}, 422, "allow neither taxonomies nor"),
        ({"texts": [{"text": "a", "categories": ["b"]}]}, 422, "did you mean 'labels'?"),
        ({"texts": [{"text": "a", "labels": list("abcdefghijk")}, {"text": "a", "labels": list("lmnopqrstuv")}]}, 413,
         "22 labels in one request; at most 20"),
    ],
)  # fmt: skip
def test_what_is_refused_names_place_and_remedy(client: FlaskClient, sent: Any, status: int, said: str) -> None:
    response = client.post("/classify", json=sent)
    assert (response.status_code, said in response.get_json()["detail"]) == (status, True), response.text


def test_the_prompt_of_a_text_has_one_taxonomy(client: FlaskClient) -> None:
    response = client.post("/prompt", json={"text": "a", "taxonomies": ["sentiment"]})
    assert (response.status_code, response.get_json()["field"]) == (422, "taxonomies")


def test_python_labels_pairs_of_texts_and_labels(embedded: Matcher) -> None:
    tree = {"Money": ["billing", "refunds"], "Software": ["crash"]}
    pairs: list[tuple[str | Text, Any]] = [
        (TICKET, ["billing", "crash"]),
        (TICKET, "sentiment"),
        ("", ["a"]),
        (Text("It crashes."), tree),
    ]
    found = marquee.classify_pairs(pairs, classifier=embedded)
    assert [one.labels for one in found] == [("billing",), ("negative",), (), ("Software > crash",)]
    assert found[2].problem is not None
    assert found[0].scores == pytest.approx(
        dict(embedded.classify([TICKET], Taxonomy.of(["billing", "crash"]))[0].scores), abs=0.01
    )
    assert marquee.classify_pairs([], classifier=embedded) == []
    with pytest.raises(marquee.MarqueeError, match="'a text' is no pair"):
        marquee.classify_pairs(["a text"], classifier=embedded)  # type: ignore[list-item]
