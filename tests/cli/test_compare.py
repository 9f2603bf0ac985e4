"""`main.py compare`: what is printed, and how it ends."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from main import main
from tests.eval.runs import noisy_rows, write_run


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and one that is clearly better."""
    folder = tmp_path_factory.mktemp("runs")
    return write_run(folder / "plain", noisy_rows(300, 0.8, 1)), write_run(folder / "better", noisy_rows(300, 0.9, 2))


def test_a_table_and_a_verdict_are_printed(runs: tuple[Path, Path]) -> None:
    result = call("compare", *runs)
    lines = result.stdout.splitlines()
    assert lines[0].startswith("A  plain")
    assert lines[1].startswith("B  better")
    assert lines[2].startswith("300 texts in 150 groups; 95% interval of 2,000 paired resamples")
    micro = next(line for line in lines if line.startswith("micro-F1")).split()
    assert len(micro) == 7
    assert micro[-1] == "<0.001"
    assert micro[3].startswith("+0.")
    assert lines[-1].startswith("B is better on micro-F1 by 0.")
    assert result.exit_code == 0


def test_json_is_one_object_with_the_gate_where_asked(runs: tuple[Path, Path]) -> None:
    body = json.loads(call("compare", *runs, "--json").stdout)
    assert body["b"]["system"] == "better"
    assert "gate" not in body
    body = json.loads(call("compare", *runs, "--json", "--gate", 0.01).stdout)
    assert body["gate"]["passed"] is True
    assert body["gate"]["margin"] == 0.01


def test_the_gate_ends_with_1_where_the_second_run_is_worse(runs: tuple[Path, Path]) -> None:
    better = call("compare", *runs, "--gate", 0.02)
    assert better.exit_code == 0
    assert "gate passed" in better.stdout
    worse = call("compare", *reversed(runs), "--gate", 0.02)
    assert worse.exit_code == 1
    assert worse.stdout.splitlines()[-1].startswith("gate failed")
    assert call("compare", *reversed(runs)).exit_code == 0


def test_a_folder_that_is_no_run_is_an_error_in_one_line(tmp_path: Path) -> None:
    result = call("compare", tmp_path, tmp_path)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "give the folder of a run" in result.stderr


def test_texts_in_one_run_only_are_told(runs: tuple[Path, Path], tmp_path: Path) -> None:
    fewer = write_run(tmp_path, noisy_rows(300, 0.9, 2)[:200])
    assert "with --common" in call("compare", runs[0], fewer).stderr
    assert "note: texts in both runs: 200, only in A: 100" in call("compare", runs[0], fewer, "--common").stdout
