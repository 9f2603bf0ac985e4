"""A real vLLM server answers typed questions at /v1/systemone: the strategy ``decisions_api``, and the service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llm.backends.capabilities import CapabilityProbe
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.transport import HTTPTransport
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from prompts import registry
from prompts.taxonomy import Label, Taxonomy
from service.decisions import ForwardingDecider
from similarity.micro_batching import Admission
from tests.engines.conftest import API_KEY
from tests.engines.vllm_server import MODEL_NAME, VLLMServer
from tests.service import test_decisions as openai_shapes
from tests.service import test_systemone as typesafe_shapes
from tests.support.tiny_qwen3 import build
from tests.support.ugly import ugly_texts


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAICompatible]:
    """vLLM with a tiny Qwen3 of random weights."""
    server = VLLMServer(build(tmp_path_factory.mktemp("tiny-qwen3")), API_KEY)
    server.start()
    try:
        transport = HTTPTransport(server.base_url, API_KEY, timeout=120, retries=0, concurrency=8)
        yield OpenAICompatible(transport, MODEL_NAME, CapabilityProbe(transport, MODEL_NAME))
    finally:
        server.kill()


@pytest.mark.parametrize("name", ["tmdb", "sentiment"])
def test_every_ugly_text_gets_a_probability_per_label(backend: OpenAICompatible, name: str) -> None:
    taxonomy = registry.taxonomy(name)
    found = LanguageModel(backend, STRATEGIES["decisions_api"]).classify(ugly_texts()[::6], taxonomy)
    answered = [one for one in found if one.problem is None]
    assert len(answered) > 40
    assert {one.problem.kind for one in found if one.problem} <= {"empty"}
    for one in answered:
        assert set(one.scores) == set(taxonomy.names)
        assert all(0 <= score <= 1 for score in one.scores.values())
        assert taxonomy.multi or sum(one.scores.values()) == pytest.approx(1)
        assert one.usage.prompt_tokens > 0


def test_more_options_than_the_server_takes_are_the_problem_of_the_text(backend: OpenAICompatible) -> None:
    many = Taxonomy("many", tuple(Label(f"label {number:02}") for number in range(27)), multi=False)
    (found,) = LanguageModel(backend, STRATEGIES["decisions_api"]).classify(["a plot"], many)
    assert found.problem is not None
    assert found.problem.kind == "rejected"
    assert "at most 26 options" in found.problem.detail


def test_the_service_passes_questions_of_both_routes_on(backend: OpenAICompatible) -> None:
    client = openai_shapes.served(ForwardingDecider(backend, Admission(4)))
    refund, team, mood = openai_shapes.ask(client, openai_shapes.REFUND, openai_shapes.TEAM, openai_shapes.MOOD)[
        "answers"
    ]
    ours = typesafe_shapes.ask(client, typesafe_shapes.ALL)
    assert ours["answers"]["refund"]["noul"] == pytest.approx(refund["probability"], abs=1e-3)
    assert team["choice"] in ("billing", "shipping")
    assert sum(ours["answers"]["team"]["probabilities"].values()) == pytest.approx(1)
    assert mood["score"] == pytest.approx(ours["answers"]["mood"]["score"], abs=1e-2)
    assert ours["usage"]["input_tokens"] > 0
