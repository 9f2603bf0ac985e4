"""docs/decisions-api.md tells the truth: its examples run against a running service."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llm.embedded.matcher import Matcher
from marquee.settings import Settings, environment_name
from service.app import create_app
from service.decisions import ScoreDecider
from service.schemas.decisions import DecisionRequest
from service.schemas.systemone import SystemOneRequest
from service.services import Services
from tests.support.served import served_at

PAGE = (Path(__file__).parent.parent.parent / "docs" / "decisions-api.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:5000"


@pytest.fixture(scope="module")
def url(embedded: Matcher) -> Iterator[str]:
    decider = ScoreDecider(embedded, embedded.predict)
    with served_at(
        create_app(Services(lambda choice: embedded, lambda: None, lambda: None, "tmdb", decider=decider))
    ) as at:
        yield at


def block(language: str, place: int = 0) -> str:
    """A block of a language: of /v1/decisions the first one, of /v1/systemone the second."""
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found[place]


def sent(command: str, url: str) -> Any:
    """What curl would be answered."""
    _, _, method, address, _, header, _, body = shlex.split(command)
    name, value = header.split(": ")
    reply = httpx2.request(method, address.replace(ADDRESS, url), headers={name: value}, content=body, timeout=600)
    return reply.raise_for_status().json()


def like(one: Any, other: Any) -> bool:
    """The same, but for what another processor makes of the numbers."""
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, abs=0.05)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(like(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(like, one, other))
    return bool(one == other)


@pytest.mark.parametrize("place", [0, 1])
def test_curl_is_answered_as_shown(url: str, place: int) -> None:
    assert like(sent(block("sh", place), url), json.loads(block("json", place)))


def test_the_official_client_runs_as_shown(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block("python").replace(ADDRESS, url), "decisions-api.md", "exec"), {})
    model, late, team, confidence = capsys.readouterr().out.split()
    assert (model, team) == ("embedded/matcher.v2", "shipping")
    assert 0.5 < float(late) <= 1
    assert 0 < float(confidence) <= 1


def test_every_field_and_setting_that_is_named_exists() -> None:
    names = DecisionRequest.model_fields.keys() | SystemOneRequest.model_fields.keys()
    assert names <= set(re.findall(r"[`\"](\w+)[`\"]", PAGE))
    named = set(re.findall(r"(?:MARQUEE|OPENAI)_[A-Z_]+", PAGE))
    assert named <= {environment_name(field) for field in Settings.model_fields}
