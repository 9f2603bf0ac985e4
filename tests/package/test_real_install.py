"""The wheel with what it depends on, from the package index: ``make test-package`` prints sizes and times."""

from __future__ import annotations

import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

from tests.package.conftest import ROOT, Environment
from tests.package.test_wheel import NOT_IN_BASE, PLOT

pytestmark = pytest.mark.package
MOST_MEGABYTES = 450
FILMS = str(ROOT / "data" / "sample" / "films.jsonl")
LABELLED = ["--data", FILMS, "--text-field", "plot", "--labels-field", "tmdb_genres"]
# What must work with these extras.
COMMANDS = {
    "": [["classify", PLOT], ["similar", PLOT], ["bulk", FILMS, "--out", "labelled.csv", "--text-field", "plot"]],
    "service": [["keys", "add", "me"]],
    "llm": [["bulk", FILMS, "--text-field", "plot", "--batch-file", "requests.jsonl"]],
    "parquet,eval": [
        ["bulk", FILMS, "--out", "labelled.parquet", "--text-field", "plot"],
        ["evaluate", *LABELLED, "--limit", "20", "--out", "run"],
    ],
    "all": [
        ["split", FILMS, "--text-field", "plot", "--labels-field", "tmdb_genres", "--out", "split.json"],
        ["train", "minilm-mlp", *LABELLED, "--split-file", "split.json", "--out", "model"],
    ],
}


@pytest.fixture(params=list(COMMANDS), ids=lambda extras: extras or "base")
def with_extras(request: pytest.FixtureRequest, wheel: Path, tmp_path: Path) -> tuple[str, Environment]:
    """An environment with the wheel and a set of extras; size and time are printed."""
    found = Environment(tmp_path / "environment")
    venv.create(found.folder, with_pip=False, symlinks=True)
    wanted = f"marquee[{request.param}] @ {wheel.as_uri()}" if request.param else str(wheel)
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(found.python), "install", "--quiet", wanted], check=True
    )
    seconds = time.perf_counter() - start
    size = megabytes(found)
    with request.getfixturevalue("capsys").disabled():
        print(f"\nmarquee[{request.param}]: {size:,} MB in site-packages, installed in {seconds:.0f} s")
    return request.param, found


def megabytes(environment: Environment) -> int:
    """What ``du -sm`` tells of its site-packages."""
    (site,) = environment.folder.glob("lib/python*/site-packages")
    return int(subprocess.run(["du", "-sm", site], capture_output=True, text=True, check=True).stdout.split()[0])


def test_commands_work_with_their_extras_alone(with_extras: tuple[str, Environment], tmp_path: Path) -> None:
    extras, environment = with_extras
    settings = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"} if extras == "llm" else {}
    for arguments in COMMANDS[extras]:
        printed = environment.run(environment.marquee, *arguments, cwd=tmp_path, **settings)
        assert printed.returncode == 0, printed.stderr
    if not extras:
        assert megabytes(environment) <= MOST_MEGABYTES
        left_out = [name for name in NOT_IN_BASE.split(",") if "." not in name]
        script = f"from importlib.util import find_spec; print([name for name in {left_out} if find_spec(name)])"
        assert environment.run(environment.python, "-c", script, cwd=tmp_path).stdout == "[]\n"
