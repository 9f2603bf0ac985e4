"""The scikit-learn estimator against endpoints that refuse fields: it sends what the service and the CLI send."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm.backends.endpoint import Address
from marquee.sklearn import MarqueeClassifier
from prompts.errors import InvalidSetting
from prompts.taxonomy import Label, Taxonomy
from tests.support.misbehaving import (
    Behaviour,
    Endpoint,
    body,
    chats,
    endpoint,
    follows,
    like_gpt_5,
    refuses,
    says,
    serves,
)

MOODS = Taxonomy("moods", tuple(map(Label, ("Comedy", "Horror", "War"))), max_labels=3, allow_none=True)
LABELS = '{"labels": ["War"]}'


def estimator(server: Endpoint, **given: Any) -> MarqueeClassifier:
    return MarqueeClassifier(MOODS, base_url=server.url, model="m", **{"strategy": "json_list", **given})


def chats_of(server: Endpoint) -> list[Any]:
    return [asked for asked in server.requests if asked and "messages" in asked]


def has_system(path: str, asked: Any) -> Behaviour | None:
    roles = [one["role"] for one in asked["messages"]] if asked and "messages" in asked else []
    return body(400, {"error": {"message": "System role not supported"}}) if "system" in roles else None


def refusing(field: str, message: str, **error: Any) -> Behaviour:
    return follows(refuses(field, {"error": {"message": message, **error}}), chats(says(LABELS)))


@pytest.mark.parametrize(
    ("behaviour", "sends"),
    [
        pytest.param(like_gpt_5(LABELS), lambda sent: sent["max_completion_tokens"] > 2_000, id="gpt-5"),
        pytest.param(
            refusing("max_tokens", "Use 'max_completion_tokens' instead of 'max_tokens', which is unsupported"),
            lambda sent: "max_completion_tokens" in sent and sent["temperature"] == 0,
            id="max_tokens",
        ),
        pytest.param(
            refusing("temperature", "`temperature` is deprecated for this model."),
            lambda sent: "temperature" not in sent and "max_tokens" in sent,
            id="temperature",
        ),
        pytest.param(
            refusing("response_format", "response_format is not supported"),
            lambda sent: "response_format" not in sent,
            id="response_format",
        ),
        pytest.param(
            refusing("response_format.json_schema.schema.properties.labels.minItems", "'minItems' is not permitted.",
                     param="response_format"),
            lambda sent: "response_format" in sent,
            id="a keyword of the schema",
        ),
        pytest.param(
            follows(has_system, chats(says(LABELS))),
            lambda sent: [one["role"] for one in sent["messages"]] == ["user"],
            id="no system role",
        ),
    ],
)  # fmt: skip
def test_a_refused_field_is_avoided_and_later_texts_pay_no_more(
    behaviour: Behaviour, sends: Callable[[Any], bool], away: Path
) -> None:
    with endpoint(behaviour) as server:
        assert estimator(server).predict_names(["a soldier"]) == [("War",)]
        before = len(server.requests)
        assert estimator(server).predict_names(["another", "a third"]) == [("War",)] * 2
        assert len(server.requests) == before + 2
        assert all(map(sends, chats_of(server)[-2:]))
    assert not list(away.iterdir()), "a library writes no files unless one is named"


def test_findings_are_kept_where_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_PROBE_PATH", str(tmp_path / "findings.json"))
    with endpoint(refusing("temperature", "`temperature` is deprecated for this model.")) as server:
        estimator(server).predict(["a soldier"])
        assert Address.parse(server.url).base_url in (tmp_path / "findings.json").read_text()


@pytest.mark.parametrize(
    "extra", ['{"reasoning_effort": "low"}', '{"chat_template_kwargs": {"enable_thinking": false}}', '{"seed": 7}']
)
def test_fields_of_the_user_go_with_every_request(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoint(says(LABELS)) as server:
        estimator(server).predict(["before"])
        monkeypatch.setenv("MARQUEE_EXTRA_BODY", extra)
        before = len(server.requests)
        estimator(server).predict(["after"])
        sent = [one for one in server.requests[before:] if one and "messages" in one]
    assert sent
    assert all(one.items() >= json.loads(extra).items() for one in sent)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("MARQUEE_EXTRA_BODY", "[]", "should be a JSON object"),
        ("MARQUEE_EXTRA_BODY", "{", "should be a JSON object"),
        ("MARQUEE_EXTRA_BODY", '{"messages": []}', "cannot set messages"),
        ("MARQUEE_REASONING_TOKENS", "many", "give a whole number"),
    ],
)
def test_a_variable_without_sense_is_an_error_that_names_it(
    variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    given = MarqueeClassifier(MOODS, base_url="http://127.0.0.1:9/v1", model="m", strategy="json_list")
    with pytest.raises(InvalidSetting, match=f"{variable}.* {words}"):
        given.predict(["a soldier"])


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://x/v1", "should be a URL"),
        ("http://u:secret@x:99999/v1", "port"),
        ("https://x.openai.azure.com/openai/deployments/d", "api-version"),
    ],
)
def test_an_endpoint_that_cannot_work_is_an_error(url: str, words: str) -> None:
    with pytest.raises(InvalidSetting, match=words) as raised:
        MarqueeClassifier(MOODS, base_url=url, model="m", strategy="json_list").predict(["a soldier"])
    assert "secret" not in str(raised.value)


def test_azure_gets_its_query_and_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k-of-azure")
    monkeypatch.setattr(Address, "is_azure", True)
    paths: list[str] = []

    def noted(path: str, asked: Any) -> None:
        paths.append(path)

    with endpoint(follows(noted, serves("/chat/completions", says(LABELS)))) as server:
        url = f"{server.url.removesuffix('/v1')}/openai/deployments/d?api-version=2024-10-21"
        one = MarqueeClassifier(MOODS, base_url=url, model="m", strategy="json_list")
        assert one.predict_names(["a soldier"]) == [("War",)]
    assert "/openai/deployments/d/chat/completions?api-version=2024-10-21" in paths
    assert {headers.get("api-key") for headers in server.headers} == {"k-of-azure"}
    assert not any("authorization" in headers for headers in server.headers)
