"""The plan of the house: which room may enter which, and what the front door may load."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import llm

ROOT = Path(__file__).parent.parent
MAY_ENTER = {
    "prompts": set(),
    "similarity": {"prompts"},
    "llm": {"prompts", "similarity"},
    "tabular": {"prompts"},
    "bulk": {"llm", "prompts", "similarity", "tabular"},
    "eval": {"llm", "prompts", "similarity", "tabular"},
    "lookup": {"prompts"},
    "corpus": {"eval", "lookup", "prompts", "tabular"},
    "service": {"llm", "lookup", "prompts", "similarity"},
    "benchmarks": {"bulk", "eval", "llm", "prompts", "similarity", "tabular"},
    "commands": {"bulk", "corpus", "eval", "llm", "lookup", "prompts", "service", "similarity", "tabular"},
    "main": {"commands", "prompts", "similarity"},
}
HEAVY = {
    "torch",
    "transformers",
    "sentence_transformers",
    "faiss",
    "sklearn",
    "numpy",
    "flask",
    "pydantic",
    "openai",
    "pyarrow",
    "openvino",
    "ray",
}


def _modules() -> Iterator[tuple[str, Path]]:
    yield "main", ROOT / "main.py"
    for room in MAY_ENTER.keys() - {"main"}:
        for path in (ROOT / room).rglob("*.py"):
            yield room, path


def _entered(path: Path) -> set[str]:
    """First parts of all modules that a file imports, at its top or inside a function."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    named = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in plain | named}


def test_every_room_enters_only_the_rooms_below_it() -> None:
    for room, path in _modules():
        own = _entered(path) & MAY_ENTER.keys()
        assert own <= MAY_ENTER[room] | {room}, f"{path.relative_to(ROOT)} enters {own - MAY_ENTER[room] - {room}}"


def test_no_room_is_left_out_of_the_plan() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms - {"tests"} == MAY_ENTER.keys() - {"main"}


def test_rooms_use_no_relative_imports() -> None:
    for _, path in _modules():
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        assert not [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level], path


def test_llm_is_our_room_and_not_the_package_of_that_name() -> None:
    assert Path(str(llm.__file__)) == ROOT / "llm" / "__init__.py"


def test_the_front_door_opens_without_heavy_imports() -> None:
    script = "import json, sys, main; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(printed.stdout)}
    assert not loaded & HEAVY
