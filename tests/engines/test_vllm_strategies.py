"""Every strategy on a real vLLM server: valid labels of a random model, right labels of a trained model."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llm.backends.backend import Backend
from llm.backends.batch_transport import BatchTransport
from llm.backends.capabilities import CapabilityProbe, CapabilityReport, probe
from llm.backends.capability_checks import CHECKS
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.transport import HTTPTransport
from llm.calibration.thresholds import ThresholdStore
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES, best
from llm.wrappers.combined import order_sensitivity
from prompts import registry
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text
from tests.engines.conftest import API_KEY
from tests.engines.vllm_server import MODEL_NAME, VLLMServer
from tests.support.process import ServiceProcess
from tests.support.trained_qwen2 import GENRES, PROMPT, films
from tests.support.ugly import ugly_texts

TMDB, SENTIMENT = registry.taxonomy("tmdb"), registry.taxonomy("sentiment")
MANY = Taxonomy("many", tuple(Label(f"label {number:03}") for number in range(200)), max_labels=3)


def backend(server: VLLMServer) -> OpenAICompatible:
    transport = HTTPTransport(server.base_url, API_KEY, timeout=120, retries=0, concurrency=32)
    return OpenAICompatible(transport, MODEL_NAME, CapabilityProbe(transport, MODEL_NAME))


def batching(server: VLLMServer, size: int = 16) -> OpenAICompatible:
    """The same, with ``size`` conversations per request."""
    transport = HTTPTransport(server.base_url, API_KEY, timeout=120, retries=0, concurrency=32)
    capabilities = CapabilityProbe(transport, MODEL_NAME)
    assert capabilities.supports("batch")
    return OpenAICompatible(BatchTransport(transport, capabilities, size), MODEL_NAME, capabilities)


# --- random weights ---


# This server answers no typed questions for Qwen2; test_vllm_decisions.py has a Qwen3.
SERVED = [name for name in STRATEGIES if name != "decisions_api"]
# The tiny model never learned to write a label's name; a real model does (``test_real_model.py``).
LEARNED = [name for name in SERVED if name != "label_likelihood"]


@pytest.mark.parametrize("strategy", [*SERVED, "auto"])
def test_every_strategy_answers_every_ugly_text_inside_the_taxonomy(in_front: ServiceProcess, strategy: str) -> None:
    answers: list[Any] = []
    with httpx2.Client(base_url=in_front.url, timeout=300) as client:
        for start in range(0, 300, 100):
            body = {
                "texts": ugly_texts()[start : start + 100],
                "strategy": strategy,
                "scores": True,
                "taxonomy": "tmdb",
            }
            reply = client.post("/classify", json=body)
            assert reply.status_code == 200, reply.text
            answers += reply.json()["results"]
    assert len(answers) == 300
    for answer in answers:
        if strategy in ("label_likelihood", "label_tokens", "yes_no"):  # random weights prefer no answer
            assert answer["problem"]["type"] == "/problems/model-unreadable", answer
            continue
        assert "problem" not in answer, answer
        assert 1 <= len(answer["labels"]) == len(set(answer["labels"])) <= TMDB.max_labels
        assert set(answer["labels"]) <= set(TMDB.names)
        assert set(answer["scores"]) == set(answer["labels"])
        assert all(0 <= score <= 1 for score in answer["scores"].values())
        assert answer["strategy"] == ("json_list" if strategy == "auto" else strategy)


def test_a_single_label_comes_from_json_list_if_its_code_is_improbable(in_front: ServiceProcess) -> None:
    body = {"text": "I liked it.", "taxonomy": "sentiment", "scores": True, "cache": False}
    answer = httpx2.post(f"{in_front.url}/classify", json=body, timeout=60).json()
    assert answer["strategy"] == "json_list"
    assert answer["usage"]["completion_tokens"] > 1
    assert list(answer["scores"]) == answer["labels"]


def test_a_taxonomy_beyond_the_codes_is_scored_in_chunks(vllm: VLLMServer) -> None:
    (prediction,) = LanguageModel(backend(vllm), STRATEGIES["label_tokens"]).classify(["a text"], MANY)
    assert prediction.problem is not None
    assert prediction.problem.kind == "unreadable", "random weights give the codes no more than other tokens"
    assert prediction.usage.completion_tokens == 5  # four chunks of fifty and the final


SPELLINGS = 8  # of one code: with a space or a line break before it, and in the other case


def test_logprobs_by_token_id_agree_with_the_top_logprobs(vllm: VLLMServer) -> None:
    transport = HTTPTransport(vllm.base_url, API_KEY, timeout=60, retries=0, concurrency=8)
    by_id = backend(vllm)
    by_top = OpenAICompatible(transport, MODEL_NAME, CapabilityReport({}, top_logprobs=20))
    conversation = registry.prompt("plot").render(Text("A plot."), TMDB)
    codes = list("ABCDEFGH")
    (exact,) = by_id.next_token_logprobs([conversation], codes)
    (bounded,) = by_top.next_token_logprobs([conversation], codes)
    assert exact.bounds == frozenset()
    assert bounded.bounds
    unseen = SPELLINGS * math.exp(max(bounded.logprobs[code] for code in bounded.bounds))
    for code in codes:
        seen = 0.0 if code in bounded.bounds else math.exp(bounded.logprobs[code])
        assert 0.95 * seen <= math.exp(exact.logprobs[code]) <= 1.05 * (seen + unseen)


def test_the_capability_checks_find_what_this_server_supports_and_ignores(vllm: VLLMServer) -> None:
    found = probe(HTTPTransport(vllm.base_url, API_KEY, timeout=60, retries=0, concurrency=8), MODEL_NAME)
    assert isinstance(found, CapabilityReport)
    outcomes = {name: finding.outcome for name, finding in found.findings.items()}
    assert outcomes.keys() == CHECKS.keys()
    supported = {"json_schema", "json_array", "choice", "regex", "grammar", "logit_bias", "logprobs", "token_ids"}
    for name in supported | {"json_object", "tokenize", "prefix_caching", "batch"}:
        assert outcomes[name] == "supported", name
    assert outcomes["gbnf"] == "ignored", "llama.cpp's field is ignored without an error"
    assert outcomes["known_answer"] == "ignored", "random weights do not begin with a letter"
    assert (outcomes["decisions"], outcomes["systemone"]) == ("rejected", "rejected")
    assert (found.top_logprobs, found.context, found.version) == (20, 32_768, "0.32.0")


@pytest.mark.parametrize("strategy", SERVED)
def test_batches_are_answered_inside_the_taxonomy_and_take_the_same_tokens(vllm: VLLMServer, strategy: str) -> None:
    texts = ugly_texts()[:: 10 if strategy == "yes_no" else 3]
    alone = LanguageModel(backend(vllm), STRATEGIES[strategy]).classify(texts, TMDB)
    together = LanguageModel(batching(vllm), STRATEGIES[strategy]).classify(texts, TMDB)
    for one in together:
        noise = "unreadable" if strategy != "json_list" else "empty"
        assert one.problem is None or one.problem.kind in ("empty", noise)
        assert len(one.labels) == len(set(one.labels)) <= TMDB.max_labels
        assert set(one.labels) <= set(TMDB.names)
        if one.problem is None:
            assert set(one.scores) == set(one.labels)
    kinds = [[one.problem and one.problem.kind for one in some] for some in (together, alone)]
    assert kinds[0] == kinds[1]
    assert sum(one.usage.prompt_tokens for one in together) == sum(one.usage.prompt_tokens for one in alone)
    if strategy != "json_list":  # its greedy tokens can differ by rounding
        assert [one.usage.completion_tokens for one in together] == [one.usage.completion_tokens for one in alone]


def test_a_text_beyond_the_context_fails_alone_in_its_batch(vllm: VLLMServer) -> None:
    texts = [f"A plot of {number} words." for number in range(9)] + ["war " * 40_000]
    found = LanguageModel(batching(vllm), STRATEGIES["label_tokens"]).classify(texts, TMDB)
    assert [one.problem.kind if one.problem else None for one in found] == ["unreadable"] * 9 + ["too_long"]


# --- trained weights ---


@pytest.fixture(scope="module")
def trained_server(trained: Path) -> Iterator[VLLMServer]:
    """vLLM with the tiny model, trained on a dozen films."""
    server = VLLMServer(trained, API_KEY)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def trained_backend(trained_server: VLLMServer) -> Backend:
    """The backend of that server with one text per request."""
    return backend(trained_server)


@pytest.mark.parametrize("strategy", LEARNED)
@pytest.mark.parametrize("size", [1, 5])
def test_a_trained_model_gets_the_right_labels(trained_server: VLLMServer, strategy: str, size: int) -> None:
    client = batching(trained_server, size) if size > 1 else backend(trained_server)
    model = LanguageModel(client, STRATEGIES[strategy], PROMPT, ThresholdStore())
    texts, truth = zip(*films(), strict=True)
    found = model.classify(texts, GENRES)
    right = sum(set(one.labels) == set(labels) for one, labels in zip(found, truth, strict=True))
    assert right == len(texts), [(one.labels, labels) for one, labels in zip(found, truth, strict=True)]
    for one, labels in zip(found, truth, strict=True):
        if set(one.labels) == set(labels) and labels:
            others = [score for name, score in one.scores.items() if name not in labels]
            assert min(one.scores[name] for name in labels) > max(
                others, default=0.0
            )  # json_list has scores of its labels only


def test_label_tokens_has_one_high_score_for_one_label_and_split_scores_for_two(trained_backend: Backend) -> None:
    model = LanguageModel(trained_backend, STRATEGIES["label_tokens"], PROMPT, ThresholdStore())
    for one, (_, labels) in zip(model.classify([text for text, _ in films()], GENRES), films(), strict=True):
        best = max(one.scores.values())
        if len(labels) == 1:
            assert best > 0.8
        if len(labels) == 2:
            assert 0.2 < best < 0.8


def test_order_sensitivity_can_be_measured(trained_backend: Backend) -> None:
    found = order_sensitivity(
        LanguageModel(trained_backend, STRATEGIES["yes_no"], PROMPT), [text for text, _ in films()], GENRES, 5
    )
    assert found.failed == 0
    assert found.decisions == len(films()) * len(GENRES.names)
    assert 0 <= found.minority <= found.ever <= 1


def test_one_label_needs_one_token(trained_backend: Backend) -> None:
    text, labels = next(film for film in films() if len(film[1]) == 1)
    one_label = GENRES.shaped(multi=False)
    (prediction,) = LanguageModel(trained_backend, STRATEGIES["label_tokens"], PROMPT).classify([text], one_label)
    assert prediction.labels == labels
    assert prediction.usage.completion_tokens == 1


def test_auto_selects_json_list_for_a_model_that_begins_with_no_code(vllm: VLLMServer) -> None:
    random_model = backend(vllm)
    assert (random_model.code_limit, random_model.answers_directly) == (128, False)
    assert best(random_model, SENTIMENT).name == "json_list"
