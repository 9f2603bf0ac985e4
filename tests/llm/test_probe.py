"""The probe: what an endpoint drops silently is found out, and what was found is kept."""

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from llm.asking import ASKING, Asking
from llm.classifier import Problem
from llm.engines.canaries import CANARIES, Canaries, Finding
from llm.engines.probe import UNPROBED, Honours, Probed, probe
from llm.engines.wire import Wire
from tests.misbehaving import Endpoint, body, endpoint, says


def wire(server: Endpoint) -> Wire:
    return Wire(server.url, "", 5, 0, 4)


def obliging(server: Endpoint) -> Any:
    """An endpoint that keeps to JSON schemas and answers everything else as if it had not heard."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        asked = server.asked[-1] or {}
        if handler.path.endswith("/version"):
            body(200, {"version": "9.9"})(handler)
        elif handler.path.endswith("/models"):
            body(200, {"data": [{"id": "m", "max_model_len": 4096}]})(handler)
        elif any(handler.path.endswith(path) for path in ("/tokenize", "/decisions", "/completions/batch")):
            body(404, {"error": "no"})(handler)
        elif "top_logprobs" in asked:
            body(400, {"error": "no logprobs"})(handler)
        elif "response_format" in asked and asked["response_format"]["json_schema"]["schema"]["type"] == "object":
            says('{"labels": ["zqx-7"]}')(handler)
        else:
            says("Hello! How can I help you?")(handler)

    return respond


def test_what_is_dropped_silently_is_found_out() -> None:
    with endpoint(says("")) as server:
        server.then = [obliging(server)]
        found = probe(wire(server), "m")
    assert isinstance(found, Honours)
    assert found.does("json_schema")
    outcomes = {name: finding.outcome for name, finding in found.findings.items()}
    assert outcomes == {
        "json_schema": "honoured",
        "json_array": "ignored",
        "choice": "ignored",
        "regex": "ignored",
        "grammar": "ignored",
        "gbnf": "ignored",
        "logit_bias": "unknown",
        "logprobs": "refused",
        "token_ids": "unknown",
        "tokenize": "refused",
        "prefix_caching": "honoured",
        "batch": "refused",
        "decisions": "refused",
    }
    assert outcomes.keys() == CANARIES.keys()
    assert (found.context, found.version, found.top_logprobs) == (4096, "9.9", 0)


def test_an_endpoint_that_cannot_be_reached_is_a_problem_and_not_a_finding(tmp_path: Path) -> None:
    dead = Wire("http://127.0.0.1:1/v1", "", 1, 0, 4)
    found = probe(dead, "m")
    assert isinstance(found, Problem)
    probed = Probed(dead, "m", tmp_path / "probe.json")
    assert probed() == UNPROBED
    assert not (tmp_path / "probe.json").exists()


def test_findings_are_kept_per_endpoint_model_and_version(tmp_path: Path) -> None:
    path = tmp_path / "var" / "probe.json"
    with endpoint(says("")) as server:
        server.then = [obliging(server)]
        first = Probed(wire(server), "m", path)()
        asked = len(server.asked)
        again = Probed(wire(server), "m", path)()
        assert again == first
        assert len(server.asked) == asked + 1  # the version alone
        Probed(wire(server), "another", path)()
        assert len(server.asked) > asked + 5
    assert len(json.loads(path.read_text())) == 2


@pytest.mark.parametrize("damage", ["", "[]", '{"x": 1}', "{"])
def test_a_damaged_file_is_probed_over(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "probe.json"
    path.write_text(damage)
    with endpoint(says("")) as server:
        server.then = [obliging(server)]
        assert Probed(wire(server), "m", path)().does("json_schema")


def test_findings_survive_the_file() -> None:
    found = Honours({"choice": Finding("ignored", "a note")}, 20, 4096, "1")
    assert Honours.of(json.loads(json.dumps(found.as_json()))) == found


def test_what_one_request_did_not_wait_for_is_no_finding(tmp_path: Path) -> None:
    with endpoint(says("")) as server:
        server.then = [obliging(server)]
        token = ASKING.set(Asking(until=0.0))
        try:
            assert Probed(wire(server), "m", tmp_path / "p")().does("json_schema")
        finally:
            ASKING.reset(token)


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (['{"labels": ["zqx-7"]}'] * 2, "honoured"),
        (['{"labels": ["zqx-7"]}', "Hello!"], "ignored"),
        (['{"labels": ["zqx-7"]}'], "ignored"),
        ([None, None], "ignored"),
    ],
)
def test_a_batch_is_honoured_where_every_conversation_is_held_to_the_schema(said: list[Any], outcome: str) -> None:
    choices = [{"index": place, "message": {"content": words}} for place, words in enumerate(said)]
    with endpoint(body(200, {"choices": choices})) as server:
        assert CANARIES["batch"](Canaries(wire(server), "m")).outcome == outcome
        assert [len(one) for one in server.asked[0]["messages"]] == [1, 1]


def test_a_batch_that_is_answered_otherwise_is_ignored() -> None:
    with endpoint(body(200, {"choices": 5}), body(200, {"choices": [1, None]}), body(200, "[]")) as server:
        assert [CANARIES["batch"](Canaries(wire(server), "m")).outcome for _ in range(3)] == ["ignored"] * 3


def test_what_was_kept_by_a_version_that_asked_for_less_is_asked_anew(tmp_path: Path) -> None:
    path = tmp_path / "probe.json"
    with endpoint(says("")) as server:
        server.then = [obliging(server)]
        Probed(wire(server), "m", path)()
        kept = json.loads(path.read_text())
        del next(iter(kept.values()))["honours"]["findings"]["batch"]
        path.write_text(json.dumps(kept))
        asked = len(server.asked)
        assert "batch" in Probed(wire(server), "m", path)().findings
        assert len(server.asked) > asked + len(CANARIES)
