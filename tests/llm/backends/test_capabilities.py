"""Capability checks find what an endpoint ignores silently, and their results are stored."""

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from llm.backends.capabilities import CapabilityProbe, CapabilityReport, probe
from llm.backends.capability_checks import CHECKS, CapabilityChecker, CheckResult
from llm.backends.transport import HTTPTransport
from llm.classifier import Problem
from llm.request_context import CURRENT_REQUEST, RequestContext
from tests.support.misbehaving import Endpoint, body, endpoint, says


def transport(server: Endpoint) -> HTTPTransport:
    return HTTPTransport(server.url, "", 5, 0, 4)


def obliging(server: Endpoint) -> Any:
    """An endpoint that enforces JSON schemas of objects and ignores all other constraints."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        asked = server.requests[-1] or {}
        if handler.path.endswith("/version"):
            body(200, {"version": "9.9"})(handler)
        elif handler.path.endswith("/models"):
            body(200, {"data": [{"id": "m", "max_model_len": 4096}]})(handler)
        elif any(handler.path.endswith(path) for path in ("/tokenize", "/decisions", "/systemone", "/batch")):
            body(404, {"error": "no"})(handler)
        elif "top_logprobs" in asked:
            body(400, {"error": "no logprobs"})(handler)
        elif asked.get("response_format", {}).get("json_schema", {}).get("schema", {}).get("type") == "object":
            says('{"labels": ["zqx-7"]}')(handler)
        else:
            says("Hello! How can I help you?")(handler)

    return respond


def test_fields_that_are_ignored_silently_are_found() -> None:
    with endpoint(says("")) as server:
        server.then = [obliging(server)]
        found = probe(transport(server), "m")
    assert isinstance(found, CapabilityReport)
    assert found.supports("json_schema")
    outcomes = {name: finding.outcome for name, finding in found.findings.items()}
    assert outcomes == {
        "json_schema": "supported",
        "json_array": "ignored",
        "json_object": "ignored",
        "choice": "ignored",
        "regex": "ignored",
        "grammar": "ignored",
        "gbnf": "ignored",
        "logit_bias": "unknown",
        "logprobs": "rejected",
        "known_answer": "rejected",
        "token_ids": "unknown",
        "many_logprobs": "rejected",
        "tokenize": "rejected",
        "continuation": "unknown",
        "prefix_caching": "supported",
        "batch": "rejected",
        "decisions": "rejected",
        "systemone": "rejected",
    }
    assert outcomes.keys() == CHECKS.keys()
    assert (found.context, found.version, found.top_logprobs) == (4096, "9.9", 0)


def test_only_the_capabilities_in_use_are_checked(tmp_path: Path) -> None:
    with endpoint(says("")) as server:
        server.then = [obliging(server)]
        probed = CapabilityProbe(transport(server), "m", tmp_path / "probe.json")
        assert not server.requests
        assert probed.supports("json_schema")
        assert probed.supports("json_schema")
        assert [("response_format" in asked) for asked in server.requests if asked] == [True]
        assert probed.top_logprobs == 0
        assert probed.rejects("logprobs")
        assert sum(asked is not None for asked in server.requests) == 1 + 2  # 20 and 5 alternatives


def test_an_endpoint_that_cannot_be_reached_is_a_problem_and_not_a_finding(tmp_path: Path) -> None:
    dead = HTTPTransport("http://127.0.0.1:1/v1", "", 1, 0, 4)
    found = probe(dead, "m")
    assert isinstance(found, Problem)
    probed = CapabilityProbe(dead, "m", tmp_path / "probe.json")
    assert probed.outcome("json_schema") == "unknown"
    assert not (tmp_path / "probe.json").exists()


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_an_error_about_something_else_is_no_finding(tmp_path: Path, status: int) -> None:
    with endpoint(body(status, {"error": {"message": "not now"}})) as server:
        probed = CapabilityProbe(transport(server), "m", tmp_path / "probe.json")
        assert [probed.outcome(name) for name in ("json_schema", "logprobs")] == ["unknown"] * 2
    assert not (tmp_path / "probe.json").exists()


def test_findings_belong_to_the_version_of_the_server_that_was_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "probe.json"
    monkeypatch.setattr("llm.backends.capabilities._RETRY_SECONDS", 0.0)
    with endpoint(body(503, {"error": "starting"})) as server:
        probed = CapabilityProbe(transport(server), "m", path)
        assert probed.outcome("json_schema") == "unknown"
        server.then = [obliging(server)]
        assert probed.supports("json_schema")
    (key,) = json.loads(path.read_text())
    assert " 9.9 " in key


def test_findings_are_stored_per_endpoint_model_and_version(tmp_path: Path) -> None:
    path = tmp_path / "var" / "probe.json"
    with endpoint(says("")) as server:
        server.then = [obliging(server)]
        first = CapabilityProbe(transport(server), "m", path)
        outcomes = {name: first.outcome(name) for name in CHECKS}
        asked = len(server.requests)
        again = CapabilityProbe(transport(server), "m", path)
        assert {name: again.outcome(name) for name in CHECKS} == outcomes
        assert again.stored() is not None
        assert len(server.requests) == asked + 2  # the version alone
        assert CapabilityProbe(transport(server), "another", path).supports("json_schema")
        assert len(server.requests) == asked + 4
    assert len(json.loads(path.read_text())) == 2


@pytest.mark.parametrize("damage", ["", "[]", '{"x": 1}', "{", "5", '{"m": {"at": 1e12, "value": {"findings": 3}}}'])
def test_a_damaged_file_is_probed_over(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "probe.json"
    path.write_text(damage)
    with endpoint(says("")) as server:
        server.then = [obliging(server)]
        assert CapabilityProbe(transport(server), "m", path).supports("json_schema")


def test_findings_survive_the_file() -> None:
    found = CapabilityReport({"choice": CheckResult("ignored", "a note")}, 20, 4096, "1")
    assert CapabilityReport.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_an_expired_request_leaves_the_check_to_the_next_one(tmp_path: Path) -> None:
    with endpoint(says("")) as server:
        server.then = [obliging(server)]
        probed = CapabilityProbe(transport(server), "m", tmp_path / "p")
        token = CURRENT_REQUEST.set(RequestContext(deadline=0.0))
        try:
            assert probed.outcome("json_schema") == "unknown"
        finally:
            CURRENT_REQUEST.reset(token)
        assert probed.supports("json_schema")
        assert len([body for body in server.requests if body]) == 1  # the check that the first request did not wait for


def finished(words: str, finish: str) -> Any:
    return body(200, {"choices": [{"message": {"content": words}, "finish_reason": finish}]})


@pytest.mark.parametrize(
    ("words", "finish", "outcome"),
    [
        ('{"labels": ["zqx-7"]}', "stop", "supported"),
        ('{\n  "labels":\n [ "\\u007aqx-7" ]\n}\n', "stop", "supported"),
        ('{"labels":' + " \n" * 100, "length", "supported"),
        ("{" + "\t" * 200, "length", "supported"),
        ('{"labels": ["zqx', "length", "supported"),
        ('{"labels": ["Drama"]}', "stop", "ignored"),
        ('{"labels":', "stop", "ignored"),
        ("Hello! How can I", "length", "ignored"),
        ('{"greeting": "Hel', "length", "ignored"),
        ("[" * 5_000, "length", "ignored"),
        ('```json\n{"labels": ["zqx-7"]}\n```', "stop", "ignored"),
    ],
)
def test_a_schema_with_one_value_shows_whether_schemas_are_enforced(words: str, finish: str, outcome: str) -> None:
    with endpoint(finished(words, finish)) as server:
        assert CapabilityChecker(transport(server), "m").check("json_schema").outcome == outcome


def begins_with(*top_tokens: tuple[str, float]) -> Any:
    told = [{"token": token, "logprob": logprob} for token, logprob in top_tokens]
    content = [{"token": told[0]["token"], "logprob": told[0]["logprob"], "top_logprobs": told}]
    return body(200, {"choices": [{"message": {"content": "x"}, "logprobs": {"content": content}}]})


@pytest.mark.parametrize(
    ("top_tokens", "outcome"),
    [
        ([("B", -0.1), ("A", -3.0)], "supported"),
        ([("\u2581B", -0.1), ("The", -3.0)], "supported"),
        ([("<think>", -0.01), ("B", -6.0)], "ignored"),
        ([("Okay", -0.1), ("Hmm", -3.0)], "ignored"),
    ],
)
def test_a_question_with_a_known_answer_shows_whether_answers_begin_at_once(
    top_tokens: list[tuple[str, float]], outcome: str
) -> None:
    with endpoint(begins_with(*top_tokens)) as server:
        assert CapabilityChecker(transport(server), "m").check("known_answer").outcome == outcome


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (['{"labels": ["zqx-7"]}'] * 2, "supported"),
        (['{"labels": ["zqx-7"]}', "Hello!"], "ignored"),
        (['{"labels": ["zqx-7"]}'], "ignored"),
        ([None, None], "ignored"),
    ],
)
def test_batches_are_supported_if_the_schema_constrains_every_conversation(said: list[Any], outcome: str) -> None:
    choices = [{"index": place, "message": {"content": words}} for place, words in enumerate(said)]
    with endpoint(body(200, {"choices": choices})) as server:
        assert CapabilityChecker(transport(server), "m").check("batch").outcome == outcome
        assert [len(one) for one in server.requests[0]["messages"]] == [1, 1]


def test_a_batch_that_is_answered_otherwise_is_ignored() -> None:
    with endpoint(body(200, {"choices": 5}), body(200, {"choices": [1, None]}), body(200, "[]")) as server:
        assert [CapabilityChecker(transport(server), "m").check("batch").outcome for _ in range(3)] == ["ignored"] * 3


def test_a_check_that_older_findings_lack_is_made(tmp_path: Path) -> None:
    path = tmp_path / "probe.json"
    with endpoint(says("")) as server:
        server.then = [obliging(server)]
        assert isinstance(CapabilityProbe(transport(server), "m", path).refresh(), CapabilityReport)
        kept = json.loads(path.read_text())
        del next(iter(kept.values()))["value"]["findings"]["batch"]
        path.write_text(json.dumps(kept))
        again = CapabilityProbe(transport(server), "m", path)
        assert again.stored() is None
        assert again.supports("json_schema")
        asked = sum(one is not None for one in server.requests)
        assert again.rejects("batch")
        assert sum(one is not None for one in server.requests) == asked + 1
