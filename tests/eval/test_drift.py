"""Drift between two tables: the index, its test, and the changes in words."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from eval.drift import DriftTable, drift, population_stability_index
from main import main
from prompts.errors import InvalidDataset
from tabular.writing import write_table


def table(seed: int, rows: int, sport: float, shift: float = 0.0) -> DriftTable:
    random = np.random.default_rng(seed)
    labels = [("Sport",) if random.random() < sport else ("Science",) for _ in range(rows)]
    confidences = np.clip(random.normal(0.7 + shift, 0.1, rows), 0, 1).tolist()
    return DriftTable(labels, confidences, random.integers(50, 500, rows).tolist())


def test_the_index_is_that_of_its_definition() -> None:
    a, b = np.array([9.5, 29.5, 59.5]), np.array([19.5, 19.5, 59.5])
    shares = [(10, 20), (30, 20), (60, 60)]  # with a half added to each count; both sum to 100
    expected = sum((y - x) / 100 * math.log(y / x) for x, y in shares)
    assert population_stability_index(a, b) == pytest.approx(expected)
    assert population_stability_index(a, a) == 0
    assert np.isfinite(population_stability_index(np.array([10.0, 0.0]), np.array([0.0, 10.0])))


def test_a_shift_is_found_in_the_part_where_it_is() -> None:
    labels, confidence, length = drift(table(0, 800, 0.3), table(1, 800, 0.6, -0.15))
    assert (labels.part, labels.verdict) == ("labels", "large")
    assert {one.split(":")[0] for one in labels.changes} == {"Science", "Sport"}
    assert confidence.verdict == "large"
    assert "below 0.5" in confidence.changes[0]
    assert (length.part, length.verdict) == ("text length", "none")
    assert sum(share for share, _ in confidence.shares.values()) == pytest.approx(1)


def test_equal_distributions_are_seldom_called_drift() -> None:
    """Three parts at 5% together: about one comparison in twenty."""
    pairs = [(table(2 * n, 200, 0.3), table(2 * n + 1, 200, 0.3)) for n in range(60)]
    alarms = sum(any(one.verdict != "none" for one in drift(*pair)) for pair in pairs)
    assert alarms <= 9  # more: less than 1 in 1,000 by the binomial distribution


def test_new_labels_and_rows_without_labels_are_named() -> None:
    a = DriftTable([("x",)] * 50 + [()] * 50, None, None)
    b = DriftTable([("x", "y")] * 50 + [("x",)] * 50, None, None)
    (labels,) = drift(a, b)
    assert labels.verdict == "large"
    assert set(labels.changes) == {
        "x: 50.0% of rows in A, 100.0% in B",
        "(none): 50.0% of rows in A, 0.0% in B (gone in B)",
        "y: 0.0% of rows in A, 50.0% in B (new in B)",
    }


def test_one_value_and_nothing_in_common() -> None:
    same = DriftTable(None, [0.5] * 20, None)
    (found,) = drift(same, same)
    assert (found.psi, found.p, found.verdict) == (0.0, 1.0, "none")
    with pytest.raises(InvalidDataset, match="no labels, scores or texts in common"):
        drift(same, DriftTable([("x",)], None, None))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["drift", *arguments])
    return result.exit_code, result.output


@pytest.mark.usefixtures("away")
def test_tables_of_any_format_are_compared() -> None:
    old: list[dict[str, Any]] = [
        {"text": "a b c", "labels": ["Sport"], "scores": {"Sport": 0.9, "Art": 0.1}, "problem": None}
    ] * 60
    new: list[dict[str, Any]] = [
        {"text": "a b c", "labels": ["Art", "Sport"], "scores": {"Sport": 0.5, "Art": 0.6}, "problem": None}
    ] * 60
    failed: list[dict[str, Any]] = [{"text": "x" * 999, "labels": None, "scores": None, "problem": "busy"}] * 60
    for suffix in (".csv", ".jsonl", ".parquet"):
        write_table(Path(f"old{suffix}"), old)
        write_table(Path(f"new{suffix}"), new + failed)
        code, printed = run(f"old{suffix}", f"new{suffix}")
        assert code == 0, printed
        assert printed.splitlines()[1].split()[::3] == ["labels", "large"], printed
        assert "Art: 0.0% of rows in A, 100.0% in B (new in B)" in printed
        assert "median confidence 0.900 in A, 0.600 in B" in printed
        assert "median text length 5 in A, 5 in B" in printed
    assert run("old.csv", "new.jsonl", "--most", "0.25")[0] == 1
    assert run("old.csv")[0] == 2
    assert run("old.csv", "old.jsonl", "--most", "0.25")[0] == 0
    code, printed = run("old.csv", "new.csv", "--labels-field", "label")
    assert code == 1
    assert "old.csv has no column 'label'; its columns: text, labels, scores, problem" in printed
