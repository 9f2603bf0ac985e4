"""vLLM as a child process, replaced by a small server that fails and ends on command."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner

from llm.backends.child_server import ServerFailed
from llm.backends.vllm_server import FLAGS, VLLMOptions, VLLMServer
from main import main
from marquee.serving import with_vllm
from tests.support.fake_server import LAST_WORDS, ended, lives, notes, runs, soon
from tests.support.fake_server import vllm as build
from tests.support.process import service

NAME = "org/model"


@pytest.fixture(autouse=True)
def frequent_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of a test is up in less than the half second between two checks."""
    monkeypatch.setattr("llm.backends.child_server._POLL_SECONDS", 0.05)


def server(folder: Path, mode: str = "serves", seconds: float = 0, **options: Any) -> VLLMServer:
    return VLLMServer(NAME, "served", VLLMOptions(environment=build(folder, mode, seconds), **options), folder / "logs")


# --- start and stop ---


def test_it_is_healthy_when_start_returns_and_leaves_nothing_when_stopped(tmp_path: Path) -> None:
    vllm = server(tmp_path)
    vllm.start()
    with urllib.request.urlopen(vllm.base_url.replace("/v1", "/health")) as reply:
        assert reply.status == 200
    assert runs(tmp_path)
    vllm.stop()
    assert ended(tmp_path)
    assert list((tmp_path / "logs").iterdir()) == []
    vllm.stop()


def test_it_is_started_with_our_flags_and_the_users_and_under_our_name_and_address(tmp_path: Path) -> None:
    vllm = server(tmp_path, max_model_len=4096, arguments=("--port", "1", "--dtype", "half"))
    vllm.start()
    vllm.stop()
    argv = notes(tmp_path)["argv"][1:]
    assert argv[:2] == ["--model", NAME]
    assert " ".join(FLAGS) in " ".join(argv)
    assert argv[argv.index("--max-model-len") + 1] == "4096"
    assert argv[-6:] == ["--served-model-name", "served", "--host", "127.0.0.1", "--port", str(vllm.port)]
    assert "half" in argv


def test_the_key_is_random_and_not_on_the_command_line(tmp_path: Path) -> None:
    vllm, other = server(tmp_path), VLLMServer(NAME, NAME)
    assert vllm.api_key != other.api_key
    vllm.start()
    vllm.stop()
    told = notes(tmp_path)
    assert told["VLLM_API_KEY"] == vllm.api_key
    assert vllm.api_key not in " ".join(told["argv"])


def test_our_folder_does_not_stand_before_vllms_own_packages(tmp_path: Path) -> None:
    vllm = server(tmp_path)
    vllm.start()
    vllm.stop()
    assert notes(tmp_path)["path"][0] == str(tmp_path)


def test_progress_has_the_seconds_and_the_last_line_of_the_log(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    vllm = server(tmp_path, seconds=1)
    vllm.start(lambda seconds, words: told.append((seconds, words)))
    vllm.stop()
    assert told[-1][0] > told[0][0]
    assert told[-1][1] == "Loading weights: 50%"


def test_a_start_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(seconds: float, words: str) -> None:
        if words:
            raise KeyboardInterrupt

    vllm = server(tmp_path, "hangs")
    with pytest.raises(KeyboardInterrupt):
        vllm.start(interrupt)
    assert ended(tmp_path)


def test_a_forked_process_cannot_stop_it(tmp_path: Path) -> None:
    vllm = server(tmp_path)
    vllm.start()
    child = os.fork()
    if not child:
        vllm.stop()
        os._exit(0)
    os.waitpid(child, 0)
    assert runs(tmp_path)
    vllm.stop()


# --- what goes wrong ---


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("memory", f"there is not enough memory for {NAME}: set MARQUEE_VLLM_MAX_MODEL_LEN lower"),
        ("cache", "not enough memory"),
        ("port", "was taken before vLLM could listen on it"),
        ("length", "supports fewer tokens than MARQUEE_VLLM_MAX_MODEL_LEN"),
        ("hub", f"cannot find the model {NAME}"),
        ("device", "finds no usable GPU"),
        ("odd", "vLLM did not start (status 1): ValueError: the moon is in the wrong phase"),
    ],
)
def test_a_failed_start_has_a_message_and_leaves_only_its_log(tmp_path: Path, mode: str, said: str) -> None:
    vllm = server(tmp_path, mode)
    with pytest.raises(ServerFailed) as raised:
        vllm.start()
    assert said in str(raised.value)
    assert str(vllm.log) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert LAST_WORDS[mode] in vllm.log.read_text()
    assert ended(tmp_path)


def test_without_vllm_the_requirements_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match=r"not installed for .*requirements-vllm\.txt.*MARQUEE_VLLM_PYTHON"):
        VLLMServer(NAME, NAME, folder=tmp_path).start()


def test_a_missing_interpreter_and_a_missing_model_folder_are_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="no interpreter /no/python; see MARQUEE_VLLM_PYTHON"):
        VLLMServer(NAME, NAME, VLLMOptions("/no/python"), tmp_path / "logs").start()
    with pytest.raises(ServerFailed, match=r"no model folder \./nothing"):
        VLLMServer("./nothing", NAME, folder=tmp_path / "logs").start()
    assert not (tmp_path / "logs").exists()


def test_a_death_later_on_is_told_and_its_other_processes_are_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vllm = server(tmp_path)
    with caplog.at_level(logging.ERROR):
        vllm.start()
        with pytest.raises((urllib.error.URLError, OSError)):
            urllib.request.urlopen(vllm.base_url.replace("/v1", "/die"))
        assert soon(lambda: "vLLM ended by itself" in caplog.text)
    assert "Loading weights: 50%" in caplog.text
    assert ended(tmp_path)
    vllm.stop()
    assert vllm.log.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_it_ends_with_us_even_when_we_are_killed(tmp_path: Path) -> None:
    build(tmp_path)
    script = (
        "import sys, time; from pathlib import Path; from llm.backends.vllm_server import *\n"
        f"VLLMServer('org/m', 'm', folder=Path({str(tmp_path)!r})).start(); print('up', flush=True); time.sleep(600)"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}", "FAKE_SERVER_NOTES": str(tmp_path / "notes.json")}
    with subprocess.Popen([sys.executable, "-c", script], env=os.environ | environment, stdout=subprocess.PIPE) as ours:
        assert ours.stdout
        assert ours.stdout.readline() == b"up\n"
        ours.kill()
    told = notes(tmp_path)["pids"]
    assert soon(lambda: not lives(told[0]))
    os.kill(told[1], signal.SIGKILL)  # the real engine ends with its server's SIGTERM; this stand-in knows no better


# --- the command line ---


def test_serve_starts_asks_and_stops_it(tmp_path: Path) -> None:
    settings = {"MARQUEE_CACHE": "false", "MARQUEE_PROBE_PATH": str(tmp_path / "probe.json")}
    with service("--vllm", NAME, **settings, **build(tmp_path, seconds=1)) as running:
        answer = httpx2.post(f"{running.url}/classify", json={"text": "a plot"}, timeout=60).json()
        assert (answer["labels"], answer["model"]) == (["War"], NAME)
        assert "Loading weights: 50%" in running.printed
        assert f"Answers: {NAME} at http://127.0.0.1:" in running.printed
        assert notes(tmp_path)["VLLM_API_KEY"] not in running.printed
        assert running.stop() == 0
    assert ended(tmp_path)


def test_serve_stays_up_when_it_dies_and_readyz_says_so(tmp_path: Path) -> None:
    settings = {"MARQUEE_CACHE": "false", "MARQUEE_PROBE_PATH": str(tmp_path / "probe.json")}
    with service("--vllm", **settings, **build(tmp_path)) as running:
        assert httpx2.get(f"{running.url}/readyz").status_code == 200
        os.kill(notes(tmp_path)["pids"][0], signal.SIGKILL)
        assert soon(lambda: httpx2.get(f"{running.url}/readyz").status_code == 503)
        assert "is the model server up?" in httpx2.get(f"{running.url}/readyz").json()["detail"]
        assert soon(lambda: "vLLM ended by itself" in running.printed)
        assert ended(tmp_path)
        assert httpx2.get(f"{running.url}/healthz").status_code == 200
        assert running.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_stopped_while_it_waits_leaves_nothing(tmp_path: Path, number: int) -> None:
    with service("--vllm", **build(tmp_path, "hangs")) as running:
        assert soon(lambda: "Loading weights" in running.printed)
        running.process.send_signal(number)
        assert running.process.wait(120) != 0
        assert "Traceback" not in running.printed
    assert ended(tmp_path)


def test_serve_tells_a_failure_in_one_line(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)  # this process is the tests' own
    result = CliRunner().invoke(main, ["serve", "--port", "0", "--vllm", "./nothing"])
    assert (result.exit_code, result.stderr) == (1, "Error: there is no model folder ./nothing\n")


def test_a_wrong_setting_is_told_before_vllm_is_started(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VLLMServer, "start", lambda self, told: pytest.fail("it was started"))
    monkeypatch.setenv("MARQUEE_TAXONOMY", "tmbd")
    result = CliRunner().invoke(main, ["serve", "--port", "0", "--vllm"])
    assert (result.exit_code, "did you mean 'tmdb'" in result.stderr) == (1, True)


def test_vllm_goes_before_what_else_the_settings_say_about_who_answers(
    away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-elsewhere")  # alone it would mean OpenAI, which has no Qwen2
    monkeypatch.setenv("MARQUEE_LOCAL_MODEL", "somewhere")
    settings, vllm = with_vllm("")
    assert settings.uses_language_model
    assert (settings.base_url, settings.local_model) == (vllm.base_url, "")
    assert settings.openai_api_key.get_secret_value() == vllm.api_key


def test_answers_carry_the_name_of_the_model_that_gave_them(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, str] = {}

    def note(self: VLLMServer, told: Any) -> None:
        names["found"] = self.command[-5]
        raise ServerFailed("far enough")

    monkeypatch.setattr(VLLMServer, "start", note)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    (away / "tiny").mkdir()
    for set_to, model, served in (("", "org/x", "org/x"), ("", "./tiny", "tiny"), ("mine", "./tiny", "mine")):
        monkeypatch.setenv("MARQUEE_MODEL", set_to)
        assert CliRunner().invoke(main, ["serve", "--port", "0", "--vllm", model]).exit_code == 1
        assert names["found"] == served


def test_it_watches_in_a_thread_that_does_not_hold_us_up(tmp_path: Path) -> None:
    vllm = server(tmp_path)
    vllm.start()
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "child server")
    vllm.stop()
