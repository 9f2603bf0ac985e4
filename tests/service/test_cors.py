"""Pages of other origins: none may ask, but those that are named."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from llm.backends.backend import FakeBackend
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from marquee.settings import read_settings
from prompts.errors import InvalidSetting
from service.access_control import AccessControl, Keys
from service.app import create_app
from service.services import Services, build

SHOP, OTHER = "https://shop.example", "https://shop.example.evil"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}


def open_to(*origins: str, access: AccessControl = AccessControl()) -> FlaskClient:
    model = LanguageModel(FakeBackend(lambda conversation: '["War"]'), JSONList())
    parts = Services(lambda choice: model, lambda: None, lambda: None, "tmdb", access=access, origins=origins)
    return create_app(parts).test_client()


def told(reply: Any) -> dict[str, str]:
    return {name: value for name, value in reply.headers if name.startswith("Access-Control")}


def test_by_default_no_answer_speaks_of_other_origins() -> None:
    client = open_to()
    asked = client.post("/classify", json={"text": "x"}, headers={"Origin": SHOP})
    assert (asked.status_code, told(asked)) == (200, {})
    assert told(client.options("/classify", headers={"Origin": SHOP, **PREFLIGHT})) == {}


def test_a_named_origin_may_ask_and_read_the_answer() -> None:
    reply = open_to(SHOP).post("/classify", json={"text": "x"}, headers={"Origin": SHOP})
    assert told(reply)["Access-Control-Allow-Origin"] == SHOP
    assert "Retry-After" in told(reply)["Access-Control-Expose-Headers"]
    assert "Origin" in reply.headers["Vary"]


@pytest.mark.parametrize("origin", [OTHER, "http://shop.example", "https://SHOP.example", "null", ""])
def test_any_other_origin_may_not_and_caches_are_told_that_it_depends(origin: str) -> None:
    client = open_to(SHOP)
    for reply in (
        client.post("/classify", json={"text": "x"}, headers={"Origin": origin}),
        client.options("/classify", headers={"Origin": origin, **PREFLIGHT}),
    ):
        assert told(reply) == {}
        assert "Origin" in reply.headers["Vary"]


def test_a_preflight_is_answered_without_a_key_and_with_what_may_be_sent(tmp_path: Any) -> None:
    keys = Keys(tmp_path / "keys.json")
    keys.add("ada")
    client = open_to(SHOP, access=AccessControl(keys))
    reply = client.options("/classify", headers={"Origin": SHOP, **PREFLIGHT})
    assert reply.status_code == 200
    assert told(reply)["Access-Control-Allow-Methods"] == "GET, POST"
    assert {"Authorization", "Content-Type", "X-API-Key"} <= set(
        told(reply)["Access-Control-Allow-Headers"].split(", ")
    )
    refused = client.post("/classify", json={"text": "x"}, headers={"Origin": SHOP})
    assert (refused.status_code, told(refused)["Access-Control-Allow-Origin"]) == (401, SHOP), "a page can read why"


def test_credentials_and_wildcards_are_never_said() -> None:
    for headers in ({"Origin": SHOP}, {"Origin": SHOP, **PREFLIGHT}):
        reply = open_to(SHOP).options("/classify", headers=headers)
        assert "Access-Control-Allow-Credentials" not in reply.headers
        assert "*" not in told(reply).values()


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize(
    "origins", ["*", "https://*.example", "shop.example", "https://shop.example/", "https://A.example"]
)
def test_what_is_no_exact_origin_stops_the_start(origins: str) -> None:
    with pytest.raises(InvalidSetting, match="MARQUEE_CORS_ORIGINS: should be exact origins"):
        read_settings(cors_origins=origins)


@pytest.mark.usefixtures("away")
def test_the_setting_reaches_the_service() -> None:
    settings = read_settings(cors_origins=f"{SHOP}, http://localhost:3000")
    assert build(settings).origins == (SHOP, "http://localhost:3000")
