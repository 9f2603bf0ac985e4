"""Cached answers belong to the API key that asked first, unless the settings share them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from llm.calibration.thresholds import LabelThreshold, ThresholdStore
from marquee.backends import backend_of
from marquee.factory import RequestOptions, language_model
from marquee.settings import read_settings
from prompts import registry
from prompts.text import Text
from service.access_control import AccessControl, Keys
from service.app import create_app
from service.classification import LOOK_EVERY, Calibrations
from service.services import build
from tests.support.misbehaving import Endpoint, endpoint, says
from tests.test_main import weighing_endpoint

BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/classify", {"text": "A war."}),
    ("/classify", {"texts": ["A war.", "Another war."]}),
    ("/predict_genre", {"description": "A war.", "labels": ["War", "Peace"]}),
]


@pytest.fixture
def model() -> Iterator[Endpoint]:
    with endpoint(says('{"labels": ["War"]}')) as running:
        yield running


def client(model: Endpoint, folder: Path, locked: bool = True, **set_: Any) -> tuple[FlaskClient, dict[str, str]]:
    """The service, and a key of each of two clients."""
    settings = read_settings(
        openai_base_url=model.url, strategy="json_list", cache_path=folder / "c", probe_path=folder / "p", **set_
    )
    keys = Keys(folder / "keys.json")
    tokens = {name: keys.add(name) for name in ("ada", "bob")}
    parts = build(settings)
    return create_app(
        replace(parts, access=AccessControl(keys, locked=True)) if locked else parts
    ).test_client(), tokens


def cached(client: FlaskClient, route: str, body: dict[str, Any], token: str = "") -> bool:
    answer = client.post(route, json=body, headers={"X-API-Key": token}).get_json()
    return all(one["cached"] for one in answer.get("results", [answer]))


@pytest.mark.parametrize(("route", "body"), BODIES)
def test_no_key_learns_from_the_cache_what_another_has_sent(
    model: Endpoint, away: Path, route: str, body: dict[str, Any]
) -> None:
    http, tokens = client(model, away)
    asked = ["ada", "bob", "ada", "ada", "ada", "bob", "bob"]
    assert [cached(http, route, body, tokens[name]) for name in asked] == [False, False, True, True, True, True, True]


@pytest.mark.parametrize(("route", "body"), BODIES)
def test_keys_share_answers_where_the_setting_says_so(
    model: Endpoint, away: Path, route: str, body: dict[str, Any]
) -> None:
    http, tokens = client(model, away, cache_shared=True)
    assert [cached(http, route, body, tokens[name]) for name in ("ada", "bob", "ada", "bob")] == [False, *[True] * 3]
    before = len(model.requests)
    assert cached(http, route, body, tokens["bob"])
    assert len(model.requests) == before


def test_without_keys_there_is_one_scope(model: Endpoint, away: Path) -> None:
    http, tokens = client(model, away, locked=False)
    assert [cached(http, *BODIES[0], token) for token in ("", tokens["ada"], tokens["bob"])] == [False, True, True]


def test_a_threshold_learned_meanwhile_applies_to_a_response_that_was_cached(
    away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.classification.LOOK_EVERY", 0)
    with endpoint(weighing_endpoint()) as running:
        settings = read_settings(
            openai_base_url=running.url, model="m", strategy="label_tokens", thresholds_path=away / "t.json",
            cache_path=away / "c", probe_path=away / "p",
        )  # fmt: skip
        http, body = create_app(build(settings)).test_client(), {"text": "A war.", "taxonomy": "sentiment"}
        before = [http.post("/classify", json=body).get_json() for _ in range(3)]
        assert [one["cached"] for one in before] == [False, True, True]
        model = language_model(backend_of(settings), settings, RequestOptions(), ThresholdStore())
        sentiment = registry.taxonomy("sentiment")
        key, other = model.threshold_key(Text("A war."), sentiment), sentiment.names[-1]
        assert before[0]["labels"] != [other]
        ThresholdStore(settings.thresholds_path).put(key, LabelThreshold(0.05, {other: 50.0}))
        after = [http.post("/classify", json=body).get_json() for _ in range(3)]
    assert [one["labels"] for one in after] == [[other]] * 3
    assert [one["cached"] for one in after] == [False, True, True]


def test_calibrations_are_looked_at_once_in_a_while(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("service.classification.time.monotonic", lambda: now[0])
    found, path = Calibrations(build(read_settings(thresholds_path=away / "t.json"))), away / "t.json"
    found.look()
    before = found.state
    path.write_text("{}")
    found.look()
    assert found.state == before
    now[0] += LOOK_EVERY
    found.look()
    assert found.state != before
    assert not found.has_sets


def test_a_key_made_again_under_the_same_name_finds_nothing_of_the_old_one(model: Endpoint, away: Path) -> None:
    http, tokens = client(model, away)
    assert [cached(http, *BODIES[0], tokens["ada"]) for _ in range(3)] == [False, True, True]
    keys = Keys(away / "keys.json")
    keys.revoke("ada")
    assert not cached(http, *BODIES[0], keys.add("ada"))
