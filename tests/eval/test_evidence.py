"""``evaluate --explain``: how many answers have evidence, and how many quotes the text contains."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import marquee
from eval.rows import RunRow
from eval.run_metrics import speed_and_cost
from llm.classifier import AnswerSource, Usage
from llm.embedded.matcher import Matcher
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from main import main
from tests.bulk.test_evidence import Quoting
from tests.bulk.words import read_lines, write_lines

ROWS: list[dict[str, Any]] = [
    {"id": "1", "text": "My card was charged twice, so please refund it. It rains.", "labels": ["refund"]},
    {"id": "2", "text": "the app crashed and froze", "labels": ["crash"]},
    {"id": "3", "text": "Refund the app that crashes.", "labels": ["refund", "crash"]},
]
LABELS = {"refund": "money back", "crash": "the app stops working"}
SHARES = ("answers with evidence", "labels with evidence", "verified quotes")


def explained(*reasons: str, model: str = "gpt-4o", labels: bool = True) -> RunRow:
    """A row whose labels have these kinds of evidence, or reasons for none."""
    found = {str(place): reason for place, reason in enumerate(reasons)}
    return RunRow("1", "1", (), tuple(found) if labels else (), source=AnswerSource(model, "t@1"), explained=found)


@pytest.mark.parametrize(
    ("rows", "shares"),
    [
        ([explained("sentence, word", "no word raises it"), explained("occlusion")], (1, 2 / 3, None)),
        ([explained("quote"), explained("the model's quote is not in the text")], (1 / 2, 1 / 2, 1 / 2)),
        ([explained("quote", "quote", "the model quotes no passage for it")], (1, 2 / 3, 1)),
        ([explained("the model's quote is longer than 300 characters")], (0, 0, 0)),
        ([explained("quote, sentence", model="gpt-4o + embedded/matcher.v2")], (1, 1, None)),
        ([explained("quote"), explained(labels=False)], (1, 1, 1)),
        ([explained(labels=False)], (None, None, None)),
        ([replace(explained("quote"), explained=None)], (None, None, None)),
    ],
)
def test_shares_are_of_answers_of_labels_and_of_quotes(rows: list[RunRow], shares: tuple[float | None, ...]) -> None:
    found = speed_and_cost(rows, {})
    assert tuple(found.get(name) for name in SHARES) == pytest.approx(shares)


def test_a_language_model_is_measured_with_its_quotes(tmp_path: Path) -> None:
    backend = Quoting()
    model = LanguageModel(backend, JSONList())
    plain, found = (
        marquee.evaluate(ROWS, "text", "labels", model, taxonomy=LABELS, explain=explain) for explain in (False, True)
    )
    before, after = (next(iter(one.metrics.values())) for one in (plain, found))
    assert [after[name] for name in SHARES] == [1 / 3, 1 / 6, 1 / 6], "only the first text has the words 'refund it'"
    assert not before.keys() & {*SHARES}
    assert after["micro-F1"] == before["micro-F1"]
    assert after["prompt tokens per 1,000"] == 3 * (before["prompt tokens per 1,000"] or 0)
    report = found.report(tmp_path).with_suffix(".md").read_text(encoding="utf-8")
    assert "## Evidence" in report
    assert "verified quotes" in report
    assert "Evidence" not in plain.report(tmp_path / "plain").with_suffix(".md").read_text(encoding="utf-8")


def evaluate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_the_rows_have_the_reasons_and_a_run_keeps_its_option(away: Path, embedded: Matcher) -> None:
    data = write_lines(away / "tickets.jsonl", ROWS)
    (away / "labels.yaml").write_text("labels: [refund, crash]\n")
    fields = ("--text-field", "text", "--labels-field", "labels", "--taxonomy", away / "labels.yaml")
    arguments = ("--data", data, *fields, "--systems", "embedded", "--out", away / "run")
    done = evaluate(*arguments, "--explain", "--json")
    assert done.exit_code == 0, done.output
    metrics = json.loads(done.stdout)["metrics"]["embedded"]
    assert metrics["answers with evidence"] == 1
    rows = read_lines(away / "run" / "embedded" / "rows.jsonl")
    assert [set(row["explained"]) for row in rows] == [set(row["labels"]) for row in rows]
    assert {row["id"]: row["explained"] for row in rows}["2"] == {"crash": "occlusion"}
    assert not any(row["text"] in json.dumps(rows) for row in ROWS), "rows have no text"
    refused = evaluate(*arguments)
    assert "explain true, now null" in refused.output
    assert "--orders labels without evidence" in evaluate(*arguments, "--explain", "--orders", "3").output


def test_rows_without_the_option_are_as_before() -> None:
    row = RunRow("1", "1", ("a",), ("a",), usage=Usage(1, 0, 1))
    assert "explained" not in json.loads(row.as_line())
