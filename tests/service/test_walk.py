"""A request touches few files: those whose functions ``POST /classify`` with the embedded classifier enters."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import pytest

from marquee.settings import read_settings
from service.access_control import access_control_of
from service.app import create_app
from service.services import build
from tests.test_architecture import MAY_IMPORT

ROOT = Path(__file__).parent.parent.parent
MOST_FILES = 18
PLOT = "A retired detective follows a series of murders through a city in the rain."


@contextmanager
def entered_files() -> Iterator[list[str]]:
    """Files of this repository in which a function is called, in the order of their first call.

    Threads that start inside the block count.
    """
    files: dict[str, None] = {}

    def note(frame: FrameType, event: str, arg: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in MAY_IMPORT:
            files.setdefault(str(path.relative_to(ROOT)))

    found: list[str] = []
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        found += files


def test_a_classify_request_enters_few_files(tmp_path: Path) -> None:
    """A warm request: the model is loaded, and the answer is in no cache."""
    settings = read_settings(cache_path=tmp_path / "cache", keys_path=tmp_path / "keys.json")
    services = replace(build(settings), access=access_control_of(settings))
    client = create_app(services).test_client()
    assert client.post("/classify", json={"description": "An orphan learns magic."}).status_code == 200
    with entered_files() as files:
        response = client.post("/classify", json={"description": PLOT})
    assert response.status_code == 200
    assert response.get_json()["genres"]
    if len(files) > MOST_FILES:
        listed = "\n".join(f"{place:2}. {file}" for place, file in enumerate(files, 1))
        pytest.fail(f"{len(files)} files; at most {MOST_FILES}:\n{listed}")
