"""The OpenAPI document holds every route and what they really answer; requests made from it break nothing."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from flask.testing import FlaskClient
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from werkzeug.test import TestResponse

from llm.backends.backend import Conversation, FakeBackend
from llm.classifier import Problem
from llm.language_model import LanguageModel
from marquee.feedback.store import FeedbackStore
from marquee.review.review_file import LiveReview
from service.access_control import AccessControl, Keys
from service.app import create_app
from service.decisions import TokenDecider
from service.openapi import OPERATIONS, document, routes_of
from service.problem_kinds import KINDS
from service.services import Limits, Services
from similarity.index.builder import FilmSource, build
from similarity.index.reloading import live
from similarity.index.search import Similar
from similarity.micro_batching import Admission
from tests.marquee.test_review_exchange import review_of
from tests.similarity.films import films
from tests.similarity.words import Words

PREDICATE = {"type": "predicate", "instructions": "The text is short."}
NOUL = {"type": "noul", "instructions": "The text is short."}
BUSY = "busy"  # a text that makes the model fail


def _reply(conversation: Conversation) -> str | Problem:
    return Problem("busy", "later", 3.0) if BUSY in conversation[-1]["content"] else '["War", "Cooking"]'


@cache
def _similar() -> Similar:
    folder = Path(tempfile.mkdtemp())
    build(folder, FilmSource(films(20), ""), Words())
    return Similar(live(folder, Words()), Words())


def _review() -> LiveReview:
    path = Path(tempfile.mkdtemp()) / "review.jsonl"
    review_of().write(path)
    return LiveReview(path)


def _weights(conversation: Conversation) -> Mapping[str, float]:
    return {"Yes": 0.6, "No": 0.3, "A": 0.5, "B": 0.2}


model = LanguageModel(FakeBackend(_reply, "a-model"))
decider = TokenDecider(FakeBackend(name="a-model", weights=_weights), Admission(64))
limits = Limits(texts=5, labels=60)
app = create_app(
    Services(
        lambda choice: model,
        lambda: None,
        lambda: None,
        "tmdb",
        limits,
        decider=decider,
        similar=_similar,
        feedback=FeedbackStore(Path(tempfile.mkdtemp()) / "feedback.sqlite"),
        review=_review(),
    )
)
schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return document(app)


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return app.test_client()


def conforms(whole: dict[str, Any], response: TestResponse, method: str, path: str) -> None:
    """The answer is one that the document tells of."""
    told = whole["paths"][path][method.lower()]["responses"][str(response.status_code)]["content"]
    shape = told[response.mimetype]["schema"]
    Draft202012Validator(shape | {"components": whole["components"]}).validate(response.get_json())


def test_every_route_is_told_and_none_that_is_not_there(whole: dict[str, Any]) -> None:
    real = {(method, path) for method, path, _ in routes_of(app)}
    assert real == OPERATIONS.keys()
    assert real == {(method.upper(), path) for path, item in whole["paths"].items() for method in item}


def test_every_route_has_words_and_every_reference_leads_somewhere(whole: dict[str, Any]) -> None:
    operations = [operation for item in whole["paths"].values() for operation in item.values()]
    assert all(operation["summary"] for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    references = {part.split('"')[0] for part in str(whole).replace("'", '"').split("#/components/schemas/")[1:]}
    assert references <= whole["components"]["schemas"].keys()
    for shape in whole["components"]["schemas"].values():
        Draft202012Validator.check_schema(shape)


@pytest.mark.parametrize(
    ("method", "path", "url", "sent"),
    [
        ("POST", "/classify", "/classify", {"text": "a", "scores": True}),
        ("POST", "/classify", "/classify", {"texts": ["a", {"title": "b"}, BUSY], "labels": ["x", {"name": "y"}]}),
        ("POST", "/classify", "/classify", {"text": "a", "txet": "b"}),
        ("POST", "/classify", "/classify", {"text": "a", "taxonomy": "tmbd"}),
        ("POST", "/classify", "/classify", {"text": BUSY}),
        ("POST", "/predict_genre", "/predict_genre", {"title": "a"}),
        ("POST", "/prompt", "/prompt", {"text": "a", "strategy": "yes_no"}),
        ("POST", "/v1/decisions", "/v1/decisions", OPERATIONS["POST", "/v1/decisions"].example),
        ("POST", "/v1/decisions", "/v1/decisions", {"model": "marquee", "input": "a", "questions": []}),
        ("POST", "/v1/systemone", "/v1/systemone", OPERATIONS["POST", "/v1/systemone"].example),
        ("POST", "/v1/systemone", "/v1/systemone", {"model": "marquee", "state": "a", "questions": {}}),
        ("POST", "/v1/systemone", "/v1/systemone", {"model": "b", "state": "a", "questions": {"q": NOUL}}),
        ("POST", "/v1/decisions", "/v1/decisions", {"model": "b", "input": "a", "questions": [PREDICATE]}),
        ("POST", "/feedback", "/feedback", OPERATIONS["POST", "/feedback"].example),
        ("POST", "/feedback", "/feedback", {"text": "a", "labels": ["x"], "taxonomy": {"labels": ["x", "y"]}}),
        ("POST", "/feedback", "/feedback", {"request_id": "never", "labels": ["War"]}),
        ("POST", "/feedback", "/feedback", {"text": "a", "labels": ["Warr"]}),
        ("DELETE", "/feedback", "/feedback", None),
        ("DELETE", "/feedback/{id}", "/feedback/x", None),
        ("DELETE", "/feedback/texts/{digest}", "/feedback/texts/x", None),
        ("GET", "/v1/models", "/v1/models", None),
        ("GET", "/taxonomies", "/taxonomies", None),
        ("GET", "/prompts", "/prompts", None),
        ("GET", "/healthz", "/healthz", None),
        ("GET", "/readyz", "/readyz", None),
        ("GET", "/version", "/version", None),
        ("GET", "/problems/{slug}", "/problems/too-large", None),
        ("GET", "/problems/{slug}", "/problems/nothing", None),
        ("GET", "/", "/", None),
    ],
)
def test_real_answers_are_as_told(
    whole: dict[str, Any], client: FlaskClient, method: str, path: str, url: str, sent: Any
) -> None:
    conforms(whole, client.open(url, method=method, json=sent), method, path)


def test_an_answer_that_is_not_as_told_would_be_found(whole: dict[str, Any]) -> None:
    shape = {"$ref": "#/components/schemas/ClassifyAnswer", "components": whole["components"]}
    assert not Draft202012Validator(shape).is_valid({"labels": ["War"]})


def test_every_problem_that_a_client_can_read_is_told_but_those_of_http_itself(whole: dict[str, Any]) -> None:
    patterns = re.findall(r"/problems/\(([a-z|-]+)\)\$", str(whole["paths"]))
    told = {slug for pattern in patterns for slug in pattern.split("|")}
    assert set(KINDS) - told == {"method-not-allowed", "client-disconnected"}


def test_what_asks_for_work_names_both_ways_to_send_a_key_and_how_a_refusal_looks(whole: dict[str, Any]) -> None:
    schemes = whole["components"]["securitySchemes"]
    assert (schemes["bearer"]["type"], schemes["bearer"]["scheme"]) == ("http", "bearer")
    assert (schemes["key"]["in"], schemes["key"]["name"]) == ("header", "X-API-Key")
    for path, item in whole["paths"].items():
        for method, operation in item.items():
            guarded = method in ("post", "delete") or path in ("/metrics", "/review/texts")
            keys: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}, *([] if method == "delete" else [{}])]
            assert operation.get("security") == (keys if guarded else None), path
            assert ({"401", "429"} <= operation["responses"].keys()) is guarded, path


def test_a_refusal_and_a_rate_are_as_told(whole: dict[str, Any], tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    headers = {"X-API-Key": keys.add("ada")}
    access = AccessControl(keys, rate_limit="1 per hour")
    client = create_app(Services(lambda choice: model, lambda: None, lambda: None, "tmdb", access=access)).test_client()
    replies = [
        client.post("/classify", json={"text": "a"}),
        *(client.post("/classify", json={"text": "a"}, headers=headers) for _ in range(2)),
    ]
    assert [reply.status_code for reply in replies] == [401, 200, 429]
    for reply in replies:
        conforms(whole, reply, "POST", "/classify")
        told = whole["paths"]["/classify"]["post"]["responses"][str(reply.status_code)]["headers"].keys()
        named = ("RateLimit", "Retry-After", "WWW-Authenticate", "X-Request-ID")
        assert {name for name, _ in reply.headers if name.startswith(named)} <= told
    assert replies[0].headers["WWW-Authenticate"] == "Bearer"
    assert int(replies[2].headers["Retry-After"]) > 0


@schema.parametrize()
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_request_made_from_the_document_breaks_the_service(case: Any) -> None:
    case.call_and_validate(checks=CHECKS)
