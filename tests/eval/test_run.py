"""A run: one row a text, problems included, and figures that follow from the rows."""

import json
from pathlib import Path

import pytest

from eval.datasets import Example
from eval.run import record, summarise
from llm.engines.scripted import Scripted
from llm.language_model import LanguageModel
from llm.readings.list import ListReading
from prompts import shelf
from prompts.text import Text

TMDB = shelf.taxonomy("tmdb")
EXAMPLES = [Example(name, Text(name), (name,)) for name in ("War", "Drama", "Horror")]


def test_a_run_writes_a_row_a_text_and_its_metrics(tmp_path: Path) -> None:
    def reply(messages: object) -> str:
        return "no idea" if "Horror" in str(messages)[-40:] else '["War"]'

    model = LanguageModel(Scripted(reply), ListReading())
    told: list[int] = []
    rows = record(model, EXAMPLES, TMDB, tmp_path / "run", lambda: told.append(1))
    figures = summarise(rows, TMDB, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "rows.jsonl").read_text().splitlines()]
    assert [(line["id"], line["truth"], line["labels"]) for line in lines] == [
        ("War", ["War"], ["War"]),
        ("Drama", ["Drama"], ["War"]),
        ("Horror", ["Horror"], []),
    ]
    assert lines[2]["problem"]["kind"] == "unreadable"
    assert len(told) == 3
    assert figures["micro-F1"] == pytest.approx(2 * 1 / (3 + 2))
    assert (figures["texts"], figures["problems"]) == (3, 1)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == figures
