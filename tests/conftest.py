"""Parts that many tests share, and a clean environment for all of them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm.embedded.cosine import CosineClassifier
from llm.embedded.matcher import Matcher, matcher
from prompts.taxonomy_places import PLACES

os.environ["HF_HUB_OFFLINE"] = "1"


_LONG = 1_800  # seconds: these tests start real model servers, train, or put minutes of load on the service
_LONG_MARKERS = ("soak", "package", "slow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests of real engines, soak tests and slow tests a longer limit than the one in ``pyproject.toml``."""
    for item in items:
        long = item.path.parent.name == "engines" or any(map(item.get_closest_marker, _LONG_MARKERS))
        if long and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_LONG))


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
