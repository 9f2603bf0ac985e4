"""Lengths of labels are limited, in requests and in YAML files; the error names the field and the limit."""

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from llm.embedded.matcher import Matcher
from prompts.errors import InvalidTaxonomy
from prompts.taxonomy_file import load_taxonomy
from service.app import create_app
from service.services import Services
from similarity.index.builder import FilmSource, build
from similarity.index.reloading import live
from similarity.index.search import Similar
from tests.service.test_classify import problem_of
from tests.similarity.films import films as some_films
from tests.similarity.words import Words

LONG_LABELS = [
    ("x" * 501, "labels.1", "501 characters; at most 500"),
    ({"name": "é" * 10_000}, "labels.1.name", "10,000 characters; at most 500"),
    ({"name": "a", "description": "word " * 1_000}, "labels.1.description", "5,000 characters; at most 4,000"),
    ({"name": "a", "aliases": ["b", "c" * 1_000_000]}, "labels.1.aliases.1", "1,000,000 characters; at most 500"),
    ({"name": "a", "aliases": [f"a{n}" for n in range(101)]}, "labels.1.aliases", "101 aliases; at most 100"),
]


@pytest.fixture(scope="module")
def client(embedded: Matcher) -> FlaskClient:
    return create_app(Services(lambda choice: embedded, lambda: None, lambda: None, "tmdb")).test_client()


@pytest.fixture(scope="module")
def films(embedded: Matcher, tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    folder, words = tmp_path_factory.mktemp("index"), Words()
    build(folder, FilmSource(some_films(20), ""), words)
    similar = Similar(live(folder, words), words)
    parts = Services(lambda choice: embedded, lambda: None, lambda: None, "tmdb", similar=lambda: similar)
    return create_app(parts).test_client()


@pytest.mark.parametrize(("label", "field", "said"), LONG_LABELS)
def test_a_long_label_of_a_request_is_422(client: FlaskClient, label: Any, field: str, said: str) -> None:
    body = problem_of(
        client.post("/classify", json={"text": "a plot", "labels": ["Drama", label]}), 422, "invalid-request"
    )
    assert str(body["field"]).startswith(field)
    assert said in body["detail"]
    assert len(body["detail"]) < 200, "the label itself is not repeated"


@pytest.mark.parametrize(("label", "field", "said"), LONG_LABELS[1:])
def test_a_long_label_of_a_file_is_an_error(tmp_path: Path, label: dict[str, Any], field: str, said: str) -> None:
    import yaml

    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump({"labels": [{"name": "Drama"}, label]}, allow_unicode=True), encoding="utf-8")
    with pytest.raises(InvalidTaxonomy) as raised:
        load_taxonomy(file)
    assert field in str(raised.value)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({"type": "choice", "choices": [{"value": "a" * 501}, {"value": "b"}]}, "choices.0.value"),
        ({"type": "choice", "choices": [{"value": "a"}, {"value": "b", "description": "b" * 4_001}]}, "1.description"),
        ({"type": "score", "levels": [{"label": "a"}, {"label": "b" * 10_000}]}, "levels.1.label"),
    ],
)
def test_a_long_option_of_a_decision_is_422(client: FlaskClient, question: dict[str, Any], field: str) -> None:
    sent = {"model": "marquee", "input": "a plot", "questions": [{"instructions": "Which?", **question}]}
    body = problem_of(client.post("/v1/decisions", json=sent), 422, "invalid-request")
    assert field in str(body["field"])
    assert "at most" in body["detail"]


def test_labels_at_the_limit_are_accepted(client: FlaskClient) -> None:
    labels = [{"name": "a" * 500, "description": "b " * 2_000, "aliases": ["c" * 500]}, "Drama"]
    assert client.post("/classify", json={"text": "a plot", "labels": labels}).status_code == 200


@pytest.mark.parametrize(
    ("route", "sent", "slug"),
    [
        ("/classify", {"text": "a", "taxonomy": "x" * 1_000_000}, "unknown-taxonomy"),
        ("/classify", {"text": "a", "prompt": "x" * 1_000_000}, "unknown-prompt"),
        ("/classify", {"text": "a", "strategy": "x" * 1_000_000}, "unknown-strategy"),
        ("/similar", {"id": "x" * 1_000_000}, "unknown-film"),
        ("/similar", {"title": "x" * 40_000}, "unknown-film"),
        ("/similar", {"text": "a", "genres": ["x" * 1_000_000]}, "unknown-genre"),
    ],
)
def test_an_unknown_name_of_any_length_is_quoted_in_part(films: FlaskClient, route: str, sent: Any, slug: str) -> None:
    body = problem_of(films.post(route, json=sent), 404, slug)
    assert "'xxx" in body["detail"]
    assert len(body["detail"]) < 2_000
