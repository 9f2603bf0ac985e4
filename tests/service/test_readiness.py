"""What every GET would otherwise compute: the readiness check, and the OpenAPI document."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from llm.backends.backend import FakeBackend
from llm.classifier import Problem
from llm.language_model import LanguageModel
from marquee.settings import read_settings
from service.app import create_app
from service.openapi import document
from service.routes import Readiness
from service.services import Services, build
from tests.support.misbehaving import body, endpoint

DOWN = Problem("unreachable", "no connection to 127.0.0.1:9")


class Checked:
    """A check that counts, and may be held."""

    def __init__(self, found: Problem | None = None) -> None:
        self.found, self.times = found, 0
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def __call__(self) -> Problem | None:
        self.times += 1
        self.begun.set()
        assert self.go_on.wait(30)
        return self.found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr("service.routes.time.monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("found", [None, DOWN])
def test_a_result_is_used_for_a_second(found: Problem | None, clock: list[float]) -> None:
    checked = Checked(found)
    readiness = Readiness(checked)
    assert [readiness() for _ in range(50)] == [found] * 50
    assert checked.times == 1
    checked.found = None if found else DOWN
    clock[0] += 0.99
    assert readiness() == found
    clock[0] += 0.02
    assert readiness() == checked.found
    assert checked.times == 2


def test_of_many_who_ask_at_once_one_runs_the_check() -> None:
    checked = Checked(DOWN)
    checked.go_on.clear()
    readiness = Readiness(checked)
    with ThreadPoolExecutor(16) as pool:
        waiting = [pool.submit(readiness) for _ in range(16)]
        assert checked.begun.wait(30)
        checked.go_on.set()
        assert [one.result(30) for one in waiting] == [DOWN] * 16
    assert checked.times == 1


def test_while_a_check_hangs_the_last_result_is_given(clock: list[float]) -> None:
    checked = Checked()
    readiness = Readiness(checked)
    assert readiness() is None
    clock[0] += 2
    checked.begun.clear()
    checked.go_on.clear()
    checked.found = DOWN
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(readiness)
        assert checked.begun.wait(30)
        assert readiness() is None
        checked.go_on.set()
        assert hanging.result(30) == DOWN
    assert (readiness(), checked.times) == (DOWN, 2)


def test_a_check_that_raises_is_tried_again() -> None:
    faults = [OSError("first"), None]

    def check() -> Problem | None:
        if fault := faults.pop(0):
            raise fault
        return DOWN

    readiness = Readiness(check)
    with pytest.raises(OSError, match="first"):
        readiness()
    assert readiness() == DOWN


def client(check: Callable[[], Problem | None]) -> FlaskClient:
    model = LanguageModel(FakeBackend(lambda conversation: '["War"]'))
    return create_app(Services(lambda choice: model, check, lambda: None, "tmdb")).test_client()


def test_readyz_asks_once_a_second() -> None:
    checked = Checked(DOWN)
    http = client(checked)
    assert [http.get("/readyz").status_code for _ in range(20)] == [503] * 20
    assert checked.times == 1


def test_a_crowd_of_probes_is_one_request_to_the_endpoint(away: Path) -> None:
    with endpoint(body(200, {"object": "list", "data": [{"id": "m", "object": "model"}]})) as server:
        app = create_app(build(read_settings(openai_base_url=server.url, model="m", strategy="json_list")))
        assert app.test_client().get("/readyz").status_code == 200
        asked = len(server.requests)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: app.test_client().get("/readyz").status_code, range(40)))
        assert found == [200] * 40
        assert len(server.requests) <= asked + 2, "the crowd may take longer than a second"


def test_the_openapi_document_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Flask] = []

    def counted(app: Flask) -> dict[str, Any]:
        made.append(app)
        return document(app)

    monkeypatch.setattr("service.routes.document", counted)
    http = client(lambda: None)
    first, *others = [http.get("/openapi.json") for _ in range(5)]
    assert len(made) == 1
    assert first.get_json()["openapi"] == "3.1.0"
    assert {one.data for one in others} == {first.data}
    assert first.mimetype == "application/json"
    client(lambda: None).get("/openapi.json")
    assert len(made) == 2, "another application has a document of its own"
