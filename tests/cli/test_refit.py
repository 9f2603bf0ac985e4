"""`main.py refit`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from main import main

pytestmark = pytest.mark.usefixtures("away")
FILMS = Path(__file__).parents[2] / "data" / "sample" / "films.jsonl"
COLUMNS = ("--text-field", "plot", "--labels-field", "tmdb_genres")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), *COLUMNS], catch_exceptions=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The sample's films, split, and beside them other texts of the same."""
    rows = [json.loads(line) for line in FILMS.read_text(encoding="utf-8").splitlines()]
    for place, row in enumerate(rows):
        row["split"] = ("train", "train", "validation", "test")[place % 4]
    others = [
        {"id": r["id"], "title": r["title"], "year": r["year"], "description": f"Again {r['plot']}"} for r in rows
    ]
    for name, table in (("films", rows), ("others", others)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    return tmp_path / "films.jsonl"


def test_a_training_is_learnt_again_with_the_data_that_it_was_given(data: Path, tmp_path: Path) -> None:
    more = ("--more-texts", tmp_path / "others.jsonl")
    call("train", "tfidf-lr", "--data", data, *more, "--out", tmp_path / "made")
    refused = call("refit", tmp_path / "made", "--data", data, "--out", tmp_path / "again")
    assert "trained on other texts" in refused.stderr
    result = call("refit", tmp_path / "made", "--data", data, *more, "--out", tmp_path / "again")
    assert result.exit_code == 0, result.output
    assert "trained on 250 texts" in result.stderr
    made, again = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("made", "again"))
    assert made["decoding"] == again["decoding"]
    assert again["refit"]["command"] == made["command"]


def test_the_test_split_is_never_learnt_from(data: Path, tmp_path: Path) -> None:
    result = call("refit", tmp_path, "--data", data, "--out", tmp_path / "x", "--validation-split", "test")
    assert result.exit_code == 2
    assert "the test split is for reporting" in result.stderr
