"""What the build hook writes into the wheel."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from hatch_build import NAMES, PACKAGES, lay_out, rewritten
from tests.test_architecture import MAY_IMPORT

ROOT = Path(__file__).parents[2]
_MODULE = re.compile(rf"({'|'.join(sorted(NAMES | {'marquee'}))})(\.\w+)+")


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("from llm.classifier import Problem", "from marquee.llm.classifier import Problem"),
        ("from llm import (\n    classifier,\n)", "from marquee.llm import (\n    classifier,\n)"),
        ("from  llm import x", "from  marquee.llm import x"),
        ("x = 'ü'; from llm import x", "x = 'ü'; from marquee.llm import x"),
        ("import llm", "import marquee.llm as llm"),
        ("import llm as one", "import marquee.llm as one"),
        ("import llm.spending.costs as costs", "import marquee.llm.spending.costs as costs"),
        ("import llm.spending.costs", "import marquee.llm.spending.costs, marquee.llm as llm"),
        ("import os, eval, json", "import os, marquee.eval as eval, json"),
        (
            "def f():\n    from service import app",
            "def f():\n    from marquee.service import app",
        ),
        ("if x:\r\n    import llm\r\n", "if x:\r\n    import marquee.llm as llm\r\n"),
        ("from main import main", "from marquee.main import main"),
        ('"""`main.py serve`: a."""', '"""`marquee serve`: a."""'),
        ("f'{x} main.py {y} main.py'", "f'{x} marquee {y} marquee'"),
    ],
)
def test_imports_of_the_packages_and_the_name_of_the_command_are_rewritten(source: str, written: str) -> None:
    assert rewritten(source.encode()).decode() == written


@pytest.mark.parametrize(
    "source",
    [
        "from marquee.settings import read_settings",
        "from evaluate import load",
        "import llm_client, prompts_of_others.llm",
        "from .llm import x",
        "text = 'from llm import x'  # import llm, main.py",
        "llm.main.py()",
    ],
)
def test_everything_else_stays(source: str) -> None:
    assert rewritten(source.encode()).decode() == source


def test_the_wheel_has_every_file_and_no_import_of_a_top_level_package(
    tmp_path: Path,
) -> None:
    lay_out(ROOT, tmp_path / "marquee")
    laid_out = {str(path.relative_to(tmp_path / "marquee")) for path in (tmp_path / "marquee").rglob("*")}
    for name in PACKAGES:
        sources = (path for path in (ROOT / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        assert {str(path.relative_to(ROOT)) for path in sources} <= laid_out
    assert {"py.typed", "main.py", "__main__.py", "data/sample/films.jsonl"} <= laid_out
    for path in (tmp_path / "marquee").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            modules = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {module.partition(".")[0] for module in modules} & NAMES, path


def test_a_package_and_a_module_of_marquee_may_not_share_a_name(tmp_path: Path) -> None:
    for name in ("marquee", *PACKAGES, "data/sample"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "marquee" / "corpus.py").touch()
    with pytest.raises(FileExistsError, match=r"marquee/corpus\.py has the name of the package corpus/"):
        lay_out(tmp_path, tmp_path / "out")


def test_all_packages_but_the_benchmarks_are_in_the_wheel() -> None:
    assert {*PACKAGES, "marquee", "main", "benchmarks"} == MAY_IMPORT.keys()


def test_no_module_is_named_in_a_string() -> None:
    """Such a name would be wrong in one of the two layouts."""
    for name in (*PACKAGES, "marquee"):
        for path in (ROOT / name).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and _MODULE.fullmatch(node.value):
                    place = ROOT / node.value.replace(".", "/")
                    assert not place.is_dir(), f"{path}: {node.value!r}"
                    assert not place.with_suffix(".py").exists(), f"{path}: {node.value!r}"
