"""All that a run's rows say about how good it was."""

from pathlib import Path

import pytest

from eval.measure import figures, headlines, intervals
from eval.metrics.classification import METRICS
from eval.metrics.ranking import RANKING
from eval.metrics.reliability import CALIBRATION
from eval.results import RunResults
from tests.eval.runs import noisy_rows, row, write_run

SCORES = {"a": 0.9, "b": 0.2, "c": 0.1}


def test_figures_are_the_metrics_that_apply_and_counts(tmp_path: Path) -> None:
    plain = figures(RunResults.read(write_run(tmp_path, [row("1", ["a", "b"], ["a"]), row("2", ["b"], [])])))
    assert plain.keys() == METRICS.keys() | {"labels per text", "texts", "problems"}
    assert (plain["micro-F1"], plain["labels per text"], plain["texts"]) == (0.5, 0.5, 2)
    scored = figures(RunResults.read(write_run(tmp_path, [row("1", ["a", "b"], ["a"], scores=SCORES)])))
    assert scored.keys() - plain.keys() == RANKING.keys() | CALIBRATION.keys()
    unbounded = figures(RunResults.read(write_run(tmp_path, [row("1", ["a", "b"], ["a"], scores={**SCORES, "c": -1})])))
    assert unbounded.keys() - plain.keys() == set(RANKING)


def test_scores_that_some_texts_lack_are_counted_and_not_measured(tmp_path: Path) -> None:
    rows = [row("1", ["a", "b"], ["a"], scores=SCORES), row("2", ["a"], [], problem={"kind": "refused", "detail": ""})]
    found = figures(RunResults.read(write_run(tmp_path, rows)))
    assert found["texts without scores"] == 1
    assert found["problems"] == 1
    assert not found.keys() & RANKING.keys()


def test_where_every_text_has_one_label_accuracy_comes_first(tmp_path: Path) -> None:
    run = RunResults.read(write_run(tmp_path, [row("1", ["a"], ["a"]), row("2", ["b"], []), row("3", ["c"], ["a"])]))
    found = figures(run)
    assert next(iter(found)) == "accuracy"
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert "Jaccard" not in found
    assert list(headlines(run)) == ["accuracy", "macro-F1"]


def test_texts_whose_labels_are_not_all_known_are_left_out_and_told(tmp_path: Path) -> None:
    rows = [
        row("1", ["a", "b"], ["a", "b"]),
        row("2", ["a", "b", "c"], ["a"], complete=False),
        row("3", ["c"], ["a", "b", "c"], complete=False),
    ]
    found = figures(RunResults.read(write_run(tmp_path, rows)))
    assert (found["micro-F1"], found["texts"], found["left out, labels incomplete"]) == (1, 1, 2)
    assert found["their micro-recall"] == pytest.approx(2 / 4)


def test_every_headline_lies_within_its_interval(tmp_path: Path) -> None:
    run = RunResults.read(write_run(tmp_path, noisy_rows(300, 0.8, 1)))
    found, values = intervals(run), figures(run)
    assert list(found) == list(headlines(run))
    for name, one in found.items():
        assert one.value == pytest.approx(values[name]), name
        assert one.low < one.value < one.high, name
        assert 0.02 < one.high - one.low < 0.2, name


def test_average_precision_has_an_interval_where_there_are_scores(tmp_path: Path) -> None:
    rows = [
        {**one, "scores": {label: float(label in one["labels"]) for label in "abc"}} for one in noisy_rows(60, 0.8, 1)
    ]
    found = intervals(RunResults.read(write_run(tmp_path, rows)), resamples=200)
    assert found["macro-AP"].low < found["macro-AP"].value < found["macro-AP"].high
