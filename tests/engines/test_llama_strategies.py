"""Our backend and its strategies on a real llama.cpp server, with irregular texts and with a trained model."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from llm.backends.capabilities import CapabilityProbe, CapabilityReport, probe
from llm.backends.capability_checks import CHECKS
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.transport import HTTPTransport
from llm.calibration.thresholds import ThresholdStore
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from prompts import registry
from tests.engines.conftest import API_KEY
from tests.engines.llama_server import LlamaServer, to_gguf
from tests.support.trained_qwen2 import GENRES, PROMPT, films
from tests.support.ugly import ugly_texts

TMDB = registry.taxonomy("tmdb")
SERVED = [name for name in STRATEGIES if name != "decisions_api"]
# The tiny model never learned to write a label's name; a real model does (``test_real_model.py``).
LEARNED = [name for name in SERVED if name != "label_likelihood"]


@pytest.fixture(scope="module")
def server(trained: Path) -> Iterator[LlamaServer]:
    """llama.cpp with the tiny model, which is trained on a dozen films only."""
    running = LlamaServer(to_gguf(trained), API_KEY)
    running.start()
    try:
        yield running
    finally:
        running.kill()


@pytest.fixture(scope="module")
def backend(server: LlamaServer) -> OpenAICompatible:
    transport = HTTPTransport(server.base_url, API_KEY, timeout=120, retries=2, concurrency=8)
    return OpenAICompatible(transport, "tiny", CapabilityProbe(transport, "tiny"))


def test_the_capability_checks_find_what_this_server_supports_and_ignores(server: LlamaServer) -> None:
    found = probe(HTTPTransport(server.base_url, API_KEY, timeout=60, retries=0, concurrency=4), "tiny")
    assert isinstance(found, CapabilityReport)
    outcomes = {name: finding.outcome for name, finding in found.findings.items()}
    assert outcomes.keys() == CHECKS.keys()
    for name in ("json_schema", "json_array", "json_object", "gbnf", "logprobs", "prefix_caching"):
        assert outcomes[name] == "supported", name
    for name in ("choice", "regex", "grammar"):
        assert outcomes[name] == "ignored", "vLLM's fields are ignored without an error"
    assert outcomes["decisions"] == "rejected"
    assert outcomes["known_answer"] == "supported", "the model is trained to begin with a code"
    assert found.top_logprobs == 20


@pytest.mark.parametrize("strategy", SERVED)
def test_every_strategy_answers_ugly_texts_inside_the_taxonomy(backend: OpenAICompatible, strategy: str) -> None:
    texts = [text for text in ugly_texts() if len(text) < 2_000][::6]
    answered = 0
    for prediction in LanguageModel(backend, STRATEGIES[strategy]).classify(texts, TMDB):
        if prediction.problem:  # for texts outside the training data, some codes have little probability
            assert strategy != "json_list", prediction
            assert prediction.problem.kind == "unreadable", prediction
            continue
        answered += 1
        assert 1 <= len(prediction.labels) == len(set(prediction.labels)) <= TMDB.max_labels
        assert set(prediction.labels) <= set(TMDB.names)
        assert set(prediction.scores) == set(prediction.labels if strategy == "json_list" else TMDB.names)
    unsure = ("yes_no", "label_likelihood")
    assert answered == len(texts) or strategy in unsure or (strategy == "label_tokens" and answered >= len(texts) / 2)


@pytest.mark.parametrize("strategy", LEARNED)
def test_a_trained_model_gets_the_right_labels(backend: OpenAICompatible, strategy: str) -> None:
    texts, truth = zip(*films(), strict=True)
    found = LanguageModel(backend, STRATEGIES[strategy], PROMPT, ThresholdStore()).classify(texts, GENRES)
    right = sum(set(one.labels) == set(labels) for one, labels in zip(found, truth, strict=True))
    assert right == len(texts), [(one.labels, labels) for one, labels in zip(found, truth, strict=True)]
