"""Metrics of a run: quality with intervals, failures, speed and cost, from rows worked by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval.metrics import CALIBRATION, METRICS, RANKING
from eval.results import RunResults
from eval.rows import RunRow
from eval.run_metrics import headlines, intervals, quality, speed_and_cost
from llm.classifier import AnswerSource, Problem, Usage
from tests.eval.runs import noisy_rows, row, write_run

SCORES = {"a": 0.9, "b": 0.2, "c": 0.1}
MANIFEST = {"peak_mb": 12.5, "taxonomy": {"name": "ab", "labels": ["a", "b"]}}


def test_figures_are_the_metrics_that_apply_and_counts(tmp_path: Path) -> None:
    plain = quality(RunResults.read(write_run(tmp_path, [row("1", ["a", "b"], ["a"]), row("2", ["b"], [])])))
    assert plain.keys() == METRICS.keys() | {"labels per text", "texts", "problems"}
    assert (plain["micro-F1"], plain["labels per text"], plain["texts"]) == (0.5, 0.5, 2)
    scored = quality(RunResults.read(write_run(tmp_path, [row("1", ["a", "b"], ["a"], scores=SCORES)])))
    assert scored.keys() - plain.keys() == RANKING.keys() | CALIBRATION.keys()
    unbounded = quality(RunResults.read(write_run(tmp_path, [row("1", ["a", "b"], ["a"], scores={**SCORES, "c": -1})])))
    assert unbounded.keys() - plain.keys() == set(RANKING)


def test_scores_that_some_texts_lack_are_counted_and_not_measured(tmp_path: Path) -> None:
    rows = [row("1", ["a", "b"], ["a"], scores=SCORES), row("2", ["a"], [], problem={"kind": "refused", "detail": ""})]
    found = quality(RunResults.read(write_run(tmp_path, rows)))
    assert found["texts without scores"] == 1
    assert found["problems"] == 1
    assert not found.keys() & RANKING.keys()


def test_where_every_text_has_one_label_accuracy_comes_first(tmp_path: Path) -> None:
    run = RunResults.read(write_run(tmp_path, [row("1", ["a"], ["a"]), row("2", ["b"], []), row("3", ["c"], ["a"])]))
    found = quality(run)
    assert next(iter(found)) == "accuracy"
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert "Jaccard" not in found
    assert list(headlines(run)) == ["accuracy", "macro-F1"]


def test_texts_whose_labels_are_not_all_known_are_excluded_and_counted(tmp_path: Path) -> None:
    rows = [
        row("1", ["a", "b"], ["a", "b"]),
        row("2", ["a", "b", "c"], ["a"], complete=False),
        row("3", ["c"], ["a", "b", "c"], complete=False),
    ]
    found = quality(RunResults.read(write_run(tmp_path, rows)))
    assert (found["micro-F1"], found["texts"], found["incomplete texts"]) == (1, 1, 2)
    assert found["micro-recall of incomplete texts"] == pytest.approx(2 / 4)


def test_every_headline_lies_within_its_interval(tmp_path: Path) -> None:
    run = RunResults.read(write_run(tmp_path, noisy_rows(300, 0.8, 1)))
    found, values = intervals(run), quality(run)
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


def made(**differing: Any) -> RunRow:
    plain = RunRow("1", "1", (), ("a",), source=AnswerSource("gpt-4o", "t@1"), usage=Usage(1000, 0, 10), seconds=0.1)
    return replace(plain, **differing)


def test_latency_is_of_texts_asked_alone_and_throughput_of_batches() -> None:
    alone = [made(alone=True, seconds=seconds) for seconds in (0.3, 0.1, 0.2)]
    metrics = speed_and_cost([*alone, made(seconds=0.05), made(seconds=0.15), made(seconds=9, cached=True)], MANIFEST)
    assert metrics["p50 ms"] == pytest.approx(200)
    assert metrics["p95 ms"] == pytest.approx(290)
    assert metrics["texts/s"] == pytest.approx(10)
    assert (metrics["peak MB"], metrics["cached"]) == (12.5, 1)
    assert speed_and_cost([made(alone=True)], MANIFEST)["texts/s"] is None


def test_tokens_and_money_are_per_thousand_texts_asked() -> None:
    metrics = speed_and_cost([made(), made(usage=Usage(3000, 2000, 30)), made(cached=True, usage=Usage())], MANIFEST)
    assert metrics["prompt tokens per 1,000"] == pytest.approx(2_000_000)
    assert metrics["cached tokens per 1,000"] == pytest.approx(1_000_000)
    assert metrics["written tokens per 1,000"] == pytest.approx(20_000)
    # gpt-4o: 2.50 fresh, 1.25 cached, 10.00 written, per million
    assert metrics["USD per 1,000"] == pytest.approx((2000 * 2.5 + 2000 * 1.25 + 40 * 10) / 1e6 / 2 * 1000)
    assert speed_and_cost([made(source=AnswerSource("own", "t@1"))], MANIFEST)["USD per 1,000"] is None
    assert "USD per 1,000" not in speed_and_cost([made(usage=Usage())], MANIFEST)


def test_problems_abstentions_and_dropped_words_are_told_apart() -> None:
    failed = made(labels=(), problem=Problem("busy", ""))
    metrics = speed_and_cost([made(dropped=("x", "y")), failed, made(labels=()), made(labels=())], MANIFEST)
    assert (metrics["invalid"], metrics["abstentions"], metrics["dropped"]) == (0.25, 0.5, 2)


def test_several_answerers_are_counted() -> None:
    metrics = speed_and_cost([made(), made(source=AnswerSource("small", "t@1")), made()], MANIFEST)
    assert (metrics["by gpt-4o"], metrics["by small"]) == (2, 1)
