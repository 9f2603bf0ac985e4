"""The page over many runs: which runs it has, the trend by data set, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from eval.report import dashboard
from main import main
from prompts.errors import InvalidDataset
from tests.eval.test_report import LABELS, Page, put, row, silent


def put_dated(folder: Path, system: str, date: str, micro: float, **manifest: Any) -> None:
    put(folder, system, metrics={"micro-F1": micro, "macro-F1": 0.5, "ECE": 0.05}, ended=f"{date}T09:30:00", **manifest)


def put_three(out: Path) -> None:
    """Three runs of one system over one data set, a week apart, and in the second evaluation another system."""
    for week, (date, micro) in enumerate((("2026-05-01", 0.61), ("2026-05-08", 0.64), ("2026-05-15", 0.69))):
        put_dated(out / f"week-{week}", "embedded", date, micro)
    put_dated(out / "week-1", "tfidf-lr", "2026-05-07", 0.55)


def written(out: Path) -> tuple[Page, str]:
    html, markdown = dashboard.write(out)
    return Page(html.read_text(encoding="utf-8")), markdown.read_text(encoding="utf-8")


def test_every_run_has_a_row_newest_first_with_its_interval(tmp_path: Path) -> None:
    put_three(tmp_path)
    page, markdown = written(tmp_path)
    heads, *rows = page.tables["Every run, newest first"]
    assert heads == ["date", "data", "system", "micro-F1", "macro-F1", "ECE", "invalid"]
    assert [(cells[0], cells[2], cells[3]) for cells in rows] == [
        ("2026-05-15 09:30", "embedded", "0.690"),
        ("2026-05-08 09:30", "embedded", "0.640"),
        ("2026-05-08 09:30", "tfidf-lr", "0.550"),  # the runs of one evaluation have the date of the last one
        ("2026-05-01 09:30", "embedded", "0.610"),
    ]
    assert "| films (test · genres · 60 texts) | embedded | 0.690 (0." in markdown


def test_the_trend_of_a_metric_has_a_line_for_each_system(tmp_path: Path) -> None:
    put_three(tmp_path)
    page, _ = written(tmp_path)
    heads, *rows = page.tables["micro-F1 by date and system"]
    assert heads == ["date", "embedded", "tfidf-lr"]
    assert [cells[1:] for cells in rows] == [["0.610", "–"], ["0.640", "0.550"], ["0.690", "–"]]
    drawings = [attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg"]
    assert drawings == ["micro-F1 over time", "macro-F1 over time", "ECE over time"]


def test_another_data_set_has_no_part_in_a_trend(tmp_path: Path) -> None:
    put_three(tmp_path)
    other = {"name": "films", "digest": "d2", "split": "test"}
    put_dated(tmp_path / "other", "embedded", "2026-05-20", 0.99, data=other)
    page, _ = written(tmp_path)
    assert len(page.tables["Every run, newest first"]) == 6
    assert len(page.tables["micro-F1 by date and system"]) == 4


def test_prompts_of_one_system_are_lines_of_their_own(tmp_path: Path) -> None:
    for version, date in (("v1", "2026-05-01"), ("v2", "2026-05-02")):
        source = {"model": "qwen", "prompt": f"plot.{version}", "taxonomy": "t@1", "strategy": "json_list"}
        rows = [silent(number, source=source) for number in range(8)]
        put(tmp_path / version, "llm", rows, {"micro-F1": 0.5}, ended=f"{date}T08:00:00")
    page, _ = written(tmp_path)
    assert page.tables["Every run, newest first"][0][3] == "prompt"
    assert page.tables["micro-F1 by date and system"][0] == ["date", "llm, plot.v1", "llm, plot.v2"]


def test_a_damaged_run_is_left_out_with_its_reason(tmp_path: Path) -> None:
    put_three(tmp_path)
    (tmp_path / "week-0" / "embedded" / "rows.jsonl").write_text("", encoding="utf-8")
    (tmp_path / "week-2" / "embedded" / "metrics.json").unlink()
    page, markdown = written(tmp_path)
    assert len(page.tables["Every run, newest first"]) == 4
    assert "week-0/embedded is left out: " in markdown
    assert "week-2/embedded has no metrics.json" in markdown


def test_a_folder_without_a_readable_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="has no run: neither it nor a folder in it has"):
        dashboard.write(tmp_path)
    put(tmp_path / "a", "one")
    (tmp_path / "a" / "one" / "rows.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(InvalidDataset, match="can be read: a/one is left out"):
        dashboard.write(tmp_path)


@pytest.mark.parametrize(
    ("runs", "one"),
    [
        ([("", {})], True),
        ([("a", {}), ("b", {})], True),
        ([("a", {"system": "x"}), ("b", {"system": "x"})], False),
        ([("a", {}), ("b", {"split": "train"})], False),
        ([("a", {}), ("b", {"taxonomy": {"name": "g", "digest": "g2", "labels": LABELS}})], False),
        ([("x/a", {}), ("y/b", {})], False),
    ],
)
def test_which_folders_are_one_evaluation(tmp_path: Path, runs: list[tuple[str, dict[str, Any]]], one: bool) -> None:
    for place, (name, changes) in enumerate(runs):
        put(tmp_path / "made", f"s{place}", [row(0)])
        folder = tmp_path / "out" / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = (tmp_path / "made" / f"s{place}").rename(folder)
        manifest = json.loads((made / "manifest.json").read_text()) | changes
        (made / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert dashboard.of_one_evaluation(tmp_path / "out") is one


def test_the_command_writes_one_page_over_a_folder_of_evaluations(tmp_path: Path) -> None:
    put_three(tmp_path)
    done = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "All runs" in (tmp_path / "report.html").read_text(encoding="utf-8")
    refused = CliRunner().invoke(main, ["report", str(tmp_path), "--data", __file__])
    assert refused.exit_code == 2
    assert "--data is for the report of one evaluation" in refused.output
    (tmp_path / "empty").mkdir()
    empty = CliRunner().invoke(main, ["report", str(tmp_path / "empty")])
    assert empty.exit_code != 0
    assert "has no run" in empty.output
