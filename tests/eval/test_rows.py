"""A run's folder, read back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.datasets import Example
from eval.results import RunResults
from eval.rows import RunLog, RunRow
from llm.classifier import AnswerSource, Prediction, Problem, Usage
from prompts.errors import InvalidDataset
from prompts.text import Text
from tests.eval.runs import row, write_run


def test_a_run_is_read_into_arrays_with_a_row_a_text_and_a_column_a_label(tmp_path: Path) -> None:
    rows = [
        row("1", ["a", "b"], ["a"], scores={"a": 0.9, "b": 0.2, "c": 0.1}, group="film"),
        row("2", ["c"], [], problem={"kind": "unreadable", "detail": "?"}, complete=False),
    ]
    run = RunResults.read(write_run(tmp_path, rows))
    assert (run.ids, run.groups, run.labels) == (("1", "2"), ("film", "2"), ("a", "b", "c"))
    assert run.true.tolist() == [[1, 1, 0], [0, 0, 1]]
    assert run.predicted.tolist() == [[1, 0, 0], [0, 0, 0]]
    assert run.scores[0].tolist() == [0.9, 0.2, 0.1]
    assert np.isnan(run.scores[1]).all()
    assert run.complete.tolist() == [True, False]
    assert run.known().ids == ("1",)


def test_a_file_of_the_folder_names_the_run_too(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [row("1", ["a"], ["a"])])
    (folder / "metrics.json").write_text("{}")
    assert RunResults.read(folder / "metrics.json").ids == ("1",)


def test_an_evaluation_of_one_system_names_its_run_and_one_of_several_does_not(tmp_path: Path) -> None:
    write_run(tmp_path / "embedded", [row("1", ["a"], ["a"])])
    assert RunResults.read(tmp_path).system == "embedded"
    write_run(tmp_path / "prior", [row("1", ["a"], ["a"])])
    with pytest.raises(InvalidDataset, match=r"several runs \(embedded, prior\)"):
        RunResults.read(tmp_path)


def test_a_separator_that_python_takes_for_a_line_end_is_none_in_json_lines(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [])
    line = json.dumps(row("1", ["a"], ["a"], group="one\u2028film"), ensure_ascii=False)
    (folder / "rows.jsonl").write_text(line + "\n", encoding="utf-8")
    assert RunResults.read(folder).groups == ("one\u2028film",)


def test_scores_are_probabilities_only_where_all_are_there_and_within_bounds(tmp_path: Path) -> None:
    def read(*scores: dict[str, float]) -> tuple[bool, bool]:
        run = RunResults.read(
            write_run(tmp_path, [row(str(at), ["a"], [], scores=one) for at, one in enumerate(scores)])
        )
        return run.scored, run.probable

    assert read({"a": 0, "b": 1, "c": 0.5}) == (True, True)
    assert read({"a": 0, "b": 1, "c": -0.1}) == (True, False)
    assert read({"a": 0, "b": 1, "c": 0.5}, {}) == (False, False)
    assert read({"a": 0, "b": 1}) == (False, False)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "has no rows"),
        ([row("1", ["a"], []), row("1", ["b"], [])], "rows.jsonl:2: the id '1' occurs a second time"),
        ([row("1", ["a"], ["z"])], "rows.jsonl:1: label 'z' is not in the taxonomy"),
        ([row("1", ["a"], [], scores={"z": 1})], "label 'z'"),
        ([{"id": "1", "labels": []}], "'truth' is missing"),
        ([row("1", ["a"], [], labels="a")], "'labels' is missing or has"),
        ([row("1", ["a"], [], scores={"a": "high"})], "'scores' is missing or has"),
        ([row("1", ["a"], [], scores={"a": float("nan")})], "'scores' is missing or has"),
        ([row("1", ["a"], []), row("2", ["a"], [], problem="busy")], r"rows\.jsonl:2: 'problem' is missing or has"),
        ([row("1", ["a"], []), row("2", ["a"], [], source={"model": 7})], r"rows\.jsonl:2: 'source' is missing or has"),
        ([row("1", ["a"], [], tokens=[1, 2])], r"rows\.jsonl:1: 'tokens' is missing or has"),
        ([row("1", ["a"], [], seconds="fast")], r"rows\.jsonl:1: 'seconds' is missing or has"),
        ([row("1", ["a"], [], complete="no")], r"rows\.jsonl:1: 'complete' is missing or has"),
    ],
)
def test_a_row_that_no_run_writes_is_refused_by_name(rows: list[dict[str, Any]], said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=said):
        RunResults.read(write_run(tmp_path, rows))


@pytest.mark.parametrize(
    "damage", [b"{", b"[1]", b"\xff\xfe", b"null", b"[" * 100_000], ids=["cut", "list", "bytes", "null", "deep"]
)
def test_a_damaged_line_is_named_by_file_and_line(damage: bytes, tmp_path: Path) -> None:
    folder = write_run(tmp_path, [row("1", ["a"], ["a"])])
    path = folder / "rows.jsonl"
    path.write_bytes(path.read_bytes() + damage + b"\n")
    with pytest.raises(InvalidDataset, match=r"rows\.jsonl:2: not a JSON object; restore the file"):
        RunResults.read(folder)


def test_rows_of_an_older_run_have_defaults(tmp_path: Path) -> None:
    old: list[dict[str, Any]] = [
        {"id": 1, "truth": ["a"], "labels": []},
        {"id": "2", "truth": ["b"], "labels": ["b"], "scores": None},
    ]
    first, second = RunResults.read(write_run(tmp_path, old)).rows
    assert (first.id, first.group, first.complete, first.problem) == ("1", "1", True, None)
    assert (second.scores, second.usage, second.alone, second.chars) == ({}, Usage(), False, None)


@pytest.mark.parametrize(
    "prediction",
    [
        Prediction(("a",), AnswerSource("m", "t@1", "p@2", "json_list"), {"a": 0.5}, usage=Usage(3, 2, 1), cached=True),
        Prediction((), AnswerSource("m", "t@1"), problem=Problem("busy", "later")),
        Prediction((), AnswerSource("m", "t@1"), dropped=("z\u2028",)),
    ],
    ids=["scored", "problem", "dropped"],
)
def test_a_row_is_read_as_it_was_written(prediction: Prediction, tmp_path: Path) -> None:
    written = RunRow.of(Example("1", Text("b", "t"), ("a",), "film"), prediction, 0.25, True, prediction.scores)
    folder = write_run(tmp_path, [])
    RunLog(folder).append([written])
    assert RunResults.read(folder).rows == (written,) == tuple(RunLog(folder).read())


def test_a_run_that_was_cut_off_within_a_line_says_where(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [row("1", ["a"], ["a"])])
    with (folder / "rows.jsonl").open("a") as out:
        out.write('{"id": "2", "tru')
    with pytest.raises(InvalidDataset, match=r"rows\.jsonl:2: the line is cut off; run the same evaluation again"):
        RunResults.read(folder)


@pytest.mark.parametrize("manifest", ["{", "[]", "{}", '{"taxonomy": {"labels": ["a", "a"]}}'])
def test_a_manifest_without_a_taxonomy_is_refused(manifest: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path, [row("1", ["a"], ["a"])])
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(InvalidDataset, match=r"manifest\.json"):
        RunResults.read(folder)


def test_a_folder_that_is_no_run_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"give the folder of a run, as main\.py evaluate writes it"):
        RunResults.read(tmp_path / "nowhere")


def test_nothing_is_measured_where_no_truth_is_complete(tmp_path: Path) -> None:
    run = RunResults.read(write_run(tmp_path, [row("1", ["a"], ["a"], complete=False)]))
    with pytest.raises(InvalidDataset, match="choose a split whose labels are complete"):
        run.known()
