"""The README is short and true: its commands run, its settings exist, and its example is what the service answers."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from main import main
from marquee.serving import gguf_in_settings
from marquee.settings import Settings, environment_name, read_settings
from tests.support.process import service

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
_SHELL = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
LINES = [line.split("   #")[0] for block in _SHELL for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def test_it_is_short_and_has_pictures() -> None:
    assert len(README.splitlines()) <= 140
    assert len(README.split()) <= 900
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', README)
    assert len(pictures) == 4  # three, one of them light and dark
    assert all((ROOT / picture).is_file() for picture in pictures)
    assert all(len(alt) > 20 for alt in re.findall(r'alt="([^"]*)"', README))


def test_its_python_runs() -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code
    printed = subprocess.run([sys.executable, "-c", code[1]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.startswith("('billing',)")


def test_every_command_is_of_a_kind_that_is_tested_here() -> None:
    kinds = {re.sub(r"^(?:\w+=\S+ )+", "", line).split()[0] for line in LINES}
    assert kinds == {"curl", "make", "marquee"}


def test_its_requests_are_answered_as_shown() -> None:
    requests = [line for line in LINES if line.startswith("curl")]
    shown = re.search(r"```json\n(.*?)```", README, re.DOTALL)
    assert len(requests) == 2
    assert shown
    with service() as running:
        answers = [json.loads(_output(line.replace("http://127.0.0.1:5000", running.url))) for line in requests]
    assert answers[0] == json.loads(shown[1])
    assert [answer["labels"][:1] for answer in answers[1]["results"]] == [["billing"], ["crash"]]


def _output(line: str) -> str:
    return subprocess.run(["curl", "-s", *shlex.split(line)[1:]], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("marquee")])
def test_its_command_line_answers(line: str) -> None:
    result = CliRunner().invoke(main, shlex.split(line)[1:])
    assert result.exit_code == 0
    assert "Science Fiction" in result.output


def test_its_make_targets_exist() -> None:
    targets = set(re.findall(r"\bmake ([a-z-]+)", README))
    known = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"serve", "test", "wheel", "notebook"} <= targets <= known


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("line", [line for line in LINES if re.match(r"\w+=", line)])
def test_its_settings_for_a_language_model_are_read(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in re.findall(r"(\w+)=(\S+)", line):
        monkeypatch.setenv(name, value)
    settings = read_settings()
    assert settings.uses_language_model or gguf_in_settings()
    assert settings.model in line or gguf_in_settings() in line


def test_every_setting_that_is_named_exists() -> None:
    named = set(re.findall(r"\b((?:MARQUEE|OPENAI)_[A-Z_]+)\b", README))
    assert named <= {environment_name(field) for field in Settings.model_fields}


def test_its_results_are_those_of_the_results_page() -> None:
    page = (ROOT / "eval" / "RESULTS.md").read_text(encoding="utf-8")
    section = README.split("## Results")[1].split("<img")[0]
    numbers = re.findall(r"\b0\.\d{3}\b", section)
    assert len(numbers) == 15
    assert all(number in page for number in numbers)


def test_every_package_has_a_paragraph_on_the_page_about_the_architecture() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert "(docs/architecture.md)" in README
    for package in {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}:
        assert f"### `{package}/`" in page, package


@pytest.mark.usefixtures("away")
def test_other_machines_need_a_key_or_the_option_that_the_readme_names() -> None:
    from prompts.errors import InvalidSetting
    from service.access_control import access_control_of

    assert "HOST=0.0.0.0" in README
    assert "OPEN=1" in README
    assert "keys add NAME" in README
    assert "$(if $(OPEN),--allow-anonymous)" in (ROOT / "Makefile").read_text(encoding="utf-8")
    with pytest.raises(InvalidSetting, match=r"keys add NAME.*--allow-anonymous"):
        access_control_of(read_settings(host="0.0.0.0"))
    assert not access_control_of(read_settings(host="0.0.0.0", allow_anonymous=True)).needs_key
