"""`main.py distil`: labelled by a model server, killed and resumed, learnt by a real student, told in a report."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from main import main
from tests.test_evaluate import GENRES, lines, model

pytestmark = pytest.mark.usefixtures("away")
ROOT = Path(__file__).parents[2]
TEXTS = 64
# What a student can learn from: the teacher goes by the number, which says nothing to MiniLM.
STORIES = {
    "War": "Soldiers hold a trench while shells fall on the front line.",
    "Drama": "A daughter nurses her dying father and forgives him at last.",
    "Horror": "Something in the cellar of the haunted house drags the children down.",
    "Comedy": "A clumsy waiter ruins the wedding cake and hides in a silly costume.",
}
ASK = ("distil", "texts.jsonl", "--out", "made", "--teacher", "llm:json_list", "--encoder", "minilm", "--trials", "2",
       "--no-cache", "--alone", "2", "--batch", "4")  # fmt: skip


@pytest.fixture
def texts(away: Path) -> Path:
    """Stories of four kinds, with labels that only some commands are to read."""
    rows = [
        {"id": number, "description": f"{STORIES[genre]} A plot number {number}.", "genres": [genre]}
        for number in range(TEXTS)
        for genre in [GENRES[number % len(GENRES)]]
    ]
    path = away / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_a_killed_distillation_goes_on_and_its_student_answers_like_its_teacher(
    texts: Path, away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = away / "made" / "teacher" / "rows.jsonl"
    with model(seconds=0.05) as server:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MARQUEE_")}
        killed = subprocess.Popen(
            [sys.executable, ROOT / "main.py", *ASK],
            cwd=away,
            env=clean | {"OPENAI_BASE_URL": server.url, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
        )
        while lines(rows) < 10 and killed.poll() is None:
            time.sleep(0.01)
        killed.kill()
        killed.communicate()
        time.sleep(0.3)  # what was on its way to the server is counted now
        assert 10 <= lines(rows) < TEXTS
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        server.seconds = 0.0
        made = call(*ASK)
        assert made.exit_code == 0, made.output
        assert set(server.requests) == set(range(TEXTS))
        assert sum(count - 1 for count in server.requests.values()) <= 4, "the batch that was under way"
        assert "llm:json_list: 0 texts to label" in call(*ASK, "--dry-run").stdout
    found = json.loads((away / "made" / "report.json").read_text())
    agreement = found["agreement with the teacher"]
    assert agreement["student"]["micro-F1"] > 0.9
    texts_of = found["texts"]
    assert (texts_of["table"], texts_of["answered"], texts_of["unanswered"]) == (TEXTS, TEXTS, {})
    assert texts_of["train"] + texts_of["validation"] + texts_of["test"] == TEXTS
    assert min(texts_of["validation"], texts_of["test"]) >= 5
    assert "kept" not in found, "the table's own labels were not asked for"
    cost = found["cost"]
    assert (cost["teacher"]["prompt tokens per 1,000"], cost["student"]["prompt tokens per 1,000"]) == (100_000, 0)
    assert cost["student"]["USD per 1,000"] == 0
    assert cost["teacher"]["USD per 1,000"] is None, "the price of this model is not known"
    manifest = json.loads((away / "made" / "student" / "manifest.json").read_text())
    assert manifest["teacher"]["system"] == "llm:json_list"
    assert manifest["settings"]["encoder"] == "minilm"
    page = (away / "made" / "report.md").read_text()
    assert "| student | 1.000 |" in page or "| student | 0.9" in page
    student = call("evaluate", "--data", "texts.jsonl", "--systems", "student:made/student", "--out", "run")
    assert float(student.stdout.splitlines()[1].split()[1]) > 0.9, student.output


def test_the_tables_own_labels_judge_and_are_never_learnt(
    texts: Path, away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [json.loads(line) for line in texts.read_text().splitlines()]
    for row in rows:  # the table keeps every fourth row for testing, and says there what nobody could learn
        row["split"] = "test" if row["id"] % 4 == 3 else ""
        row["genres"] = ["Western"] if row["id"] % 8 == 3 else [GENRES[row["id"] % len(GENRES)]]
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with model() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        made = call(*ASK, "--labels-field", "genres")
        again = call(*ASK, "--labels-field", "genres", "--json")
    assert made.exit_code == 0, made.output
    assert "agreement with the teacher" in json.loads(again.stdout)
    found = json.loads((away / "made" / "report.json").read_text())
    assert found["texts"]["test"] == 16
    gold = found["against the table's own labels"]
    assert gold["texts"] == 16
    assert gold["teacher"]["micro-F1"] == pytest.approx(0.5)
    assert gold["student"]["micro-F1"] <= 0.5
    assert found["kept"]["micro-F1"] == pytest.approx(gold["student"]["micro-F1"] / 0.5, abs=1e-3)
    assert "kept of the teacher's micro-F1" in made.stdout


def test_a_dry_run_tells_the_price_and_asks_nothing(texts: Path, away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with model() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        told = call(*ASK, "--dry-run")
        assert f"llm:json_list: {TEXTS} texts to label" in told.stdout
        assert re.search(r"prompt tokens +6,400  counted by the endpoint", told.stdout)
        assert not server.requests
    assert not (away / "made" / "teacher" / "rows.jsonl").exists()


def test_a_teacher_that_cannot_be_reached_teaches_nothing(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no language model is set" in call(*ASK).stderr
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("MARQUEE_RETRIES", "0")
    refused = call(*ASK)
    assert refused.exit_code == 1
    assert "cannot answer" in refused.stderr
