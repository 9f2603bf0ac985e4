"""`main.py train`, and the service with what it made."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from main import main
from marquee.client import Client
from prompts import registry
from tests.support.process import ServiceProcess

pytestmark = pytest.mark.usefixtures("away")
FILMS = Path(__file__).parents[2] / "data" / "sample" / "films.jsonl"
TMDB, SENTIMENT = registry.taxonomy("tmdb"), registry.taxonomy("sentiment")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The sample's films, split."""
    rows = [json.loads(line) for line in FILMS.read_text(encoding="utf-8").splitlines()]
    for place, row in enumerate(rows):
        row["split"] = ("train", "train", "validation", "test")[place % 4]
    path = tmp_path / "films.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def call(data: Path, *arguments: str) -> Result:
    columns = ("--text-field", "plot", "--labels-field", "tmdb_genres", "--data", str(data))
    return CliRunner().invoke(main, ["train", *arguments, *columns], catch_exceptions=False)


def test_it_trains_saves_and_tells_how_good_it_is(data: Path, away: Path) -> None:
    result = call(data, "tfidf-lr", "--c", "2", "--decode", "global", "--objective", "micro", "--seed", "3")
    assert result.exit_code == 0, result.output
    assert "micro-F1" in result.stdout
    assert "saved in var/models/tfidf-lr-tmdb" in result.stderr
    manifest = json.loads((away / "var" / "models" / "tfidf-lr-tmdb" / "manifest.json").read_text())
    assert manifest["data"]["name"] == "films.jsonl"
    assert (manifest["data"]["train"]["rows"], manifest["data"]["validation"]["rows"]) == (100, 50)
    assert (manifest["settings"]["c"], manifest["seed"]) == (2, 3)
    assert (manifest["decoding"]["rule"], manifest["decoding"]["objective"]) == ("global", "micro")


def test_the_test_split_is_never_learnt_from(data: Path) -> None:
    for split in (("--split", "test"), ("--validation-split", "test")):
        result = call(data, "prior", *split)
        assert result.exit_code == 2
        assert "the test split is for reporting" in result.stderr
    assert "different splits" in call(data, "prior", "--split", "validation").stderr


def test_what_a_kind_does_not_have_is_told(data: Path) -> None:
    assert "prior has no option --trials; it is for minilm-mlp, hybrid" in call(data, "prior", "--trials", "3").stderr
    assert "Did you mean 'prior'" in call(data, "prio").stderr


def test_other_texts_of_its_films_are_learnt_too(data: Path, tmp_path: Path, away: Path) -> None:
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    others = [
        {"id": row["id"], "title": row["title"], "year": row["year"], "description": f"Again {row['plot']}"}
        for row in rows
    ]
    table = tmp_path / "others.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in others), encoding="utf-8")
    result = call(data, "tfidf-lr", "--more-texts", str(table))
    assert result.exit_code == 0, result.output
    assert "100 further texts of these films from others.jsonl" in result.stderr
    manifest = json.loads((away / "var" / "models" / "tfidf-lr-tmdb" / "manifest.json").read_text())
    assert manifest["data"]["name"] == "films.jsonl and others.jsonl"
    assert (manifest["data"]["train"]["rows"], manifest["data"]["validation"]["rows"]) == (200, 50)


def test_texts_of_other_films_are_no_more_texts(data: Path, tmp_path: Path) -> None:
    table = tmp_path / "others.jsonl"
    table.write_text(json.dumps({"id": 1, "title": "No such film", "year": 1999, "description": "x"}) + "\n")
    assert "joined by their title and year" in call(data, "tfidf-lr", "--more-texts", str(table)).stderr
    assert "lora has no option --more-texts" in call(data, "lora", "--more-texts", str(table)).stderr


def test_the_service_answers_with_it_for_its_taxonomy(data: Path, tmp_path: Path) -> None:
    call(data, "tfidf-nb", "--out", str(tmp_path / "made"))
    running = ServiceProcess("--trained", str(tmp_path / "made"))
    try:
        client = Client(running.url)
        (found,) = client.classify(["A sheriff hunts outlaws across the frontier."], TMDB)
        assert (found.source.model, found.problem) == ("trained/tfidf-nb", None)
        assert set(found.scores) == set(TMDB.names)
        (refused,) = client.classify(["A dull film."], SENTIMENT)
        assert refused.problem
        assert TMDB.digest in refused.problem.detail
    finally:
        assert running.stop() == 0
    assert "trained in" in running.printed


def test_a_service_is_told_one_way_to_answer() -> None:
    result = CliRunner().invoke(main, ["serve", "--trained", "x", "--local", "y"])
    assert "give one" in result.stderr
    assert "has no trained baseline" in CliRunner().invoke(main, ["serve", "--trained", "x"]).stderr


def test_the_json_of_the_matcher_counts_the_texts_it_was_trained_on(
    away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = ("train", "train", "validation", "test")
    film = {"title": "A film", "genres": ["Drama"]}
    films = [{**film, "description": f"Film {n}.", "split": split} for n, split in enumerate(splits)]
    reviews = [{"description": f"Good {n}.", "genres": ["positive"], "split": one} for n, one in enumerate(splits[1:])]
    for name, rows in (("films.jsonl", films), ("reviews.jsonl", reviews)):
        (away / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr("training.matcher.train.train_matcher", lambda *arguments: None)
    arguments = ["train", "matcher", "--data", "films.jsonl", "--reviews", "reviews.jsonl", "--json"]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert json.loads(result.stdout) == {"file": "var/models/matcher.safetensors", "films": 2, "reviews": 1}
