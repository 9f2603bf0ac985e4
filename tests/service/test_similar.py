"""POST /similar, through Flask's client."""

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from llm.embedded.matcher import Matcher
from service.app import create_app
from service.schemas.routes import SimilarAnswer
from service.services import Limits, Services
from similarity.encoders.minilm import MiniLM
from similarity.index.builder import FilmSource, IndexEncoder, build
from similarity.index.reloading import live
from similarity.index.search import Similar
from tests.service.test_classify import problem_of
from tests.similarity.films import films
from tests.similarity.words import Words

LIMITS = Limits(body_bytes=100_000, text_chars=1_000)


def served(embedded: Matcher, folder: Path | None, encoder: IndexEncoder) -> FlaskClient:
    similar = Similar(live(folder, encoder), encoder)
    parts = Services(lambda choice: embedded, lambda: None, lambda: None, "tmdb", LIMITS, similar=lambda: similar)
    return create_app(parts).test_client()


@pytest.fixture(scope="module")
def client(embedded: Matcher, tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    folder = tmp_path_factory.mktemp("index")
    build(folder, FilmSource(films(200), ""), Words())
    return served(embedded, folder, Words())


@pytest.mark.parametrize("route", ["/similar", "/suggest"])
def test_a_text_gets_ten_films(client: FlaskClient, route: str) -> None:
    answer = client.post(route, json={"text": "w1 w2 w3"}).get_json()
    assert answer.keys() == SimilarAnswer.model_fields.keys() - {"query_film"}
    assert len(answer["films"]) == 10
    assert list(answer["films"][0]) == ["id", "title", "year", "genres", "score"]
    assert answer["model"] == "words"
    assert answer["index"] == {"version": "000001", "films": 200, "kind": "flat"}


def test_a_film_of_the_catalogue_is_asked_about_by_id_or_title(client: FlaskClient) -> None:
    by_id, by_title = (client.post("/similar", json=sent).get_json() for sent in ({"id": "f7"}, {"title": "FILM 7"}))
    assert by_id == by_title
    assert by_id["query_film"] == {"id": "f7", "title": "Film 7", "year": 1957, "genres": ["Comedy"]}
    assert "f7" not in {film["id"] for film in by_id["films"]}


def test_filters_and_k_are_kept_to(client: FlaskClient) -> None:
    asked = {"description": "w1", "k": 3, "genres": ["war"], "year_from": 1960, "year_to": 1990}
    found = client.post("/similar", json=asked).get_json()["films"]
    assert len(found) == 3
    assert all(film["genres"] == ["War"] and 1960 <= film["year"] <= 1990 for film in found)


@pytest.mark.parametrize(
    ("sent", "field", "said"),
    [
        ({}, "text", "empty"),
        ({"text": " "}, "text", "empty"),
        ({"text": "a", "k": 0}, "k", "1 or more"),
        ({"text": "a", "k": 101}, "k", "100 or less"),
        ({"text": "a", "k": True}, "k", "k is true; give a whole number"),
        ({"text": "a", "description": "b"}, None, "names of the same field"),
        ({"text": "a", "id": "f7"}, None, "either id or text"),
        ({"text": "a", "genres": "War"}, "genres", "give a list"),
        ({"text": "a", "genre": ["War"]}, "genre", "did you mean 'genres'"),
        ({"text": "a", "year_from": 1990, "year_to": 1980}, None, "1990 is after year_to 1980"),
        ({"text": "a", "year_from": "1990"}, "year_from", "whole number"),
    ],
)
def test_what_breaks_a_rule_is_422_and_names_the_field(
    client: FlaskClient, sent: Any, field: str | None, said: str
) -> None:
    body = problem_of(client.post("/similar", json=sent), 422, "invalid-request")
    assert body.get("field") == field
    assert said in body["detail"]


def test_names_that_the_catalogue_does_not_know_are_404(client: FlaskClient) -> None:
    assert problem_of(client.post("/similar", json={"id": "f9999"}), 404, "unknown-film")["field"] == "id"
    body = problem_of(client.post("/similar", json={"text": "a", "genres": ["Wra"]}), 404, "unknown-genre")
    assert "did you mean 'war'" in body["detail"]


def test_too_long_a_text_is_413(client: FlaskClient) -> None:
    problem_of(client.post("/similar", json={"text": "a" * 1_001}), 413, "text-too-long")


def test_without_an_index_it_says_how_to_make_one(embedded: Matcher, tmp_path: Path) -> None:
    client = served(embedded, tmp_path / "none", Words())
    body = problem_of(client.post("/similar", json={"text": "a"}), 503, "no-index")
    assert "main.py index" in body["detail"]


def test_another_encoders_index_is_not_searched(embedded: Matcher, tmp_path: Path) -> None:
    build(tmp_path, FilmSource(films(3), ""), Words())
    client = served(embedded, tmp_path, MiniLM())
    assert "built with words" in problem_of(client.post("/similar", json={"text": "a"}), 503, "no-index")["detail"]


def test_out_of_the_box_the_sample_films_are_compared(embedded: Matcher, away: Path) -> None:
    assert isinstance(embedded.encoder, MiniLM)
    answer = served(embedded, None, embedded.encoder).post(
        "/similar", json={"text": "Astronauts are stalked by a creature aboard their spaceship.", "k": 5}
    )
    found = answer.get_json()
    assert found["index"]["films"] == 200
    assert (away / "var" / "index" / "sample" / "current").exists()
    assert any("Science Fiction" in film["genres"] for film in found["films"])


def test_the_root_tells_of_it(client: FlaskClient) -> None:
    assert "POST /similar" in client.get("/").get_json()["routes"]
