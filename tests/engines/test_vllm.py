"""A real vLLM server: every answer of a random model is inside the taxonomy."""

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from llm.backends.backend import Constraint
from llm.backends.capabilities import CapabilityProbe
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.transport import HTTPTransport
from llm.classifier import Problem
from llm.strategies.json_list import JSONList
from prompts import registry
from prompts.text import Text
from tests.engines.conftest import API_KEY
from tests.engines.vllm_server import MODEL_NAME, VLLMServer
from tests.support.process import ServiceProcess
from tests.support.ugly import ugly_texts

TMDB, SENTIMENT = registry.taxonomy("tmdb"), registry.taxonomy("sentiment")


@pytest.fixture(scope="session")
def client(in_front: ServiceProcess) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=in_front.url, timeout=120) as client:
        yield client


def backend(vllm: VLLMServer, key: str = API_KEY, model: str = MODEL_NAME) -> OpenAICompatible:
    transport = HTTPTransport(vllm.base_url, key, timeout=60, retries=0, concurrency=32)
    return OpenAICompatible(transport, model, CapabilityProbe(transport, model))


def classify(client: httpx2.Client, body: dict[str, Any]) -> Any:
    reply = client.post("/classify", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def assert_valid(answers: Sequence[dict[str, Any]], names: Sequence[str], most: int) -> None:
    for answer in answers:
        assert "problem" not in answer, answer
        assert set(answer["labels"]) <= set(names), answer
        assert 1 <= len(answer["labels"]) <= most, answer
        assert len(set(answer["labels"])) == len(answer["labels"]), answer
        assert answer["model"] == MODEL_NAME


# --- three hundred ugly texts ---


@pytest.mark.parametrize("taxonomy", [TMDB, SENTIMENT], ids=lambda taxonomy: str(taxonomy.name))
def test_every_ugly_text_is_answered_inside_the_taxonomy(client: httpx2.Client, taxonomy: Any) -> None:
    answers = []
    for start in range(0, 300, 50):
        texts = ugly_texts()[start : start + 50]
        answers += classify(client, {"texts": texts, "taxonomy": taxonomy.name})["results"]
    assert len(answers) == 300
    assert_valid(answers, taxonomy.names, taxonomy.max_labels)


def test_concurrent_requests_with_ugly_texts_get_valid_labels(client: httpx2.Client) -> None:
    labels = ["tax, law & order", "plumbing (indoor)", 'the "quoted"', "日本料理", "C++", "C#"]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda text: classify(client, {"text": text, "labels": labels}), ugly_texts()))
    for answer in answers:
        assert set(answer["labels"]) <= set(labels)
        assert len(set(answer["labels"])) == len(answer["labels"])


@pytest.mark.parametrize("prompt", registry.prompts())
def test_every_prompt_is_answered(client: httpx2.Client, prompt: str) -> None:
    answer = classify(client, {"text": "A plot.", "title": "A title", "prompt": prompt})
    assert_valid([answer], TMDB.names, TMDB.max_labels)
    assert answer["prompt"].startswith(prompt)


@pytest.mark.parametrize("shape", [{"multi": False}, {"max_labels": 1}, {"max_labels": 2}, {"allow_none": True}])
def test_the_shape_of_the_answer_is_kept(client: httpx2.Client, shape: dict[str, Any]) -> None:
    for film in ("A war.", "A love story.", "A heist."):
        labels = classify(client, {"text": film, **shape})["labels"]
        assert len(labels) <= shape.get("max_labels", 1 if shape.get("multi") is False else 5)


def test_an_answer_is_cached(client: httpx2.Client) -> None:
    body = {"text": f"A plot of {time.time()}."}
    assert [classify(client, body)["cached"] for _ in range(2)] == [False, True]


# --- the contract that the backend relies on ---


def conversation(text: str = "A plot.") -> Any:
    return registry.prompt("plot").render(Text(text), TMDB)


def test_the_schema_constrains_a_model_that_would_not_follow_it(vllm: VLLMServer) -> None:
    (constrained,) = backend(vllm).generate([conversation()], JSONList().constraint(TMDB))
    assert constrained.text is not None
    assert set(json.loads(constrained.text)) <= set(TMDB.names)
    (free,) = backend(vllm).generate([conversation()], Constraint({}, 40))
    assert free.text != constrained.text


def test_the_static_part_is_computed_once(vllm: VLLMServer) -> None:
    outputs = backend(vllm).generate(
        [conversation(f"Plot number {n}.") for n in range(20)], JSONList().constraint(TMDB)
    )
    assert all(one.usage.cached_tokens > 0.5 * one.usage.prompt_tokens for one in outputs[1:])
    assert all(one.usage.completion_tokens > 0 for one in outputs)


def test_an_answer_is_never_cut_by_our_bound(vllm: VLLMServer) -> None:
    constraint = JSONList().constraint(TMDB)
    for one in backend(vllm).generate([conversation(f"Plot {n}") for n in range(40)], constraint):
        assert one.usage.completion_tokens < constraint.max_tokens


def test_a_text_beyond_the_models_context_is_too_long(vllm: VLLMServer, client: httpx2.Client) -> None:
    first, second = backend(vllm).generate([conversation("字" * 50_000), conversation()], JSONList().constraint(TMDB))
    assert first.problem is not None
    assert first.problem.kind == "too_long"
    assert second.problem is None
    reply = client.post("/classify", json={"text": "字" * 40_000})
    assert (reply.status_code, reply.json()["type"]) == (413, "/problems/text-too-long")


def test_a_wrong_key_and_a_wrong_model_have_different_problems(vllm: VLLMServer) -> None:
    for wrong, said in ((backend(vllm, key="sk-wrong"), "API key"), (backend(vllm, model="other"), "`other`")):
        (completion,) = wrong.generate([conversation()], JSONList().constraint(TMDB))
        assert completion.problem is not None
        assert completion.problem.kind == "misconfigured"
        assert said in completion.problem.detail
        assert "sk-wrong" not in completion.problem.detail


def test_check_sends_a_request_to_the_server(vllm: VLLMServer) -> None:
    assert backend(vllm).check() is None
    refused = backend(vllm, key="sk-wrong").check()
    assert isinstance(refused, Problem)
    assert refused.kind == "misconfigured"


# --- outage; last, because it needs a restart ---


def test_a_server_killed_mid_run_is_503_until_it_is_back(vllm: VLLMServer, client: httpx2.Client) -> None:
    def post(number: int) -> httpx2.Response:
        return client.post("/classify", json={"text": f"Plot {number} before the fall.", "cache": False})

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(post, number) for number in range(160)]
        running[30].result()
        vllm.kill()
        replies = [one.result() for one in running]
    assert {reply.status_code for reply in replies} == {200, 503}
    lost = [reply for reply in replies if reply.status_code == 503]
    assert all(int(reply.headers["Retry-After"]) >= 1 for reply in lost)
    assert {reply.json()["type"] for reply in lost} <= {"/problems/model-unreachable", "/problems/model-busy"}
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200

    vllm.start()
    assert client.get("/readyz").status_code == 200
    assert_valid([classify(client, {"text": "Plot after the fall."})], TMDB.names, TMDB.max_labels)
