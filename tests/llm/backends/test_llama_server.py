"""llama.cpp as a child process, replaced by a small ``llama-server`` that fails and ends on command.

``test_vllm_server.py`` tests what both servers share.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner

from llm.backends import llama_server
from llm.backends.child_server import ServerFailed
from llm.backends.gguf_file import header
from llm.backends.llama_server import FLAGS, LlamaOptions, LlamaServer, launcher
from llm.backends.lora_adapter import load_adapter
from main import main
from marquee.serving import gguf_in_settings, with_gguf
from prompts import registry
from tests.llm.backends.test_gguf_adapter import adapter
from tests.llm.backends.test_gguf_adapter import model as sized_model
from tests.support.fake_server import LAST_WORDS, ended, llama, notes, soon
from tests.support.gguf_header import write_gguf
from tests.support.process import service

OPTIONS = LlamaOptions(4096, threads=3)


@pytest.fixture(autouse=True)
def frequent_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of a test is up in less than the half second between two checks."""
    monkeypatch.setattr("llm.backends.child_server._POLL_SECONDS", 0.05)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "coder-0.5b.gguf")


def server(folder: Path, model: Path, patch: pytest.MonkeyPatch, mode: str = "serves") -> LlamaServer:
    for name, value in llama(folder, mode).items():
        patch.setenv(name, value)
    return LlamaServer(model, OPTIONS, folder / "logs")


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the program nor the package is installed."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(llama_server, "find_spec", lambda name: None)


def test_it_is_started_with_the_flags_for_classification(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = server(tmp_path, model, monkeypatch)
    child.start()
    child.stop()
    assert ended(tmp_path)
    started = notes(tmp_path)
    assert started["argv"][1:] == [
        *("--model", str(model), "--alias", "coder-0.5b"),
        *FLAGS,
        *("--threads", "3", "--parallel", "3", "--ctx-size", "4096"),
        *("--host", "127.0.0.1", "--port", str(child.port)),
    ]
    assert started["LLAMA_API_KEY"] == child.api_key
    assert child.api_key not in " ".join(started["argv"])
    assert (started["LLAMA_ARG_LOG_VERBOSITY"], started["LLAMA_ARG_CACHE_RAM"]) == ("2", "512")


def test_a_variable_of_llama_server_that_is_set_stays(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_ARG_CACHE_RAM", "64")
    monkeypatch.setenv("LLAMA_API_KEY", "sk-elsewhere")
    child = server(model.parent, model, monkeypatch)
    assert {**os.environ, **child.environment()}["LLAMA_ARG_CACHE_RAM"] == "64"
    assert child.environment()["LLAMA_API_KEY"] == child.api_key


@pytest.mark.parametrize(("threads", "slots"), [(1, 2), (2, 2), (3, 3), (4, 4), (64, 4)])
def test_two_to_four_requests_share_the_weights(threads: int, slots: int) -> None:
    assert LlamaOptions(threads=threads).slots == slots


def test_the_same_file_has_the_same_port_and_so_its_cached_answers(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = server(tmp_path, model, monkeypatch).port
    assert LlamaServer(model, OPTIONS).port == first
    with socket.create_server(("127.0.0.1", first)):
        assert LlamaServer(model, OPTIONS).port != first
    os.utime(model, (1, 1))
    assert LlamaServer(model, OPTIONS).port != first, "another file may give other answers"


def test_without_llama_server_the_package_is_started(
    model: Path, monkeypatch: pytest.MonkeyPatch, no_program: None
) -> None:
    with pytest.raises(ServerFailed) as raised:
        LlamaServer(model, OPTIONS)
    assert "llama-server on the PATH" in str(raised.value)
    assert "requirements-gguf.txt" in str(raised.value)
    monkeypatch.setattr(llama_server, "find_spec", lambda name: type("Spec", (), {"origin": __file__}))
    command = LlamaServer(model, OPTIONS).command
    assert command[:3] == launcher(sys.executable)
    assert Path(command[2]).is_file()


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("truncated", "{model} is truncated or damaged; download it again"),
        ("architecture", "does not know {model}'s architecture starling; install a newer one"),
        ("tokenizer", "does not know {model}'s tokenizer starling"),
        ("bind", "port {port} was taken before llama.cpp could listen on it"),
        ("kv", "not enough memory for {model} with a context of 4096 tokens; set MARQUEE_GGUF_CONTEXT lower"),
        ("argument", "this llama-server does not know --kv-unified; install a newer one"),
        ("load", "llama.cpp cannot load {model}: missing tensor 'output_norm.weight'"),
        ("adapter", "llama.cpp cannot add the adapter to {model}: model arch and LoRA arch mismatch"),
        ("odd", "llama.cpp did not start (status 1): ValueError: the moon is in the wrong phase"),
    ],
)
def test_a_failed_start_has_a_message_and_leaves_only_its_log(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, mode: str, said: str
) -> None:
    child = server(tmp_path, model, monkeypatch, mode)
    with pytest.raises(ServerFailed) as raised:
        child.start()
    assert said.format(model=model, port=child.port) in str(raised.value)
    assert str(child.log) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert LAST_WORDS[mode] in child.log.read_text()
    assert ended(tmp_path)


def test_a_file_that_is_no_model_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ServerFailed, match=r"no file .*missing\.gguf"):
        server(tmp_path, tmp_path / "missing.gguf", monkeypatch).start()
    assert not (tmp_path / "logs").exists()


# --- settings ---


def test_the_settings_suit_a_slow_server_with_few_slots_unless_they_are_set(
    away: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = server(away, model, monkeypatch)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-elsewhere")
    monkeypatch.setenv("MARQUEE_LOCAL_MODEL", "somewhere")
    monkeypatch.setenv("MARQUEE_MODEL", "another")
    settings, ours = with_gguf(str(model))
    assert settings.uses_language_model
    assert (settings.base_url, settings.local_model, settings.model) == (ours.base_url, "", child.name)
    assert settings.openai_api_key.get_secret_value() == ours.api_key
    assert (settings.concurrency, settings.timeout) == (ours.options.slots, 120)
    assert ours.options.context == 8192
    settings, ours = with_gguf(str(model), concurrency=1, timeout=5, gguf_context=1024)
    assert (settings.concurrency, settings.timeout, ours.options.context) == (1, 5, 1024)


def test_an_adapter_is_converted_and_served_under_a_name_of_its_own(
    away: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = sized_model(tmp_path)
    plain = server(away, base, monkeypatch)
    folder = adapter(tmp_path / "films")
    monkeypatch.setenv("MARQUEE_ADAPTER", str(folder))
    monkeypatch.setenv("MARQUEE_CACHE_PATH", str(tmp_path / "cache" / "answers.sqlite"))
    settings, ours = with_gguf(str(base))
    name = f"model+films@{load_adapter(folder).digest}"
    assert (settings.model, settings.adapter, ours.name) == (name, "", name)
    command = ours.command
    assert command[command.index("--alias") + 1] == name
    file = Path(command[command.index("--lora") + 1])
    assert [file] == list((tmp_path / "cache").iterdir())
    assert header(file)["general.type"] == "adapter"
    assert "--lora" not in plain.command
    assert with_gguf(str(base))[1].port == ours.port != plain.port
    adapter(folder, lora_alpha=7)
    assert with_gguf(str(base))[1].port != ours.port, "another adapter gives other answers"


@pytest.mark.usefixtures("away")
def test_serve_refuses_an_adapter_of_another_model_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = sized_model(tmp_path, block_count=3)
    monkeypatch.setattr(LlamaServer, "start", lambda self, told: pytest.fail("it was started"))
    folder = adapter(tmp_path / "films")
    result = CliRunner().invoke(main, ["serve", "--port", "0", "--gguf", str(base), "--adapter", str(folder)])
    assert result.exit_code == 1
    assert f"Error: the adapter in {folder} was trained on org/base, a model with 2 layers, and {base}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.usefixtures("away")
def test_the_embedded_classifier_goes_before_a_file_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gguf_in_settings() == ""
    monkeypatch.setenv("MARQUEE_GGUF", "m.gguf")
    assert gguf_in_settings() == "m.gguf"
    monkeypatch.setenv("MARQUEE_CLASSIFIER", "embedded")
    assert gguf_in_settings() == ""


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--vllm", "x"), "give one of --vllm, --gguf: each of them chooses the classifier"),
        (("--local", "x"), "give one of --local, --gguf"),
        (("--trained", "x"), "give one of --trained, --gguf"),
        (("--base-url", "http://h/v1"), "--base-url: these are for an endpoint, and --gguf needs none"),
        (("--model", "m"), "--model: these are for an endpoint, and --gguf needs none"),
    ],
)
def test_another_option_that_chooses_the_classifier_is_an_error(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(main, ["serve", "--gguf", "m.gguf", *arguments])
    assert result.exit_code == 2
    assert said in result.stderr.splitlines()[-1]


# --- the command line ---


@pytest.mark.parametrize("by_option", [True, False], ids=["options", "settings"])
def test_serve_answers_with_an_adapter_as_it_was_trained(tmp_path: Path, by_option: bool) -> None:
    base, folder = sized_model(tmp_path), adapter(tmp_path / "films")
    taxonomy = registry.taxonomy("sentiment")
    manifest = {"taxonomy": taxonomy.as_json(), "strategy": "json_list", "prompts": []}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    stored = {"MARQUEE_CACHE_PATH": str(tmp_path / "answers"), "MARQUEE_PROBE_PATH": str(tmp_path / "probe.json")}
    named = {} if by_option else {"MARQUEE_GGUF": str(base), "MARQUEE_ADAPTER": str(folder)}
    options = ("--gguf", str(base), "--adapter", str(folder)) if by_option else ()
    with service(*options, **named, **stored, **llama(tmp_path)) as running:
        assert httpx2.get(f"{running.url}/readyz").json()["model"] == f"model+films@{load_adapter(folder).digest}"
        assert httpx2.get(f"{running.url}/version").json()["strategy"] == "json_list"
        assert f"The adapter was trained for {taxonomy.versioned_name}" in running.printed
        assert (
            f"The weights of {base} cannot be compared with those of org/base; layers and sizes agree."
            in running.printed
        )
        assert running.stop() == 0


def test_serve_starts_requests_and_stops_it(tmp_path: Path, model: Path) -> None:
    settings = {"MARQUEE_CACHE": "false", "MARQUEE_PROBE_PATH": str(tmp_path / "probe.json")}
    with service("--gguf", str(model), "--workers", "2", **settings, **llama(tmp_path, seconds=1)) as running:
        answer = httpx2.post(f"{running.url}/classify", json={"text": "a plot"}, timeout=60).json()
        assert (answer["labels"], answer["model"]) == (["War"], "coder-0.5b")
        assert "Starting llama.cpp; its log: var/llama.cpp-" in running.printed
        assert "Answers: coder-0.5b at http://127.0.0.1:" in running.printed
        assert notes(tmp_path)["LLAMA_API_KEY"] not in running.printed
        assert running.stop() == 0
    assert ended(tmp_path)


def test_serve_of_the_setting_stays_up_when_it_dies_and_readyz_says_so(tmp_path: Path, model: Path) -> None:
    settings = {
        "MARQUEE_GGUF": str(model),
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "MARQUEE_CACHE": "false",
        "MARQUEE_PROBE_PATH": str(tmp_path / "probe.json"),
    }
    with service(**settings, **llama(tmp_path)) as running:
        assert httpx2.get(f"{running.url}/readyz").json() == {"status": "ready", "model": "coder-0.5b"}
        os.kill(notes(tmp_path)["pids"][0], signal.SIGKILL)
        assert soon(lambda: httpx2.get(f"{running.url}/readyz").status_code == 503)
        assert soon(lambda: "llama.cpp ended by itself" in running.printed)
        assert httpx2.get(f"{running.url}/healthz").status_code == 200
        assert running.stop() == 0
    assert ended(tmp_path)


def test_a_server_that_never_becomes_healthy_is_ended_with_the_service(tmp_path: Path, model: Path) -> None:
    with service("--gguf", str(model), **llama(tmp_path, "hangs")) as running:
        assert soon(lambda: "Loading weights" in running.printed)
        assert running.stop() != 0
        assert "Traceback" not in running.printed
    assert ended(tmp_path)


@pytest.mark.usefixtures("no_program")
def test_serve_without_llama_cpp_is_one_line(away: Path, model: Path) -> None:
    result = CliRunner().invoke(main, ["serve", "--port", "0", "--gguf", str(model)])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: llama.cpp is not installed: put its llama-server on the PATH")
    assert len(result.stderr.splitlines()) == 1
