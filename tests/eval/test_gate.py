"""The gate: shut on a loss beyond the margin and beyond chance, open otherwise, and frank about doubt."""

from pathlib import Path

import pytest

from eval.compare import gate
from prompts.errors import InvalidDataset, InvalidSetting
from tests.eval.runs import noisy_rows, row, write_run


def made(folder: Path, right: float, seed: int, texts: int = 400) -> Path:
    return write_run(folder, noisy_rows(texts, right, seed))


def test_a_clear_loss_fails(tmp_path: Path) -> None:
    verdict = gate(made(tmp_path / "old", 0.9, 1), made(tmp_path / "new", 0.8, 2), 0.02)
    assert not verdict.passed
    assert verdict.summary.startswith("gate failed: the new run changes micro-F1 by -0.")
    assert verdict.summary.endswith("a loss beyond the margin of 0.020")
    assert all(one.high < -0.02 for one in verdict.differences)


def test_the_same_loss_passes_where_the_margin_allows_it(tmp_path: Path) -> None:
    verdict = gate(made(tmp_path / "old", 0.9, 1), made(tmp_path / "new", 0.8, 2), 0.3)
    assert verdict.passed
    assert "too few texts" not in verdict.summary


def test_a_gain_passes(tmp_path: Path) -> None:
    verdict = gate(made(tmp_path / "old", 0.8, 1), made(tmp_path / "new", 0.9, 2), 0)
    assert verdict.passed
    assert verdict.summary.startswith("gate passed: no loss beyond the margin of 0.000 was shown (micro-F1 +0.")


def test_a_run_passes_by_itself(tmp_path: Path) -> None:
    run = made(tmp_path, 0.8, 1)
    assert gate(run, run, 0).passed


def test_a_loss_that_chance_may_have_made_passes_and_the_doubt_is_told(tmp_path: Path) -> None:
    verdict = gate(made(tmp_path / "old", 0.85, 1, 20), made(tmp_path / "new", 0.8, 2, 20), 0.01)
    assert verdict.differences[0].difference < -0.01
    assert verdict.passed
    assert verdict.summary.endswith("too few texts to rule out a larger loss on micro-F1 and macro-F1")


def test_a_rare_label_that_is_lost_shuts_the_gate_by_macro_alone(tmp_path: Path) -> None:
    rows = [row(str(at), ["a"] if at % 10 else ["a", "b"], ["a"] if at % 10 else ["a", "b"]) for at in range(500)]
    lost = [{**one, "labels": ["a"]} for one in rows]
    verdict = gate(write_run(tmp_path / "old", rows, labels="ab"), write_run(tmp_path / "new", lost, labels="ab"), 0.1)
    micro, macro = verdict.differences
    assert micro.high > -0.1 > macro.high
    assert not verdict.passed
    assert "micro" not in verdict.summary


@pytest.mark.parametrize("margin", [-0.1, 1, float("nan")])
def test_an_impossible_margin_is_refused(margin: float, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="from 0 to less than 1"):
        gate(tmp_path, tmp_path, margin)


def test_other_texts_are_no_ground_to_judge_on(tmp_path: Path) -> None:
    old, new = (write_run(tmp_path / name, [row(name, ["a"], ["a"])]) for name in ("x", "y"))
    with pytest.raises(InvalidDataset, match="no text in common"):
        gate(old, new, 0.01)
