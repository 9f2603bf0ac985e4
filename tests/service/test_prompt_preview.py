"""POST /prompt: the very messages that a language model is sent."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from llm.backends.backend import Conversation, FakeBackend
from llm.embedded.matcher import matcher
from llm.few_shot import StaticExamples
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from marquee.settings import read_settings
from prompts import registry
from prompts.template import FewShotExample
from prompts.text import Text
from service.app import create_app
from service.services import Services, build, preview_of


def served(*seen: list[Conversation]) -> FlaskClient:
    """A service whose model writes down what it is sent."""

    def reply(conversation: Conversation) -> str:
        seen[0].append(conversation)
        return '["War"]'

    def weights(conversation: Conversation) -> dict[str, float]:
        seen[0].append(conversation)
        return {"A": 0.9, "Yes": 0.9, "No": 0.1}

    model = LanguageModel(FakeBackend(reply, "a-model", weights), STRATEGIES["json_list"])

    def of(strategy: str | None) -> LanguageModel:
        return LanguageModel(model.backend, STRATEGIES[strategy or "json_list"])

    parts = Services(
        lambda choice: of(choice.strategy),
        lambda: None,
        lambda: None,
        "tmdb",
        preview_for=lambda choice, text, taxonomy: preview_of(of(choice.strategy), text, taxonomy),
    )
    return create_app(parts).test_client()


@pytest.mark.parametrize("strategy", ["json_list", "label_tokens", "yes_no"])
def test_what_is_shown_is_what_is_sent(strategy: str) -> None:
    seen: list[Conversation] = []
    client = served(seen)
    asked = {"text": "A war.", "title": "Trenches", "strategy": strategy, "labels": ["War", "Peace"]}
    shown = client.post("/prompt", json=asked).get_json()
    assert seen == []
    client.post("/classify", json=asked)
    assert shown["messages"] == [dict(message) for message in seen[0]]
    assert (shown["requests"], shown["strategy"], shown["sent"]) == (len(seen), strategy, True)
    assert shown["prompt"] == f"text.v2@{registry.prompt('text').digest}"


def test_few_shot_examples_are_shown_as_the_turns_that_are_sent() -> None:
    shots = StaticExamples((FewShotExample(Text("A duel at noon."), ("Western",)),), "tmdb")
    model = LanguageModel(FakeBackend(), STRATEGIES["json_list"], examples=shots)
    (sent,) = preview_of(model, Text("A plot."), registry.taxonomy("tmdb")).conversations
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]
    assert ("A duel" in sent[1]["content"], sent[2]["content"]) == (True, '["Western"]')


@pytest.mark.parametrize("strategy", [None, *STRATEGIES])
def test_more_labels_than_there_are_codes_can_be_shown(strategy: str | None) -> None:
    model = LanguageModel(FakeBackend())
    client = create_app(Services(lambda choice: model, lambda: None, lambda: None, "tmdb")).test_client()
    labels = [f"label {number}" for number in range(120)]
    reply = client.post("/prompt", json={"text": "A war.", "labels": labels, "strategy": strategy})
    assert reply.status_code == 200
    assert "label 0" in reply.text or strategy == "decisions_api"  # whose questions have the labels


def test_where_no_model_is_asked_it_says_so() -> None:
    embedded = matcher()  # its weights are loaded on first use, and here they are not
    client = create_app(Services(lambda choice: embedded, lambda: None, lambda: None, "tmdb")).test_client()
    shown = client.post("/prompt", json={"overview": "A war.", "prompt": "auto"}).get_json()
    assert (shown["sent"], shown["strategy"]) == (False, "json_list")
    assert shown["prompt"].startswith("auto.v2@")
    assert "A war." in shown["messages"][1]["content"]


@pytest.mark.parametrize(("sent", "field"), [({"texts": ["a"]}, "texts"), ({}, "text"), ({"txet": "a"}, "txet")])
def test_it_takes_one_text_and_says_what_is_wrong(sent: dict[str, Any], field: str) -> None:
    client = create_app(Services(lambda choice: LanguageModel(FakeBackend()), lambda: None, lambda: None, "tmdb"))
    reply = client.test_client().post("/prompt", json=sent)
    assert (reply.status_code, reply.get_json()["field"]) == (422, field)


DESK = [
    {
        "name": group,
        "children": [f"{group} {part}" for part in ("price", "delay", "damage", "colour", "theft", "refund")],
    }
    for group in ("parcel", "hotel", "flight", "phone", "dog")
]


@pytest.mark.parametrize(
    ("beam", "shortlist", "steps"),
    [
        (0, {"offered": 20, "total": 30}, None),
        (1, {"offered": 11, "total": 35}, [{"below": "", "labels": 5}, {"below": "parcel", "labels": 6}]),
    ],
)
def test_a_hierarchy_is_shown_as_its_shortlist_or_its_descent(
    beam: int, shortlist: dict[str, int], steps: list[dict[str, Any]] | None
) -> None:
    client = create_app(build(read_settings(cache=False, hierarchy_beam=beam))).test_client()
    shown = client.post(
        "/prompt", json={"text": "My parcel has not arrived.", "labels": DESK, "multi": False}
    ).get_json()
    assert (shown["sent"], shown["requests"], shown["shortlist"], shown.get("steps")) == (
        False, len(steps) if steps else 1, shortlist, steps,
    )  # fmt: skip
    content = shown["messages"][0]["content"] + shown["messages"][-1]["content"]
    assert ("parcel delay" in content) is not bool(beam)
    assert shown["prompt_tokens"] >= len(content) // 4
