"""``main.py serve --gguf`` with a real llama.cpp: it starts the server, classifies with it, and stops it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import httpx2
import pytest

from llm.backends.llama_server import LlamaAdapter, LlamaOptions, LlamaServer
from prompts import registry
from tests.engines.llama_server import environment, to_gguf
from tests.engines.test_serve_vllm import children
from tests.support.process import service
from tests.support.tiny_qwen2 import build

_ARGUMENTS = Path(__file__).with_name("llama_arguments.py")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_gguf(build(tmp_path_factory.mktemp("gguf") / "tiny-qwen2", context=8192))


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """Settings of the service, whose Python finds ``xllamacpp`` and no other package of llama.cpp's environment."""
    (package,) = environment().parents[1].glob("lib/python*/site-packages/xllamacpp")
    (tmp_path / "xllamacpp").symlink_to(package)
    stored = {"MARQUEE_CACHE_PATH": str(tmp_path / "answers"), "MARQUEE_PROBE_PATH": str(tmp_path / "probe.json")}
    return {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1", **stored}


def test_one_command_serves_a_file_and_leaves_nothing_behind(model: Path, settings: dict[str, str]) -> None:
    with service("--gguf", str(model), "--workers", "2", **settings) as running:
        answers = [
            httpx2.post(f"{running.url}/classify", json={"text": f"A heist in space, part {part}."}, timeout=60).json()
            for part in range(4)
        ]
        assert all(set(answer["labels"]) <= set(registry.taxonomy("tmdb").names) for answer in answers)
        assert {answer["model"] for answer in answers} == {"tiny-qwen2"}
        assert answers[-1]["usage"]["cached_tokens"] > 0.5 * answers[-1]["usage"]["prompt_tokens"]
        assert httpx2.get(f"{running.url}/readyz").json() == {"status": "ready", "model": "tiny-qwen2"}
        below = children(running.process.pid)
        assert len(below) == 3, "two workers and llama.cpp"
        assert running.stop() == 0
        assert not [pid for pid in below if Path(f"/proc/{pid}/cmdline").exists()]


def test_answers_and_capability_checks_are_valid_after_a_restart(model: Path, settings: dict[str, str]) -> None:
    body = {"text": "A heist in space."}
    answers = []
    for _ in range(2):
        with service("--gguf", str(model), **settings) as running:
            answers.append(httpx2.post(f"{running.url}/classify", json=body, timeout=60).json())
    assert [answer["cached"] for answer in answers] == [False, True]
    assert answers[0]["labels"] == answers[1]["labels"]
    (stored,) = [key for key in json.loads(Path(settings["MARQUEE_PROBE_PATH"]).read_text()) if "checks" in key]
    assert "tiny-qwen2" in stored


def test_a_file_that_ends_within_its_weights_is_named(model: Path, settings: dict[str, str], tmp_path: Path) -> None:
    part = tmp_path / "part.gguf"
    part.write_bytes(model.read_bytes()[:-1_000])
    with service("--gguf", str(part), **settings) as running:
        assert running.process.wait(60) == 1
    assert f"Error: {part} is truncated or damaged; download it again (its log: " in running.printed


def test_llama_server_takes_the_arguments_as_we_mean_them(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LlamaServer, "program", staticmethod(lambda: (["llama-server"], model)))
    adapter = LlamaAdapter(model.with_name("films-0123.gguf"), "tiny-qwen2+films@0123")
    child = LlamaServer(model, LlamaOptions(4096, threads=3), adapter=adapter)
    assert parsed(child, *child.command[1:]) == {
        "model": str(model),
        "alias": ["tiny-qwen2+films@0123"],
        "address": [["127.0.0.1"], child.port],
        "keys": [child.api_key],
        "threads": 3,
        "slots": 3,
        "context": 4096,
        "unified": True,
        "jinja": True,
        "page": False,
        "prompt caching": True,
        "cached megabytes": 512,
        "log level": 2,
        "adapters": [[str(adapter.file), 1.0]],
    }
    with pytest.raises(subprocess.CalledProcessError) as raised:
        parsed(child, "--no-such-flag")
    assert "error: invalid argument: --no-such-flag" in raised.value.stderr


def parsed(child: LlamaServer, *arguments: str) -> object:
    command = [str(environment()), str(_ARGUMENTS), *arguments]
    variables = {**os.environ, **child.environment()}
    return json.loads(subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout)
