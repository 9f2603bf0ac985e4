"""The backend in this process, against the same model behind a server: the same answers and nearly the same figures."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from llm.backends.capabilities import CapabilityProbe
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.transport import HTTPTransport
from llm.backends.vllm_offline import VLLMOffline
from prompts import registry
from tests.engines.conftest import API_KEY
from tests.engines.offline_answers import PLOTS, classified
from tests.engines.vllm_server import MODEL_NAME, ON_THIS_CPU, VLLMServer, environment
from tests.support.process import ROOT
from tests.support.tiny_qwen2 import build
from tests.support.ugly import ugly_texts

TMDB = registry.taxonomy("tmdb")
UGLY = [text for text in ugly_texts() if len(text) < 2_000][::6]


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the backend said in a process of its own; one process, since loading takes a minute."""
    folder = tmp_path_factory.mktemp("offline")
    asked, answers, model = folder / "texts.json", folder / "answers.json", build(folder / "model")
    asked.write_text(json.dumps(UGLY))
    command: list[str | Path] = [environment(), "-m", "tests.engines.offline_answers", model, asked, answers]
    settings = os.environ | ON_THIS_CPU | {"PYTHONPATH": str(ROOT), "VLLM_NO_USAGE_STATS": "1"}
    run = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=500)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return dict(json.loads(answers.read_text()))


@pytest.fixture(scope="module")
def served(vllm: VLLMServer) -> OpenAICompatible:
    """The same weights behind the server."""
    transport = HTTPTransport(vllm.base_url, API_KEY, timeout=60, retries=0, concurrency=32)
    return OpenAICompatible(transport, MODEL_NAME, CapabilityProbe(transport, MODEL_NAME))


def test_lists_are_those_of_the_server(offline: dict[str, Any], served: OpenAICompatible) -> None:
    theirs = classified(served, "json_list", PLOTS)
    assert [one["problem"] for one in offline["json_list"]] == [None] * len(PLOTS)
    assert [one["labels"] for one in offline["json_list"]] == [list(one["labels"]) for one in theirs]
    assert [one["usage"]["prompt_tokens"] for one in offline["json_list"]] == [
        one["usage"]["prompt_tokens"] for one in theirs
    ]


@pytest.mark.parametrize("strategy", ["json_list", "label_tokens", "yes_no"])
def test_figures_are_those_of_the_server(offline: dict[str, Any], served: OpenAICompatible, strategy: str) -> None:
    for ours, theirs in zip(offline[strategy], classified(served, strategy, PLOTS), strict=True):
        assert ours["scores"] == pytest.approx(theirs["scores"], abs=1e-2)
        assert ours["scores"].keys() == set(ours["labels"]), "random weights: no code has enough probability"
        assert ours["label_mass"] == pytest.approx(theirs["label_mass"], abs=1e-2)


def test_ugly_texts_are_answered_inside_the_taxonomy(offline: dict[str, Any]) -> None:
    assert len(offline["ugly"]) == len(UGLY) > 40
    for answer in offline["ugly"]:
        assert answer["problem"] is None, answer
        assert 1 <= len(answer["labels"]) <= TMDB.max_labels
        assert set(answer["labels"]) <= set(TMDB.names)


def test_a_batch_computes_what_it_shares_once(offline: dict[str, Any]) -> None:
    for strategy in ("json_list", "label_tokens"):
        used = [one["usage"] for one in offline[strategy][1:]]
        assert all(one["cached_tokens"] > 0.5 * one["prompt_tokens"] for one in used), used
        assert all(one["completion_tokens"] > 0 for one in used)


def test_a_text_beyond_the_context_is_too_long_and_its_neighbour_is_not(offline: dict[str, Any]) -> None:
    for long, short in (offline["long"], offline["weighed"]):
        assert long["problem"]["kind"] == "too_long"
        assert short["problem"] is None


def test_a_code_of_two_tokens_is_refused(offline: dict[str, Any]) -> None:
    assert "'two words' is not a single token of tiny" in offline["no code"]


def test_check_asks_whether_vllm_is_there(offline: dict[str, Any]) -> None:
    assert (offline["before"], offline["after"]) == (None, None)
    missing = VLLMOffline("anything").check()
    assert missing is not None
    assert "requirements-vllm.txt" in missing.detail
