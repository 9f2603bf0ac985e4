"""A request touches few files: those whose functions ``POST /classify`` with the embedded classifier enters."""

from dataclasses import replace
from pathlib import Path

import pytest

from marquee.settings import read_settings
from prompts.taxonomy_places import PLACES
from service.access_control import access_control_of
from service.app import create_app
from service.services import build
from tests.support.walk import check_at_most, entered_files

MOST_FILES = 18
PLOT = "A retired detective follows a series of murders through a city in the rain."


def test_a_classify_request_enters_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warm request for the built-in taxonomy: the model is loaded, and the answer is in no cache."""
    PLACES.clear()  # no file is read, beside which a tuning could be
    monkeypatch.setattr("service.classification.LOOK_EVERY", 1e9)  # calibrations were looked at a moment ago
    settings = read_settings(
        cache_path=tmp_path / "cache", keys_path=tmp_path / "keys.json", learned_path=tmp_path / "none"
    )
    services = replace(build(settings), access=access_control_of(settings))
    client = create_app(services).test_client()
    assert client.post("/classify", json={"description": "An orphan learns magic."}).status_code == 200
    with entered_files() as files:
        response = client.post("/classify", json={"description": PLOT})
    assert response.status_code == 200
    assert response.get_json()["genres"]
    check_at_most(files, MOST_FILES)
