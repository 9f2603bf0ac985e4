"""The site of the documentation: its navigation has every page, and its hooks need no MkDocs to be tested."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hooks() -> Any:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / CONFIG["hooks"][0])
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _pages(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from _pages(part)


def test_the_navigation_has_every_page_once() -> None:
    assert sorted(_pages(CONFIG["nav"])) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_nothing_is_loaded_from_other_hosts() -> None:
    assert CONFIG["theme"]["font"] is False
    (script,) = CONFIG["extra"]["polyfills"]
    assert "iframe-worker" in script  # else the plugin offline adds its copy at unpkg.com
    for local in (script, *CONFIG["extra_css"]):
        assert "//" not in (DOCS / local).read_text(encoding="utf-8").replace("// ", "")


def test_the_requirements_are_pinned() -> None:
    lines = (ROOT / "requirements-site.txt").read_text(encoding="utf-8").splitlines()
    packages = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", package) for package in packages)


@pytest.mark.parametrize(
    ("uri", "markdown", "expected"),
    [
        ("results.md", "[a](../eval/RESULTS.md#b)", "[a](repository/eval/RESULTS.md#b)"),
        ("results.md", "[a](bulk.md)", "[a](bulk.md)"),
        ("examples/news.md", "[a](../../eval/RESULTS.md)", "[a](../repository/eval/RESULTS.md)"),
        ("README.md", "[a](../notebooks)", "[a](repository/notebooks/index.md)"),
        ("quick-start.md", "[a](examples)", "[a](examples/index.md)"),
        ("repository/README.md", "[a](docs/bulk.md)", "[a](../bulk.md)"),
        ("repository/README.md", '<img src="docs/images/report.png">', '<img src="../images/report.png">'),
        ("repository/notebooks/index.md", "- [a](01_first_look.ipynb)", "- [a](01_first_look.ipynb)"),
        ("bulk.md", "[a](https://example.org/b)", "[a](https://example.org/b)"),
        ("bulk.md", "```sh\n[a](../eval/RESULTS.md)\n```", "```sh\n[a](../eval/RESULTS.md)\n```"),
        ("bulk.md", "```yaml a/b.yaml\nx: 1\n```", '```yaml title="a/b.yaml"\nx: 1\n```'),
        ("bulk.md", "text\n- one\n  more\n- two", "text\n\n- one\n  more\n- two"),
    ],
)
def test_a_page_is_rewritten_for_the_site(hooks: Any, uri: str, markdown: str, expected: str) -> None:
    assert hooks.for_site(markdown, uri) == expected


def test_files_outside_docs_that_pages_link_to_are_on_the_site(hooks: Any) -> None:
    found = {path.relative_to(ROOT).as_posix() for path in hooks.linked_files()}
    assert {"eval/RESULTS.md", "benchmarks/RESULTS.md", "CONTRIBUTING.md", "notebooks", "docs/examples"} <= found
    assert not [name for name in found if name.startswith((".", "var", "data/"))]


def test_anchors_are_those_of_github(hooks: Any) -> None:
    assert hooks.anchor("Typed questions: POST /v1/decisions", "-") == "typed-questions-post-v1decisions"
