"""`main.py review`: from a table to a review file, to another tool, and back as feedback."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from main import main
from marquee.feedback.store import FeedbackStore
from marquee.review.review_file import read_review

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "data/sample/films.jsonl").read_text(encoding="utf-8").splitlines()[:60]
FILMS: list[dict[str, Any]] = [json.loads(line) for line in LINES]


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["review", *arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a table of films."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARQUEE_FEEDBACK_PATH", "feedback.sqlite")
    monkeypatch.setenv("MARQUEE_FEEDBACK_TEXTS", "true")
    rows = [{"id": f"f{place}", "title": film["title"], "plot": film["plot"][:160]} for place, film in enumerate(FILMS)]
    rows += [{**rows[0], "id": "again"}, {"id": "empty", "title": "", "plot": ""}]
    write("films.jsonl", rows)
    return tmp_path


def write(name: str, rows: Sequence[dict[str, Any]]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_texts_are_picked_exported_corrected_and_imported_as_feedback() -> None:
    result = run("films.jsonl", "--most", "12", "--taxonomy", "tmdb", "--json")
    printed = json.loads(result.stdout)
    assert (printed["file"], printed["texts"], printed["picked"]) == ("review.jsonl", 61, 12)
    assert printed["left_out"] == {"no text": 1, "the text of another row": 1}
    review = read_review(Path("review.jsonl"))
    doubts = [one.doubt for one in review.texts]
    assert len({one.id for one in review.texts}) == 12
    assert doubts[0] == max(doubts)
    assert "is near the threshold 0.3" in review.texts[0].why
    assert review.texts[0].answer.source.model == "embedded/matcher.v2"

    run("export", "review.jsonl", "tasks.json", "--format", "label-studio")
    tasks = json.loads(Path("tasks.json").read_text(encoding="utf-8"))
    right = {"from_name": "labels", "to_name": "text", "type": "choices", "value": {"choices": ["War", "Horror"]}}
    for task in tasks[:3]:
        task["annotations"] = [{"result": [right]}]
    Path("tasks.json").write_text(json.dumps(tasks), encoding="utf-8")
    imported = json.loads(run("import", "review.jsonl", "tasks.json", "--format", "label-studio", "--json").stdout)
    assert (imported["stored"], imported["left_out"]) == (3, {"no labels yet": 9})
    entries = list(FeedbackStore(Path("feedback.sqlite")).entries())
    assert {entry.kind for entry in entries} <= {"confirmed", "corrected"}
    assert {entry.labels for entry in entries} == {("Horror", "War")}
    assert all(entry.text and entry.answer and len(entry.answer.scores) == 18 for entry in entries)

    reviewed = json.loads(run("export", "review.jsonl", "again.csv", "--json").stdout)["reviewed"]
    assert reviewed == 3
    assert Path("again.csv").read_text(encoding="utf-8").count('""Horror"", ""War""') == 3

    later = run("films.jsonl", "--most", "60", "--taxonomy", "tmdb", "--out", "later.jsonl")
    assert "left out: 3 with feedback already" in later.stderr
    picked = {one.answer.digest for one in read_review(Path("later.jsonl")).texts}
    assert not picked & {entry.digest for entry in entries}


def test_the_same_table_gives_the_same_file() -> None:
    for name in ("one.jsonl", "two.jsonl"):
        run("pick", "films.jsonl", "--most", "5", "--out", name)
    assert Path("one.jsonl").read_bytes() == Path("two.jsonl").read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_answers_of_bulk_are_used_as_they_are(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled = f"labelled.{suffix}"
    bulk = CliRunner().invoke(main, ["bulk", "films.jsonl", "--out", labelled, "--text-field", "plot"])
    assert bulk.exit_code == 0, bulk.output
    run("films.jsonl", "--most", "9", "--out", "new.jsonl")
    monkeypatch.setattr("marquee.bulk_jobs.open_classifier", lambda *_: pytest.fail("it answers again"))
    result = run(labelled, "--most", "9", "--out", "old.jsonl", "--text-field", "plot")
    assert "using the answers in the table" in result.stderr
    new, old = (read_review(Path(name)) for name in ("new.jsonl", "old.jsonl"))
    assert [one.row() for one in old.texts] == [one.row() for one in new.texts]
    other = run(labelled, "--text-field", "plot", "--taxonomy", "sentiment", code=1)
    assert "its answer is not of sentiment@" in other.stderr
    assert "give the --taxonomy of that run, or --system for new answers" in other.stderr


def test_rows_of_one_id_and_tables_without_texts_are_errors() -> None:
    write("double.jsonl", [{"id": "x", "text": "A duel."}, {"id": "x", "text": "A wedding."}])
    error = run("double.jsonl", code=1).stderr
    assert "double.jsonl, line 1 and double.jsonl, line 2 have the same id 'x'" in error or "line 2 and" in error
    assert len(read_review_of("double.jsonl", "--id-field", "")) == 2
    write("none.jsonl", [{"id": "x", "text": " "}])
    assert "none.jsonl has no text to review; 1 with no text" in run("none.jsonl", code=1).stderr
    assert "would replace the input" in run("double.jsonl", "--out", "double.jsonl", code=2).stderr


def read_review_of(*arguments: str) -> list[str]:
    run(*arguments)
    return [one.id for one in read_review(Path("review.jsonl")).texts]


def test_an_import_with_a_wrong_row_stores_nothing() -> None:
    run("films.jsonl", "--most", "3")
    run("export", "review.jsonl", "r.json")
    rows = json.loads(Path("r.json").read_text(encoding="utf-8"))
    rows[0]["labels"], rows[2]["labels"] = ["War"], ["Horor"]
    Path("r.json").write_text(json.dumps(rows), encoding="utf-8")
    error = run("import", "review.jsonl", "r.json", code=1).stderr
    assert "there is no label 'Horor' in tmdb; did you mean 'Horror'?" in error
    assert "r.json" in error
    assert not Path("feedback.sqlite").exists()


def test_the_short_form_has_the_options_of_pick_and_help_names_the_commands() -> None:
    assert "Usage: main review pick" in run("films.jsonl", "--nonsense", code=2).stderr
    assert run("--most", "2", "films.jsonl").exit_code == 0
    assert all(f"  {name} " in run("--help").stdout for name in ("pick", "export", "import"))
