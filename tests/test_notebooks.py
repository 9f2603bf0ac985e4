"""Every notebook runs from top to bottom in a fresh kernel, with the sample alone, and is committed as it ran."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each
def test_a_notebook_runs_and_shows_what_it_shows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_CLASSIFIER", "embedded")  # goes before an endpoint in a developer's .env
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    assert all(_shown(cell) for cell in notebook.cells if cell.cell_type == "code")


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
