"""Parts that many tests share, and a clean environment for all of them."""

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from llm.embedded.cosine import CosineClassifier
from llm.embedded.matcher import Matcher, matcher
from prompts.taxonomy_places import PLACES
from tests.support.shared_models import shared_models

os.environ["HF_HUB_OFFLINE"] = "1"


_LONG = 1_800  # seconds: these tests start real model servers, train, or put minutes of load on the service
_LONG_MARKERS = ("soak", "package", "slow")
# The longest files, which come first: one of them at the end would run while the other process has nothing to do.
_FIRST = (
    "test_notebooks.py", "test_page.py", "test_trouble.py", "test_endpoints.py", "test_benchmarks.py", "test_main.py",
    "test_day.py", "test_docs.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; give tests of real engines, soak tests and slow tests a longer limit than usual."""
    items.sort(key=lambda item: _FIRST.index(item.path.name) if item.path.name in _FIRST else len(_FIRST))
    for item in items:
        long = item.path.parent.name == "engines" or any(map(item.get_closest_marker, _LONG_MARKERS))
        if long and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_LONG))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while modules are imported, and later only among what came after them.

    Every full collection looked through millions of objects that live as long as the process.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def models_of_this_process() -> Iterator[None]:
    """A model is loaded once, not by every command and every application that a test builds in this process."""
    with shared_models():
        yield


@pytest.fixture(scope="session")
def embedded() -> Matcher:
    """The embedded classifier that the program answers with, loaded once."""
    return matcher()


@pytest.fixture(scope="session")
def plain(embedded: Matcher) -> CosineClassifier:
    """MiniLM as it comes, by the nearest label descriptions."""
    return CosineClassifier(embedded.encoder)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests may reach them."""
    for name in list(os.environ):
        if name.startswith(("MARQUEE_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MARQUEE_LABEL_CACHE", "false")  # nothing is written to the user's cache folder


@pytest.fixture(autouse=True)
def known_files_of_taxonomies() -> Iterator[None]:
    """A taxonomy that a test reads from a file is no file's taxonomy in the next test."""
    before = dict(PLACES)
    yield
    PLACES.clear()
    PLACES.update(before)


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder: no ``.env`` of the person who runs the tests, no cache of the last run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
