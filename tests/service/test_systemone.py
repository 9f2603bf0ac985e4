"""POST /v1/systemone: the typed questions of /v1/decisions in TypeSafe's shapes, served and read from an endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from llm.backends.backend import Conversation, FakeBackend
from llm.backends.capabilities import CapabilityProbe
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.systemone import as_decisions, confidence
from llm.backends.transport import HTTPTransport
from llm.classifier import Problem
from llm.embedded.matcher import Matcher
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from prompts import registry
from service.access_control import AccessControl, Keys
from service.decisions import Decider, ForwardingDecider, TokenDecider
from service.services import Limits
from similarity.micro_batching import Admission
from tests.service import test_decisions as openai_shapes
from tests.service.test_decisions import TICKET, Faulty, by_model, by_topic, served, weights
from tests.support.served import served_at

REFUND: dict[str, Any] = {"type": "noul", "instructions": "The customer wants money back."}
TEAM: dict[str, Any] = {
    "type": "choice",
    "instructions": "Which team should answer?",
    "criteria": {"billing": "charges, invoices, refunds", "shipping": None},
}
MOOD: dict[str, Any] = {
    "type": "score",
    "instructions": "How upset is the customer?",
    "criteria": ["calm", "annoyed", "furious"],
}
ALL = {"refund": REFUND, "team": TEAM, "mood": MOOD}


def ask(client: FlaskClient, questions: Mapping[str, Any], status: int = 200, **more: Any) -> dict[str, Any]:
    body = {"model": "marquee", "state": TICKET, "questions": questions, **more}
    response = client.post("/v1/systemone", json=body)
    assert response.status_code == status, response.get_json()
    return dict(response.get_json())


# --- answers ---


def test_every_type_of_question_is_answered_under_its_name() -> None:
    body = ask(served(by_model()), ALL)
    assert body["answers"]["refund"] == {"type": "noul", "noul": pytest.approx(0.9)}
    assert body["answers"]["team"] == {
        "type": "choice",
        "choice": "billing",
        "confidence": pytest.approx(confidence([0.75, 0.25])),
        "probabilities": {"billing": pytest.approx(0.75), "shipping": pytest.approx(0.25)},
    }
    mood = body["answers"]["mood"]
    assert (mood["type"], mood["legend"]) == ("score", {"0": "calm", "1": "annoyed", "2": "furious"})
    assert mood["score"] == pytest.approx(1.6)
    assert mood["probabilities"] == {
        "0": pytest.approx(0.1),
        "1": pytest.approx(0.2),
        "2": pytest.approx(0.7),
    }
    assert body["model"] == "a-model"
    assert body["usage"] == {"input_tokens": 0, "cached_input_tokens": 0, "output_tokens": 0}
    assert "refusals" not in body


def test_both_routes_give_the_same_probabilities() -> None:
    client = served(by_model())
    ours = ask(client, ALL)["answers"]
    refund, team, mood = openai_shapes.ask(client, openai_shapes.REFUND, openai_shapes.TEAM, openai_shapes.MOOD)[
        "answers"
    ]
    assert ours["refund"]["noul"] == refund["probability"]
    assert list(ours["team"]["probabilities"].values()) == [one["probability"] for one in team["probabilities"]]
    assert (ours["mood"]["score"], ours["mood"]["confidence"]) == (mood["score"], mood["confidence"])


def test_the_embedded_classifier_answers_all_types(embedded: Matcher) -> None:
    client = served(by_topic(embedded))
    answers = ask(client, ALL)["answers"]
    assert answers["refund"]["noul"] > 0.5
    assert answers["team"]["choice"] == "billing"
    calm = ask(client, {"mood": MOOD}, state="All is well, thank you, I feel calm.")["answers"]["mood"]
    assert calm["score"] < answers["mood"]["score"]
    levels = ["The customer is calm and content. " * 20, "The customer is furious. " * 30]
    lengthy = {"mood": {**MOOD, "criteria": levels}}
    long = ask(client, lengthy, state="This is an outrage! I am furious.")["answers"]["mood"]
    assert long["legend"] == {"0": levels[0], "1": levels[1]}
    assert long["score"] > 0.5 > ask(client, lengthy, state="I am calm and content.")["answers"]["mood"]["score"]
    body = ask(client, {"my.mood": {**MOOD, "criteria": ["1", "2"]}}, status=501)
    assert (body["type"], body["field"]) == ("/problems/cannot-decide", "questions.my.mood.criteria")
    assert body["error"]["message"] == body["detail"]
    assert body["detail"].startswith("questions.my.mood.criteria: embedded/matcher.v2 compares")


def test_a_question_without_an_answer_is_named_and_left_out() -> None:
    faulty = Faulty("Which team", Problem("unreadable", "no letter"))
    body = ask(served(TokenDecider(faulty, Admission(4))), ALL)
    assert set(body["answers"]) == {"refund", "mood"}
    assert body["refusals"] == ["team"]
    body = ask(served(TokenDecider(faulty, Admission(4))), {"team": TEAM}, status=502)
    assert body["error"]["type"] == "model-unreadable"


# --- what the model reads ---


def seen_by(question: Mapping[str, Any], **more: Any) -> str:
    """The user message of a request with one question."""
    seen: list[Conversation] = []

    def note(conversation: Conversation) -> Mapping[str, float]:
        seen.append(conversation)
        return {**weights(conversation), "A": 0.5, "B": 0.2, "Yes": 0.6}

    ask(served(TokenDecider(FakeBackend(weights=note), Admission(4))), {"q": question}, **more)
    return str(seen[0][-1]["content"])


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("Two charges.", "Two charges."),
        ({"subject": "Charge", "lines": [1]}, '{"subject":"Charge","lines":[1]}'),
        ([{"role": "user", "content": "Hi"}], '[{"role":"user","content":"Hi"}]'),
        (["one", {"two": None}], '["one",{"two":null}]'),
    ],
)
def test_a_state_is_text_or_json(state: Any, text: str) -> None:
    assert f"<text>\n{text}\n</text>" in seen_by(REFUND, state=state)


@pytest.mark.parametrize(
    ("question", "lines"),
    [
        ({"type": "noul", "criteria": {"true": "spam", "false": None}}, "Condition: Yes means: spam"),
        (
            {"type": "noul", "instructions": "Spam?", "criteria": {"true": "an ad", "false": {"not": "a letter"}}},
            'Spam?\nYes means: an ad\nNo means: {"not":"a letter"}',
        ),
        ({"type": "noul", "instructions": {"question": "Same?", "other": "Bob"}}, '{"question":"Same?","other":"Bob"}'),
        ({"type": "choice", "criteria": {"a": ["b", 1], "c": ""}}, 'Which option fits best?\nOptions:\nA. a: ["b",1]'),
        (
            {"type": "score", "criteria": [{"low": 1}, "high"]},
            'Which level fits best?\nOptions:\nA. {"low":1}\nB. high',
        ),
        ({"type": "score", "criteria": ["x" * 501, "y"]}, f"A. 0: {'x' * 501}\nB. y"),
    ],
)
def test_criteria_of_every_form_reach_the_model(question: Any, lines: str) -> None:
    assert lines in seen_by(question)


def test_a_level_comes_back_as_it_was_sent() -> None:
    levels: list[Any] = [{"low": 1}, "x" * 501]
    answer = ask(served(by_model()), {"q": {**MOOD, "criteria": levels}})["answers"]["q"]
    assert answer["legend"] == {"0": levels[0], "1": levels[1]}


# --- limits and errors ---


@pytest.mark.parametrize(
    ("change", "place", "said"),
    [
        ({"questions": {}}, ["questions"], "questions"),
        ({"questions": {"q": {"type": "box"}}}, ["questions", "q"], "noul"),
        ({"questions": {"q": {"type": "noul"}}}, ["questions", "q"], "neither instructions nor criteria"),
        ({"questions": {"q": {**TEAM, "criteria": {"a": None}}}}, ["questions", "q", "criteria"], "give 2 or more"),
        (
            {"questions": {"q": {**TEAM, "criteria": {str(n): None for n in range(256)}}}},
            ["questions", "q", "criteria"],
            "255",
        ),
        ({"questions": {"q": {**MOOD, "criteria": ["one"]}}}, ["questions", "q", "criteria"], "give 2 or more"),
        ({"questions": {"q": {**MOOD, "criteria": [str(n) for n in range(11)]}}}, ["questions", "q", "criteria"], "10"),
        ({"questions": {"q": {**MOOD, "criteria": ["a", "A!"]}}}, ["questions", "q", "criteria"], "questions.q"),
        ({"questions": {"q": {**TEAM, "criteria": {"a": "x" * 4_001, "b": None}}}}, ["questions", "q"], "4,000"),
        ({"questions": {"q": {**TEAM, "choices": ["a"]}}}, ["questions", "q", "choices"], "did you mean 'criteria'?"),
        ({"questions": {str(n): REFUND for n in range(401)}}, ["questions"], "400"),
        ({"state": " "}, ["state"], "state is empty"),
        ({"state": None}, ["state"], "state"),
        ({"input": TICKET}, ["input"], "did you mean 'state'?"),
        ({"images": []}, ["images"], "reads texts only"),
        ({"model": None}, ["model"], "model"),
    ],
)
def test_an_invalid_request_is_answered_in_the_shape_that_clients_read(
    change: dict[str, Any], place: list[str], said: str
) -> None:
    body = ask(served(by_model()), **{"questions": ALL, **change}, status=422)
    (fault,) = body["detail"]
    assert fault["loc"] == ["body", *place]
    assert said in fault["msg"]
    assert (fault["type"], body["error"]["param"]) == ("invalid-request", ".".join(place))
    assert body["error"]["message"] == fault["msg"]


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"model": "jev-latest"}, 404, "model"),
        ({"state": "a" * 101}, 413, "state"),
        ({"questions": {"q": {**REFUND, "instructions": "a" * 101}}}, 413, "questions.q.instructions"),
        ({"questions": {str(n): REFUND for n in range(31)}}, 413, "questions"),
    ],
)
def test_other_errors_are_problem_documents_with_the_error_in_openais_shape(
    change: dict[str, Any], status: int, field: str
) -> None:
    client = served(by_model(), limits=Limits(text_chars=100, labels=30))
    body = ask(client, **{"questions": {"refund": REFUND}, **change}, status=status)
    assert (body["field"], body["error"]["param"]) == (field, field)
    assert body["error"]["message"] == body["detail"]


def test_a_body_of_this_route_at_the_other_one_is_sent_here() -> None:
    response = served(by_model()).post("/v1/decisions", json={"model": "marquee", "state": TICKET, "questions": []})
    assert "/v1/systemone" in response.get_json()["detail"]


# --- an endpoint that has only this route ---


def without_decisions(decider: Decider, **more: Any) -> Any:
    """A running service whose /v1/decisions does not exist, as at vLLM."""
    application = served(decider, **more).application
    inner = application.wsgi_app

    def outer(environ: Any, start: Any) -> Any:
        if environ["PATH_INFO"] == "/v1/decisions":
            environ = {**environ, "PATH_INFO": "/v1/nothing"}
        return inner(environ, start)

    application.wsgi_app = outer  # type: ignore[assignment]
    return served_at(application)


def backend_at(url: str) -> OpenAICompatible:
    transport = HTTPTransport(f"{url}/v1", "", 600, 0, 4)
    return OpenAICompatible(transport, "marquee", CapabilityProbe(transport, "marquee"))


@pytest.fixture(scope="module")
def only_systemone() -> Iterator[str]:
    with without_decisions(by_model()) as url:
        yield url


def test_the_check_finds_which_route_an_endpoint_has(only_systemone: str) -> None:
    transport = HTTPTransport(f"{only_systemone}/v1", "", 60, 0, 4)
    capabilities = CapabilityProbe(transport, "marquee")
    assert (capabilities.outcome("decisions"), capabilities.outcome("systemone")) == ("rejected", "supported")


def test_questions_of_either_route_are_passed_on_to_it(only_systemone: str) -> None:
    behind = served(ForwardingDecider(backend_at(only_systemone), Admission(4)))
    assert ask(behind, ALL)["answers"] == ask(served(by_model()), ALL)["answers"]
    flags = {"type": "choice", "instructions": "Which team?", "choices": [{"value": True}, {"value": False}]}
    asked = (openai_shapes.REFUND, openai_shapes.MOOD, flags)
    assert openai_shapes.ask(behind, *asked)["answers"] == openai_shapes.ask(served(by_model()), *asked)["answers"]


def test_the_strategy_decisions_api_classifies_through_it(embedded: Matcher) -> None:
    film = "A sheriff faces three outlaws at noon in a dusty frontier town."
    with without_decisions(by_topic(embedded)) as url:
        model = LanguageModel(backend_at(url), STRATEGIES["decisions_api"])
        (western,) = model.classify([film], registry.taxonomy("tmdb"))
        (mood,) = model.classify([film], registry.taxonomy("sentiment"))
    assert western.problem is None
    assert max(western.scores, key=lambda name: western.scores[name]) == "Western"
    assert sum(mood.scores.values()) == pytest.approx(1)


def test_a_wrong_key_is_not_taken_for_a_missing_route(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    right = keys.add("someone")
    with without_decisions(by_model(), access=AccessControl(keys, locked=True)) as url:
        wrong = HTTPTransport(f"{url}/v1", "wrong", 60, 0, 4)
        found = CapabilityProbe(wrong, "marquee", tmp_path / "probe.json")
        assert (found.outcome("decisions"), found.outcome("systemone")) == ("rejected", "unknown")
        (reply,) = OpenAICompatible(wrong, "marquee", found).decide([[{"role": "user", "content": "a"}]], [])
        assert reply.problem is not None
        assert "refused the API key (401)" in reply.problem.detail
        fixed = CapabilityProbe(HTTPTransport(f"{url}/v1", right, 60, 0, 4), "marquee", tmp_path / "probe.json")
        assert (fixed.outcome("decisions"), fixed.outcome("systemone")) == ("rejected", "supported")


def test_an_endpoint_with_neither_route_is_a_wrong_setting() -> None:
    with served_at(served(TokenDecider(FakeBackend(name="mute"), Admission(1))).application) as url:  # 501 at both
        model = LanguageModel(backend_at(url), STRATEGIES["decisions_api"])
        (found,) = model.classify(["a"], registry.taxonomy("sentiment"))
    assert found.problem is not None
    assert found.problem.kind == "misconfigured"
    assert "neither /v1/decisions nor /v1/systemone" in found.problem.detail


@pytest.mark.parametrize(
    ("reply", "types"),
    [
        ({"q0": {"type": "noul", "noul": 0.4}}, ["predicate", "refusal"]),
        ({"q0": {"noul": None}, "q1": {"choice": "a", "probabilities": {"a": 0.7, "b": 0.3}}}, ["refusal", "choice"]),
        ({"q1": {"choice": "c", "probabilities": {"a": 0.7, "b": 0.3}}}, ["refusal", "refusal"]),
        ({"q1": {"choice": "a", "probabilities": {"a": 1}}}, ["refusal", "refusal"]),
        ({"q0": "no", "q1": []}, ["refusal", "refusal"]),
        ({"q0": {"noul": True}, "q1": {"choice": "a", "probabilities": {"a": 1.5, "b": 0}}}, ["refusal", "refusal"]),
        ({"q0": {"noul": "0.4"}, "q1": {"choice": ["a"], "probabilities": {"a": 1, "b": 0}}}, ["refusal", "refusal"]),
        ({"q0": {"noul": float("nan")}, "q1": {"choice": "a", "probabilities": [1, 0]}}, ["refusal", "refusal"]),
    ],
)
def test_what_an_endpoint_leaves_out_is_refused_and_nothing_is_invented(reply: Any, types: list[str]) -> None:
    questions: list[dict[str, Any]] = [
        {"type": "predicate", "name": "p", "instructions": "x"},
        {"type": "choice", "name": "c", "instructions": "x", "choices": [{"value": "a"}, {"value": "b"}]},
    ]
    answers = as_decisions({"answers": reply, "usage": {}}, questions)["answers"]
    assert [answer["type"] for answer in answers] == types
    assert [answer["name"] for answer in answers] == ["p", "c"]
    if types[1] == "choice":  # an endpoint need not send a confidence
        assert answers[1]["confidence"] == pytest.approx(confidence([0.7, 0.3]))


def test_a_body_without_answers_is_left_as_it_is() -> None:
    replies: list[Any] = [{"answers": []}, {"error": {}}, "text", None]
    for reply in replies:
        assert as_decisions(reply, []) is reply
