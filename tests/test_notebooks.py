"""Every notebook runs from top to bottom in a fresh kernel, with the sample alone, and is committed as it ran."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.misbehaving import chats, endpoint, follows, says

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def executed(path: Path) -> nbformat.NotebookNode:
    """A notebook after a run in a fresh kernel."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    return NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()


@each
def test_a_notebook_runs_and_shows_what_it_shows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_CLASSIFIER", "embedded")  # goes before an endpoint in a developer's .env
    assert all(_shown(cell) for cell in executed(path).cells if cell.cell_type == "code")


@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_configured_language_model_answers_in_a_notebook(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = NOTEBOOKS[number - 1]
    with endpoint(follows(chats(says('["Drama"]')))) as served:
        for name, value in {
            "OPENAI_BASE_URL": served.url,
            "OPENAI_API_KEY": "sk-test",
            "MARQUEE_MODEL": "qwen",
        }.items():
            monkeypatch.setenv(name, value)
        words = "\n".join(said for cell in executed(path).cells if cell.cell_type == "code" for said in _shown(cell))
    assert "llm:json_list" in words
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


def _shown(cell: nbformat.NotebookNode) -> list[str]:
    """What a cell put out, errors and warnings aside."""
    outputs = [one for one in cell.outputs if one.output_type != "error" and one.get("name") != "stderr"]
    return [said for one in outputs if (said := str(one.get("text") or one.get("data") or "").strip())]
