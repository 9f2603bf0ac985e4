"""The container files and the docs say what the code says. No image is built here: there is no Docker engine."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm.backends.vllm_server import FLAGS, VLLMServer
from marquee.settings import Settings, environment_name
from tests.test_architecture import MAY_IMPORT

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
# Continued lines count as one.
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
ENDPOINTS = (ROOT / "docs" / "language-models.md").read_text(encoding="utf-8")


def filled_in(value: str) -> str:
    """A value of compose.yaml with nothing set: its defaults."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def of_dockerfile(instruction: str) -> list[str]:
    return [line.removeprefix(instruction).strip() for line in DOCKERFILE if line.startswith(instruction + " ")]


def stage(name: str) -> list[str]:
    """The instructions of a stage, after its FROM."""
    start = next(n for n, line in enumerate(DOCKERFILE) if line.startswith("FROM ") and line.endswith(f" AS {name}"))
    rest = DOCKERFILE[start + 1 :]
    end = next((n for n, line in enumerate(rest) if line.startswith("FROM ")), len(rest))
    return [line for line in rest[:end] if line]


def test_each_profile_starts_what_belongs_together() -> None:
    profiles = {name: service["profiles"] for name, service in SERVICES.items()}
    assert profiles == {"marquee": ["cpu"], "marquee-gpu": ["gpu"], "vllm": ["gpu"]}
    assert SERVICES["marquee-gpu"]["depends_on"] == {"vllm": {"condition": "service_healthy"}}
    assert "depends_on" not in SERVICES["marquee"]


def test_vllm_gets_the_flags_that_we_start_it_with() -> None:
    command = [filled_in(part) for part in SERVICES["vllm"]["command"]]
    assert tuple(command[1 : 1 + len(FLAGS)]) == FLAGS
    ours = VLLMServer("Qwen/Qwen2-7B-Instruct", "Qwen/Qwen2-7B-Instruct").command
    assert SERVICES["vllm"]["entrypoint"][1:] == ours[1:3]
    assert _names(command) == _names(ours[3:])


def test_the_docs_give_a_separate_vllm_the_same_flags() -> None:
    shown = re.search(r"^vllm serve .*?[^\\]$", ENDPOINTS, re.MULTILINE | re.DOTALL)
    assert shown
    assert set(FLAGS) <= set(shlex.split(shown[0].replace("\\\n", " ")))


def test_defaults_are_those_of_the_settings() -> None:
    defaults = {environment_name(field): info.default for field, info in Settings.model_fields.items()}
    used = re.findall(r"\$\{(MARQUEE_\w+):-([^}]*)\}", json.dumps(COMPOSE))
    assert {name for name, _ in used} == {"MARQUEE_MODEL", "MARQUEE_VLLM_MAX_MODEL_LEN", "MARQUEE_PORT"}
    assert all(str(defaults[name]) == value for name, value in used)


def test_every_setting_given_to_the_service_exists() -> None:
    known = {environment_name(field) for field in Settings.model_fields}
    for name in ("marquee", "marquee-gpu"):
        assert SERVICES[name]["environment"].keys() <= known


def test_both_sides_have_the_same_key_and_no_key_is_written_down() -> None:
    key = SERVICES["vllm"]["environment"]["VLLM_API_KEY"]
    assert key == SERVICES["marquee-gpu"]["environment"]["OPENAI_API_KEY"] == "${OPENAI_API_KEY:-}"
    assert not any("--api-key" in part for part in SERVICES["vllm"]["command"])


def test_the_service_is_published_on_loopback_only_and_vllm_not_at_all() -> None:
    for name in ("marquee", "marquee-gpu"):
        assert [filled_in(port) for port in SERVICES[name]["ports"]] == ["127.0.0.1:5000:5000"]
    assert "ports" not in SERVICES["vllm"]
    assert SERVICES["marquee-gpu"]["environment"]["OPENAI_BASE_URL"] == "http://vllm:8000/v1"
    assert "--port=8000" in SERVICES["vllm"]["command"]
    assert ":8000/health" in SERVICES["vllm"]["healthcheck"]["test"][-1]


def test_a_service_that_asks_for_no_key_says_so_and_the_image_by_itself_does_not() -> None:
    for name in ("marquee", "marquee-gpu"):
        assert SERVICES[name]["environment"]["MARQUEE_ALLOW_ANONYMOUS"] == "true"
    assert not any(
        "MARQUEE_ALLOW_ANONYMOUS" in line or "--allow-anonymous" in line
        for line in DOCKERFILE
        if not line.startswith("#")
    )


def test_vllm_reserves_a_gpu_and_is_the_version_that_is_tested() -> None:
    (device,) = SERVICES["vllm"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    pinned = re.search(r"^vllm==(.+)$", (ROOT / "requirements-vllm.txt").read_text(), re.MULTILINE)
    assert pinned
    assert SERVICES["vllm"]["image"] == f"vllm/vllm-openai:v{pinned[1]}"


def test_the_image_serves_as_another_user_than_root_and_tells_its_health() -> None:
    assert "--uid 10001" in " ".join(of_dockerfile("RUN"))
    assert "HF_HUB_OFFLINE=1" in of_dockerfile("ENV")[0]
    for target in ("full", "cpu"):
        lines = [line for one in dict.fromkeys(("cpu-libraries", f"{target}-libraries", target)) for line in stage(one)]
        assert [line for line in lines if line.startswith("USER")] == ["USER 10001"]
        assert "EXPOSE 5000" in lines
        assert any(line.startswith("HEALTHCHECK") and "http://127.0.0.1:5000/readyz" in line for line in lines)
        (command,) = [line.removeprefix("CMD ") for line in lines if line.startswith("CMD")]
        assert json.loads(command)[1:5] == ["main.py", "serve", "--host", "0.0.0.0"]


def test_the_targets_differ_in_their_libraries_alone_and_cpu_is_the_default() -> None:
    assert of_dockerfile("FROM") == [
        "python:3.11-slim AS cpu-libraries", "cpu-libraries AS full-libraries", "scratch AS program",
        "full-libraries AS full", "cpu-libraries AS cpu",
    ]  # fmt: skip
    assert [line for line in stage("full") if not line.startswith("#")] == stage("cpu")
    (core,) = [line for line in stage("cpu-libraries") if line.startswith("RUN pip")]
    assert "-r requirements-core.txt" in core
    assert "--no-deps" in core.partition("&&")[2]
    assert "-r requirements.txt" not in core
    assert "-r requirements.txt" in " ".join(stage("full-libraries"))
    assert SERVICES["marquee"]["build"]["target"] == SERVICES["marquee-gpu"]["build"]["target"] == "cpu"


def test_all_that_the_program_needs_is_copied_and_nothing_secret() -> None:
    copied = {name for line in of_dockerfile("COPY") if "--from" not in line for name in line.split()[:-1]}
    assert copied == {
        "requirements.txt",
        "requirements-core.txt",
        "requirements-otel.txt",
        "main.py",
        "data",
        *(MAY_IMPORT.keys() - {"main", "benchmarks"}),
    }
    assert all((ROOT / name).exists() for name in copied)
    ignored = (ROOT / ".dockerignore").read_text().split("\n", 1)[1].split()
    assert ignored[0] == "*"
    assert {name.removeprefix("!") for name in ignored if name.startswith("!")} == copied


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    linted = subprocess.run(
        [Path(sys.executable).parent / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True
    )
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="no docker-compose here")
@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_compose_itself_takes_the_file(profile: str) -> None:
    command = ["docker-compose", "--profile", profile, "--file", str(ROOT / "compose.yaml"), "config", "--quiet"]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def _names(arguments: list[str]) -> set[str]:
    """The options given, by name."""
    return {part.partition("=")[0] for part in arguments if part.startswith("--")}
