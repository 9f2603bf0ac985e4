"""On a terminal: bars, colour and a readable log; in a pipe: plain text and JSON lines. Shell completion."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.answers import bars
from main import main
from marquee.serving import with_vllm
from marquee.settings import read_settings
from prompts import registry
from service.telemetry import configure_logging
from tests.support.misbehaving import endpoint, says

ROOT = Path(__file__).parents[2]
PLOT = "A smith forges a magic sword to free her kingdom."
SCORES = {"Fantasy": 0.75, "Science Fiction": 0.125, "War": 0.0}


# --- scores ---


def test_bars_are_aligned_and_as_long_as_the_scores() -> None:
    assert list(bars(SCORES, ["Fantasy"], 35, colour=False, blocks=False)) == [
        "  Fantasy          ######    0.750",
        "  Science Fiction  #         0.125",
        "  War                        0.000",
    ]
    halves = [line.count("█") for line in bars(SCORES, [], 35, colour=False, blocks=True)]
    assert halves == [6, 1, 0]


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_bars_fit_the_terminal(columns: int) -> None:
    lines = list(bars({**SCORES, "a label of many words" * 3: 0.5}, [], columns, colour=False, blocks=True))
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= max(columns, 35)


def test_only_labels_of_the_answer_are_green() -> None:
    first, *others = bars(SCORES, ["Fantasy"], 80, colour=True, blocks=True)
    assert first.startswith("\x1b[32m")
    assert not any("\x1b[32m" in line for line in others)


def on_a_terminal(*arguments: str, **variables: str) -> str:
    """Standard output of the program where it is a terminal of 80 columns."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    environment = {**clean, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **variables}
    process = subprocess.Popen([sys.executable, ROOT / "main.py", *arguments], stdout=writer, env=environment)
    os.close(writer)
    shown = b""
    while chunk := _read(reader):
        shown += chunk
    os.close(reader)
    assert process.wait(60) == 0
    return shown.decode().replace("\r\n", "\n")


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, 4096)
    except OSError:  # the program has ended
        return b""


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_bars_in_colour_unless_no_color_is_set(variables: dict[str, str], coloured: bool) -> None:
    shown = on_a_terminal("classify", PLOT, "--scores", **variables)
    assert "█" in shown
    assert ("\x1b[" in shown) == coloured


@pytest.mark.usefixtures("away")
def test_a_pipe_gets_plain_lines() -> None:
    lines = CliRunner().invoke(main, ["classify", PLOT, "--scores"]).stdout.splitlines()
    assert all(re.fullmatch(r"    \d\.\d{3}  [A-Z][\w ]+", line) for line in lines[1:])


# --- the log ---


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    ("log_format", "stream", "is_json"),
    [
        ("auto", Terminal, False), ("auto", io.StringIO, True),
        ("text", io.StringIO, False), ("json", Terminal, True),
    ],
)  # fmt: skip
def test_the_log_is_text_on_a_terminal_and_json_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch, log_format: str, stream: type[io.StringIO], is_json: bool
) -> None:
    written = stream()
    monkeypatch.setattr(sys, "stderr", written)
    configure_logging("info", log_format)
    logging.getLogger("service").info("request", extra={"fields": {"route": "/classify", "status": 200}})
    line = written.getvalue()
    if is_json:
        assert json.loads(line)["status"] == 200
    else:
        assert re.fullmatch(r"\d\d:\d\d:\d\d info    request  route=/classify status=200\n", line)


def test_the_format_of_the_log_is_a_setting(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings().log_format == "auto"
    monkeypatch.setenv("MARQUEE_LOG_FORMAT", "yaml")
    refused = CliRunner().invoke(main, ["serve"])
    assert "MARQUEE_LOG_FORMAT" in refused.stderr


# --- options in place of settings ---


@pytest.mark.usefixtures("away")
def test_options_of_the_endpoint_go_before_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_CLASSIFIER", "embedded")
    monkeypatch.setenv("MARQUEE_MODEL", "another")
    monkeypatch.setenv("OTHER_KEY", "sk-of-this-test")
    with endpoint(says('["War"]')) as server:
        arguments = ["classify", "x", "--base-url", server.url, "--model", "tiny", "--api-key-env", "OTHER_KEY"]
        result = CliRunner().invoke(main, arguments)
    assert result.stdout == "War\n", result.output
    assert server.requests[-1]["model"] == "tiny"
    assert server.headers[-1]["authorization"] == "Bearer sk-of-this-test"
    assert "tiny" in result.stderr


@pytest.mark.usefixtures("away")
def test_the_key_of_the_settings_is_not_sent_to_another_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-settings")
    with endpoint(says('["War"]')) as server:
        result = CliRunner().invoke(main, ["classify", "x", "--base-url", server.url])
    assert result.exit_code == 0, result.output
    assert not any("sk-of-the-settings" in value for headers in server.headers for value in headers.values())


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("classify", "x", "--model", "tiny"), "--model names a model at an endpoint; give --base-url"),
        (("classify", "x", "--api-key-env", "sk-secret"), "give the name of the variable that has the key"),
        (("classify", "x", "--url", "http://h", "--model", "m"), "--model: the service at --url has its own model"),
        (("classify", "x", "--base-url", "ftp://h"), "OPENAI_BASE_URL"),
        (("serve", "--model", "tiny"), "--model names a model at an endpoint; give --base-url"),
        (("serve", "--local", "x", "--base-url", "http://h/v1"), "--base-url: these are for an endpoint, and --local"),
        (("serve", "--vllm", "x", "--api-key-env", "K"), "--api-key-env: these are for an endpoint, and --vllm"),
        (("serve", "--trained", "x", "--taxonomy", "tmdb"), "--trained brings the taxonomy of its training"),
        (("serve", "--taxonomy", "tmbd"), "did you mean 'tmdb'"),
        (("serve", "--workers", "0"), "0 is not in the range 1<=x<=64"),
    ],
)
def test_options_that_cannot_work_are_one_line_without_a_key(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in (1, 2)
    assert said in result.stderr.splitlines()[-1]
    assert "sk-secret" not in result.output


@pytest.mark.usefixtures("away")
def test_the_model_of_a_vllm_server_may_have_another_name() -> None:
    settings, vllm = with_vllm("Qwen/Qwen2-7B-Instruct", model="films")
    assert settings.model == "films"
    assert settings.base_url == vllm.base_url


# --- completion ---


def completed(line: str) -> list[str]:
    """The values that bash would be offered for the last word."""
    words = line.split(" ")
    variables = {"_MARQUEE_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    result = CliRunner().invoke(main, [], prog_name="marquee", env=variables)
    return [offered.partition(",")[2] for offered in result.stdout.splitlines()]


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("marquee eval", ["evaluate", "evaluate-similar"]),
        ("marquee train tfidf-l", ["tfidf-lr"]),
        ("marquee classify --taxonomy s", ["sentiment"]),
        ("marquee serve --taxonomy tm", ["tmdb"]),
        ("marquee taxonomies show em", ["emotions"]),
        ("marquee prompts show plot", ["plot", "plot.v1", "plot.v2"]),
        ("marquee classify --prompt comp", ["company", "company.v1", "company.v2"]),
        ("marquee classify --strategy ye", ["yes_no"]),
        ("marquee bulk --system emb", ["embedded"]),
        ("marquee evaluate --systems embedded,llm:j", ["embedded,llm:json_list"]),
        ("marquee train tfidf-lr --objective ma", ["macro"]),
    ],
)
def test_names_are_completed(line: str, offered: list[str]) -> None:
    assert completed(line) == offered


def test_all_taxonomies_are_offered_and_files_where_no_name_fits(away: Path) -> None:
    assert completed("marquee evaluate --taxonomy ") == sorted(registry.taxonomies())
    assert completed("marquee classify --taxonomy my.ya") == ["my.ya"]


def test_names_that_cannot_be_read_are_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "marquee.systems", None)  # as where a library is missing
    assert completed("marquee evaluate --systems emb") == ["emb"]


def test_trained_models_are_offered_as_systems(away: Path) -> None:
    folder = away / "var" / "models" / "hybrid-tmdb"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    assert completed("marquee evaluate --systems hyb") == ["hybrid-tmdb"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_printed(shell: str) -> None:
    result = CliRunner().invoke(main, [], prog_name="marquee", env={"_MARQUEE_COMPLETE": f"{shell}_source"})
    assert "_MARQUEE_COMPLETE" in result.stdout
