"""The architecture: which package may import which, and what the command line may load at its start."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import llm

ROOT = Path(__file__).parent.parent
BELOW_MARQUEE = {"bulk", "corpus", "eval", "llm", "lookup", "prompts", "similarity", "tabular", "training"}
MAY_IMPORT = {
    "prompts": set(),
    "similarity": {"prompts"},
    "tabular": {"prompts"},
    "lookup": {"prompts"},
    "llm": {"prompts", "similarity"},
    "eval": {"llm", "prompts", "similarity", "tabular"},
    "bulk": {"llm", "prompts", "tabular"},
    "training": {"eval", "llm", "prompts", "similarity"},
    "corpus": {"eval", "lookup", "prompts", "tabular"},
    "marquee": BELOW_MARQUEE,
    "service": {"llm", "lookup", "marquee", "prompts", "similarity"},
    "benchmarks": BELOW_MARQUEE | {"marquee", "service"},
    "cli": BELOW_MARQUEE | {"marquee", "service"},
    "main": {"cli", "marquee", "prompts", "similarity"},
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
    yield "main", ROOT / "marquee" / "__main__.py"
    for package in MAY_IMPORT.keys() - {"main"}:
        for path in (ROOT / package).rglob("*.py"):
            if path.name != "__main__.py":
                yield package, path


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _imports(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """All imports of a file, at its top or inside a function; types, too."""
    return [node for node in ast.walk(_tree(path)) if isinstance(node, ast.Import | ast.ImportFrom)]


def _imported(path: Path) -> set[str]:
    """First parts of all modules that a file imports."""
    nodes = _imports(path)
    plain = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    named = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in plain | named}


def test_every_package_imports_only_packages_below_it() -> None:
    for package, path in _modules():
        above = (_imported(path) & MAY_IMPORT.keys()) - MAY_IMPORT[package] - {package}
        assert not above, f"{path.relative_to(ROOT)} imports {above}"


def test_no_package_is_left_out_of_the_table() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - {"tests"} == MAY_IMPORT.keys() - {"main"}


def _imported_files(path: Path) -> set[Path]:
    """Files of this project that a file imports."""
    names: set[str] = set()
    for node in _imports(path):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif node.module:
            names |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    files = {ROOT / f"{name.replace('.', '/')}.py" for name in names}
    return {file for file in files if file.is_file()}


def test_no_file_imports_itself_through_others() -> None:
    graph = {path: _imported_files(path) for package, path in _modules() if package != "main"}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the files


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for _, path in _modules()}
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}


def test_a_class_name_belongs_to_one_file() -> None:
    places: dict[str, list[str]] = {}
    for _, path in _modules():
        for node in _tree(path).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_packages_use_no_relative_imports() -> None:
    for _, path in _modules():
        assert not [node for node in _imports(path) if isinstance(node, ast.ImportFrom) and node.level], path


def test_llm_is_our_package_and_not_the_library_of_that_name() -> None:
    assert Path(str(llm.__file__)) == ROOT / "llm" / "__init__.py"


def test_the_command_line_starts_without_heavy_imports() -> None:
    script = "import json, sys, main; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(printed.stdout)}
    assert not loaded & HEAVY
