"""`main.py data`, `main.py split`, and the options that commands share."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from eval.datasets.split import SplitFile
from main import main

pytestmark = pytest.mark.usefixtures("away")
GENRES = ("Drama", "Comedy", "War")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def films(folder: Path, count: int = 60, **more: Any) -> None:
    rows = ({"id": n, "description": f"plot {n}", "genres": [GENRES[n % 3]], **more} for n in range(count))
    (folder / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_data_counts_and_writes_a_card_with_its_twin(away: Path) -> None:
    films(away, split="train")
    result = call("data", "films.jsonl", "--out", "card.html", "--min-label-count", "20")
    assert result.stdout.split() == ["split", "rows", "train", "60"]
    assert "labels kept: Comedy 20, Drama 20, War 20" in result.stderr
    assert (away / "card.html").read_text().startswith("<!doctype html>")
    assert (away / "card.md").read_text().startswith("# films.jsonl")


def test_split_freezes_what_other_commands_then_read(away: Path) -> None:
    films(away)
    result = call("split", "films.jsonl", "--out", "split.json", "--validation", ".2", "--test", ".3")
    assert result.stdout.splitlines()[0].split() == ["train", "validation", "test"]
    assert result.stdout.splitlines()[1].split() == ["rows", "30", "12", "18"]
    counted = call("data", "films.jsonl", "--split-file", "split.json").stdout
    assert counted.split()[::2] == ["split", "train", "validation", "test"]
    chosen = ["--data", "films.jsonl", "--split-file", "split.json", "--split", "test", "--limit", "2", "--out", "run"]
    assert call("evaluate", *chosen).exit_code == 0
    tested = set(SplitFile.read(away / "split.json").sides["test"])
    asked = {json.loads(line)["id"] for line in (away / "run" / "rows.jsonl").read_text().splitlines()}
    assert len(asked) == 2
    assert asked <= tested


def test_the_same_seed_writes_the_same_file(away: Path) -> None:
    films(away)
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        call("split", "films.jsonl", "--out", name, "--seed", seed)
    a, b, c = ((away / name).read_text() for name in "abc")
    assert a == b != c


def test_rare_labels_are_neither_true_nor_answered_nor_passed_over_in_silence(away: Path) -> None:
    films(away, 62, split="train")
    result = call("evaluate", "--data", "films.jsonl", "--min-label-count", "21", "--limit", "2", "--out", "run")
    assert "rare labels dropped, with their training examples: " in result.stderr
    assert "War 20" in result.stderr
    assert "labels kept: Comedy 21, Drama 21\n" in result.stderr
    rows = [json.loads(line) for line in (away / "run" / "rows.jsonl").read_text().splitlines()]
    assert {label for row in rows for label in row["truth"] + row["labels"]} <= {"Comedy", "Drama"}


def test_unknown_labels_are_an_error_until_they_may_be_dropped(away: Path) -> None:
    films(away, 3)
    refused = call("data", "films.jsonl", "--taxonomy", "sentiment")
    assert (refused.exit_code, "label 'Drama' is not in taxonomy 'sentiment'" in refused.stderr) == (1, True)
    (away / "films.jsonl").write_text('{"description": "x", "genres": ["War", "Knitting"]}\n')
    told = call("data", "films.jsonl", "--unknown-labels", "drop")
    assert "repaired: 1 rows: the unknown label 'Knitting' dropped" in told.stderr


def test_a_service_is_not_asked_for_part_of_a_taxonomy(away: Path) -> None:
    films(away)
    result = call("evaluate", "--data", "films.jsonl", "--url", "http://127.0.0.1:1", "--min-label-count", "5")
    assert (result.exit_code, "whole taxonomies only" in result.stderr) == (2, True)
