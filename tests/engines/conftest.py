"""One real vLLM server for all tests of real backends, and the service with that endpoint."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler.loadfile import LoadFileScheduling  # type: ignore[import-untyped]

from tests.engines.vllm_server import VLLMServer
from tests.support.process import ServiceProcess, service
from tests.support.tiny_qwen2 import build
from tests.support.trained_qwen2 import train

API_KEY = "sk-for-the-tests"
_SHARED = ("test_vllm.py", "test_vllm_strategies.py")  # files with that one server
_FIRST = ("test_real_model.py", *_SHARED)  # the longest ones; a long file at the end would run alone


class ByServer(LoadFileScheduling):  # type: ignore[misc]
    """One process runs a file, or the files with one server."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return _SHARED[0] if file.endswith(_SHARED) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServer:
    """Make the scheduler of the processes that run the tests."""
    return ByServer(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files."""
    items.sort(key=lambda item: _FIRST.index(item.path.name) if item.path.name in _FIRST else len(_FIRST))


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
