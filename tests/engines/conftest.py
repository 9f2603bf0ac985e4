"""One real vLLM server for all tests of real backends, and the service with that endpoint."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.vllm_server import VLLMServer
from tests.support.process import ServiceProcess, service
from tests.support.tiny_qwen2 import build
from tests.support.trained_qwen2 import train

API_KEY = "sk-for-the-tests"


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VLLMServer]:
    """vLLM with a tiny Qwen2 of random weights."""
    server = VLLMServer(build(tmp_path_factory.mktemp("tiny-qwen2")), API_KEY)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def in_front(vllm: VLLMServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Our service with that endpoint."""
    cache: Path = tmp_path_factory.mktemp("cache") / "answers.sqlite"
    settings = {"OPENAI_BASE_URL": vllm.base_url, "OPENAI_API_KEY": API_KEY, "MARQUEE_CACHE_PATH": str(cache)}
    with service(**settings) as running:
        yield running


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, trained on a dozen films."""
    return train(tmp_path_factory.mktemp("trained") / "qwen2")
