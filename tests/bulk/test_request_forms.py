"""Requests that others send have the form that their model takes, and refusals in results change the next file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bulk.batch_api import OfflineTransport, custom_id, read_results, write_requests
from bulk.inputs import input_files, text_columns
from bulk.job import ClassifierSpec, Job
from bulk.ray_llm import RayEndpoint
from llm.backends.endpoint import Address
from llm.backends.request_adapter import FindingsFile, RequestAdapter
from llm.classifier import Prediction
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from prompts import registry
from tests.bulk.words import read_lines, rows, write_lines

TMDB = registry.taxonomy("tmdb")
OPENAI, VLLM, AZURE = "https://api.openai.com/v1", "http://127.0.0.1:8000/v1", "https://x.openai.azure.com/openai/v1"
DEPLOYMENT = "https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21"
TEXTS = [row["plot"] for row in rows(3)]
Answers = Callable[[dict[str, Any]], Any]


def written(
    folder: Path, name: str, model: str, transport: OfflineTransport, strategy: str = "json_list"
) -> list[dict[str, Any]]:
    given = input_files(str(write_lines(folder / "i.jsonl", rows(3))))
    asked = ClassifierSpec("llm", {}, lambda: LanguageModel(transport.backend(model), STRATEGIES[strategy]))
    job = Job(given, text_columns(given), TMDB, asked, folder / "o.jsonl", batch=2)
    return [line for path in write_requests(job, transport, folder / name).files for line in read_lines(path)]


def wire_to(url: str = OPENAI, findings: Path | None = None, **extra: Any) -> OfflineTransport:
    return OfflineTransport(adapting=RequestAdapter(Address.parse(url), FindingsFile(findings), extra=extra))


@pytest.mark.parametrize(
    ("url", "model", "path", "fields", "roles"),
    [
        pytest.param(VLLM, "tiny", "/v1/chat/completions", {"max_tokens", "temperature"}, ["system", "user"],
                     id="plain"),
        pytest.param(OPENAI, "gpt-4o-mini", "/v1/chat/completions", {"max_tokens", "temperature"}, ["system", "user"],
                     id="gpt-4o"),
        pytest.param(OPENAI, "gpt-5-mini", "/v1/chat/completions", {"max_completion_tokens"}, ["system", "user"],
                     id="gpt-5"),
        pytest.param(OPENAI, "o3-2025-04-16", "/v1/chat/completions", {"max_completion_tokens"}, ["system", "user"],
                     id="o3"),
        pytest.param(OPENAI, "o1-mini", "/v1/chat/completions", {"max_completion_tokens"}, ["user"], id="o1-mini"),
        pytest.param(AZURE, "gpt-5", "/chat/completions", {"max_completion_tokens"}, ["system", "user"],
                     id="Azure, gpt-5"),
        pytest.param("https://x.openai.azure.us/openai/v1", "o4-mini", "/chat/completions", {"max_completion_tokens"},
                     ["system", "user"], id="Azure for governments, o4-mini"),
        pytest.param(DEPLOYMENT, "gpt-4o", "/chat/completions", {"max_tokens", "temperature"}, ["system", "user"],
                     id="Azure, a deployment"),
        pytest.param(VLLM, "google/gemma-2-9b-it", "/v1/chat/completions", {"max_tokens", "temperature"}, ["user"],
                     id="Gemma"),
        pytest.param(VLLM, "google/gemma-4-31b-it", "/v1/chat/completions", {"max_tokens", "temperature"},
                     ["system", "user"], id="Gemma with a system role"),
    ],
)  # fmt: skip
def test_rows_have_the_form_that_the_model_is_known_to_take(
    url: str, model: str, path: str, fields: set[str], roles: list[str], tmp_path: Path
) -> None:
    plain = written(tmp_path, "plain.jsonl", model, OfflineTransport())
    found = written(tmp_path, "r.jsonl", model, wire_to(url))
    assert {one["url"] for one in found} == {path}
    assert all(one["body"].keys() == {"model", "messages", "response_format"} | fields for one in found)
    assert [[message["role"] for message in one["body"]["messages"]] for one in found] == [roles] * 3
    assert [one["custom_id"] for one in found] == [custom_id(one["body"]) for one in plain]
    if "max_completion_tokens" in fields:
        assert all(one["body"]["max_completion_tokens"] > 2_048 for one in found), "tokens for the reasoning"


@pytest.mark.parametrize(
    "extra",
    [
        {"reasoning_effort": "low"},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"temperature": 1, "seed": 7},
    ],
)
def test_fields_of_the_user_are_in_every_row_and_part_of_its_name(extra: Any, tmp_path: Path) -> None:
    plain = written(tmp_path, "plain.jsonl", "gpt-5", OfflineTransport())
    found = written(tmp_path, "r.jsonl", "gpt-5", wire_to(**extra))
    assert all(one["body"].items() >= extra.items() for one in found)
    assert [one["custom_id"] for one in found] == [custom_id({**one["body"], **extra}) for one in plain]
    assert not {one["custom_id"] for one in found} & {one["custom_id"] for one in plain}


# --- refusals in results ---

LABELS = '{"labels": ["War"]}'


def success(content: str, finish: str = "stop") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
    return {"response": {"status_code": 200, "body": {"choices": [choice]}}, "error": None}


def by_openai(message: str, param: str | None = None, status: int = 400) -> dict[str, Any]:
    return {"response": {"status_code": status, "body": {"error": {"message": message, "param": param}}}, "error": None}


def unanswered(code: str, message: str) -> dict[str, Any]:
    """As OpenAI writes a request that its batch did not send."""
    return {"response": None, "error": {"code": code, "message": message}}


def by_vllm(message: str) -> dict[str, Any]:
    error = {"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}}
    return {"response": {"status_code": 400, "body": None}, "error": error}


def gpt_5(body: dict[str, Any]) -> dict[str, Any]:
    if "max_tokens" in body:
        return by_openai("Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                         "'max_completion_tokens' instead.", "max_tokens")  # fmt: skip
    if body.get("temperature", 1) != 1:
        return by_openai("Unsupported value: 'temperature' does not support 0 with this model.", "temperature")
    return success("", "length") if body["max_completion_tokens"] < 1_000 else success(LABELS)


def gemma(body: dict[str, Any]) -> dict[str, Any]:
    has = any(message["role"] == "system" for message in body["messages"])
    return by_vllm("System role not supported") if has else success(LABELS)


def without_schemas(body: dict[str, Any]) -> dict[str, Any]:
    return by_openai("response_format is not supported") if "response_format" in body else success('["War"]')


def with_temperature_above_zero(body: dict[str, Any]) -> dict[str, Any]:
    return success(LABELS) if body["temperature"] > 0 else by_openai("`temperature` has to be strictly positive")


@pytest.mark.parametrize(
    ("answers", "words", "files"),
    [
        (gpt_5, "Unsupported parameter: 'max_tokens'", 4),
        (gemma, "System role not supported", 2),
        (without_schemas, "response_format is not supported", 3),
        (with_temperature_above_zero, "strictly positive", 2),
    ],
)
@pytest.mark.parametrize("kept", [True, False], ids=["findings kept", "findings lost"])
def test_a_refused_row_says_what_to_do_and_the_next_file_has_it_right(
    answers: Answers, words: str, files: int, kept: bool, tmp_path: Path
) -> None:
    results: list[Path] = []
    ids: list[set[str]] = []
    for number in range(files):
        transport = wire_to(VLLM, tmp_path / "findings.json" if kept else None)
        for path in results:
            transport.add_results(read_results(path))
        asked = written(tmp_path, f"{number}.jsonl", "m", transport)
        ids.append({one["custom_id"] for one in asked})
        back = [{"custom_id": one["custom_id"], **answers(one["body"])} for one in asked]
        results.append(write_lines(tmp_path / f"results.{number}.jsonl", back))
        if number == 0:
            (problem, *_) = (one.problem for one in classified(results, "m"))
            assert problem is not None
            assert problem.kind == "rejected"
            assert words in problem.detail
            assert problem.detail.endswith("write the requests again with --batch-file and the same --read-results")
            assert "\n" not in problem.detail
    assert ids == [ids[0]] * files, "the same requests, each under its first name"
    assert [one.labels for one in classified(results, "m")] == [("War",)] * 3
    assert written(tmp_path, "none.jsonl", "m", answered(*results)) == []


def received(transport: OfflineTransport, results: Iterable[Path]) -> OfflineTransport:
    for path in results:
        transport.add_results(read_results(path))
    return transport


def answered(*results: Path) -> OfflineTransport:
    return received(wire_to(VLLM), results)


def classified(results: list[Path], model: str, strategy: str = "json_list") -> list[Prediction]:
    return LanguageModel(answered(*results).backend(model), STRATEGIES[strategy]).classify(TEXTS, TMDB)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (by_openai("Your input was flagged by the safety system"), "rejected"),
        (by_openai("This model's maximum context length is 9 tokens"), "too_long"),
        (by_openai("The request was rejected as a result of our content policy"), "rejected"),
        (by_openai("Request too large for gpt-4o: input too long", status=429), "too_long"),
        (by_openai("request entity too large", status=413), "too_long"),
        (by_openai("not implemented", status=501), "misconfigured"),
        (unanswered("content_filter", "The response was filtered"), "rejected"),
        (unanswered("invalid_request", "prompt is too long: 9000 tokens"), "too_long"),
        (by_openai("The model `m` does not exist", status=404), "misconfigured"),
        (success("", "length"), "unreadable"),
    ],
)
def test_a_failure_that_no_other_form_avoids_is_final(failure: Any, kind: str, tmp_path: Path) -> None:
    transport = wire_to(VLLM)
    asked = written(tmp_path, "r.jsonl", "m", transport)
    lines = [{"custom_id": one["custom_id"], **failure} for one in asked]
    results = [write_lines(tmp_path / f"{time}.jsonl", lines) for time in range(2)]
    found = classified(results, "m")
    assert [one.problem and one.problem.kind for one in found] == [kind] * 3
    assert all(one.problem and "--batch-file" not in one.problem.detail for one in found)
    assert written(tmp_path, "rest.jsonl", "m", answered(*results)) == []


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        (unanswered("batch_expired", "This request could not be executed before the completion window expired."),
         "busy", "completion window expired"),
        (unanswered("batch_cancelled", "This request was not executed because the batch was cancelled."),
         "busy", "was cancelled"),
        (unanswered("canceled", ""), "busy", "canceled"),
        (unanswered("server_error", "Something went wrong"), "busy", "Something went wrong"),
        (unanswered("429", "slow down"), "busy", "slow down"),
        ({"response": None, "error": "expired"}, "busy", "expired"),
        ({"response": None, "error": None}, "busy", "no reason was given"),
        (by_openai("the request took too long", status=408), "busy", "(408)"),
        (by_openai("slow down", status=429), "busy", "(429)"),
        (by_openai("oh", status=500), "busy", "(500)"),
        (by_openai("upstream", status=502), "busy", "(502)"),
        (by_openai("overloaded", status=503), "busy", "(503)"),
        ({"response": {"status_code": "504", "body": None}, "error": None}, "busy", "(504)"),
        ({"response": {"status_code": 200, "body": {"error": {"code": 429, "message": "slow"}}}, "error": None},
         "busy", "(429)"),
        (by_openai("You exceeded your current quota", status=429), "misconfigured", "exceeded your current quota"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("adapts", [True, False], ids=["adapting", "as it is"])
def test_a_row_that_failed_for_a_passing_reason_is_written_again_and_says_so(
    failure: Any, kind: str, words: str, adapts: bool, tmp_path: Path
) -> None:
    def transport(*results: Path) -> OfflineTransport:
        return received(wire_to(VLLM) if adapts else OfflineTransport(), results)

    asked = written(tmp_path, "r.jsonl", "m", transport())
    refused, *others = ({"custom_id": one["custom_id"], **success(LABELS)} for one in asked)
    failed = write_lines(tmp_path / "s.jsonl", [{**refused, **failure}, *others])
    found = LanguageModel(transport(failed).backend("m"), STRATEGIES["json_list"]).classify(TEXTS, TMDB)
    assert [one.labels for one in found[1:]] == [("War",)] * 2
    assert found[0].problem is not None
    assert found[0].problem.kind == kind
    assert words in found[0].problem.detail
    assert found[0].problem.detail.endswith("; write the requests again with --batch-file and the same --read-results")
    assert "\n" not in found[0].problem.detail
    assert written(tmp_path, "rest.jsonl", "m", transport(failed)) == [asked[0]]
    answers = write_lines(tmp_path / "t.jsonl", [refused])
    assert written(tmp_path, "none.jsonl", "m", transport(failed, answers)) == []
    found = LanguageModel(transport(answers, failed).backend("m"), STRATEGIES["json_list"]).classify(TEXTS, TMDB)
    assert [one.labels for one in found] == [("War",)] * 3


@pytest.mark.parametrize("passing", [by_openai("slow down", status=429), by_openai("oh", status=500),
                                     unanswered("batch_expired", "expired")])  # fmt: skip
def test_a_passing_failure_keeps_the_form_that_a_refusal_before_it_has_taught(passing: Any, tmp_path: Path) -> None:
    results: list[Path] = []
    for number, failure in enumerate([by_openai("Unsupported parameter: 'max_tokens'", "max_tokens"), passing]):
        asked = written(tmp_path, f"{number}.jsonl", "m", answered(*results))
        lines = [{"custom_id": one["custom_id"], **failure} for one in asked]
        results.append(write_lines(tmp_path / f"results.{number}.jsonl", lines))
    again = written(tmp_path, "again.jsonl", "m", answered(*results))
    assert again == asked
    assert all("max_tokens" not in one["body"] for one in again)
    flagged = [{"custom_id": one["custom_id"], **by_openai("Your input was flagged")} for one in asked]
    results.insert(1, write_lines(tmp_path / "flagged.jsonl", flagged))
    assert written(tmp_path, "none.jsonl", "m", answered(*results)) == [], "one of its failures repeats"


def test_a_passing_failure_that_ray_brings_is_final_in_its_run() -> None:
    transport = OfflineTransport("the cluster", remedy="use --retry-failed", resends=False)
    model = LanguageModel(transport.backend("m"), STRATEGIES["json_list"])
    model.classify(TEXTS[:1], TMDB)
    (key,) = transport.take_requests()
    transport.add_results([(key, by_openai("overloaded", status=503))])
    (found,) = model.classify(TEXTS[:1], TMDB)
    assert found.problem is not None
    assert found.problem.kind == "busy"
    assert transport.take_requests() == {}


def test_a_strategy_of_probabilities_keeps_the_fields_that_it_needs(tmp_path: Path) -> None:
    asked = written(tmp_path, "r.jsonl", "m", wire_to(VLLM), "yes_no")
    refusal = by_openai("You are not allowed to request logprobs from this model", status=403)
    results = write_lines(tmp_path / "s.jsonl", [{"custom_id": one["custom_id"], **refusal} for one in asked])
    transport = wire_to(VLLM)
    transport.add_results(read_results(results))
    found = LanguageModel(transport.backend("m"), STRATEGIES["yes_no"]).classify(TEXTS, TMDB)
    assert all(one.problem and "not allowed to request logprobs" in one.problem.detail for one in found)
    assert transport.take_requests() == {}


# --- Ray's HTTP processor ---


@pytest.mark.parametrize(
    ("base_url", "key", "url", "headers"),
    [
        (VLLM, "k", f"{VLLM}/chat/completions", {"Authorization": "Bearer k"}),
        (f"{VLLM}/", "", f"{VLLM}/chat/completions", {}),
        (AZURE, "k", f"{AZURE}/chat/completions", {"api-key": "k"}),
        (DEPLOYMENT, "k",
         "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21", {"api-key": "k"}),
        ("http://gateway.example/llm?tenant=a%20b&flag=", "k",
         "http://gateway.example/llm/chat/completions?tenant=a+b&flag=", {"Authorization": "Bearer k"}),
    ],
)  # fmt: skip
def test_ray_sends_to_the_url_and_with_the_header_of_the_endpoint(
    base_url: str, key: str, url: str, headers: dict[str, str]
) -> None:
    one = RayEndpoint(base_url, key)
    assert (one.url, one.headers) == (url, headers)
    assert "'k'" not in repr(one)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "Unsupported parameter: 'max_tokens'", "param": "max_tokens"}}, "max_tokens"),
        ({"detail": [{"loc": ["body", "max_tokens"], "msg": "Extra inputs are not permitted"}]}, "body.max_tokens"),
        ({"object": "error", "message": "max_tokens is not supported"}, "max_tokens is not supported"),
    ],
)
def test_a_refusal_that_ray_brings_is_sent_again_in_another_form(body: Any, words: str) -> None:
    transport, endpoint = wire_to(VLLM), RayEndpoint(VLLM, "")
    model = LanguageModel(transport.backend("m"), STRATEGIES["json_list"])
    model.classify(TEXTS[:1], TMDB)
    (key,) = transport.take_requests()
    transport.add_results([(key, endpoint.result({"reply": json.dumps(body), "error": ""}))])
    (found,) = model.classify(TEXTS[:1], TMDB)
    assert found.problem is not None
    assert words in found.problem.detail
    ((again, sent),) = transport.take_requests().items()
    assert again == key
    assert "max_tokens" not in sent
