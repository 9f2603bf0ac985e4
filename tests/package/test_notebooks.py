"""Every notebook runs from top to bottom in a fresh kernel, in any folder, and is committed as it ran."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.package.conftest import ROOT, Environment
from tests.support.misbehaving import chats, endpoint, follows, says

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
_first, _last = NOTEBOOKS[0], NOTEBOOKS[4]  # import public names only; the others use modules of the repository


def _slow(value: Any) -> Any:
    """A notebook that takes half a minute more; another one runs in the same way."""
    return pytest.param(value, marks=pytest.mark.slow)


each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels start in an empty folder, and find no kernel of the person who runs the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))


def executed(path: Path, environment: Environment) -> nbformat.NotebookNode:
    """A notebook after a run in a fresh kernel of an environment."""
    specification = Path("jupyter/kernels/python3/kernel.json")
    specification.parent.mkdir(parents=True)
    argv = [str(environment.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    specification.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    return NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(Path.cwd())}}).execute()


# In `make test` the first one runs with the wheel, and the last one with a language model.
@pytest.mark.parametrize("path", [_slow(_first), *NOTEBOOKS[1:4], _slow(_last)], ids=lambda path: path.stem)
def test_a_notebook_runs_in_an_editable_install(path: Path, editable: Environment) -> None:
    assert all(_shown(cell) for cell in executed(path, editable).cells if cell.cell_type == "code")


@pytest.mark.parametrize("path", [_first, _slow(_last)], ids=lambda path: path.stem)
def test_a_notebook_of_public_names_runs_with_the_wheel(path: Path, installed: Environment) -> None:
    assert all(_shown(cell) for cell in executed(path, installed).cells if cell.cell_type == "code")


@pytest.mark.parametrize("number", [_slow(1), _slow(3), 5])
def test_a_language_model_of_an_env_file_answers_in_a_notebook(number: int, editable: Environment) -> None:
    with endpoint(follows(chats(says('["Drama"]')))) as served:
        Path(".env").write_text(f"OPENAI_BASE_URL={served.url}\nOPENAI_API_KEY=sk-test\nMARQUEE_MODEL=qwen\n")
        cells = executed(NOTEBOOKS[number - 1], editable).cells
    words = "\n".join(said for cell in cells if cell.cell_type == "code" for said in _shown(cell))
    assert ">llm</th>" in words, "a row or column of a table"
    assert "No endpoint" not in words


@each
def test_a_notebook_is_committed_with_its_outputs_and_they_are_small_and_tell_no_paths(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(_shown(cell) for cell in code)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run it from top to bottom"
    assert path.stat().st_size < 300_000
    words = "\n".join(str(output) for cell in code for output in cell.outputs)
    assert not re.search(r"(?<![\w.:/])/(?:home|root|tmp|Users|usr|work)/", words)


@each
def test_a_notebook_changes_no_search_path_and_no_working_directory(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert not re.search(r"sys\.path|chdir|^%cd|__file__|\.\./", source, re.MULTILINE)


def _shown(cell: nbformat.NotebookNode) -> list[str]:
    """What a cell put out, errors and warnings aside."""
    outputs = [one for one in cell.outputs if one.output_type != "error" and one.get("name") != "stderr"]
    return [said for one in outputs if (said := str(one.get("text") or one.get("data") or "").strip())]
