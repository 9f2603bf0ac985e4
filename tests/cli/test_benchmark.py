"""``main.py benchmark btzsc``: systems over a public benchmark, beside published figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.benchmark import BENCHMARKS
from main import main
from tests.eval.btzsc_data import TEXTS, write_all

# Macro-F1 of the commonest label, by compute_metrics of the package btzsc 0.1.2.
COMMONEST = {"imdb": 0.428571, "emotiondair": 0.222222, "agnews": 0.222222}
DATA_SETS = ",".join(TEXTS)


@pytest.fixture(autouse=True)
def data(away: Path) -> Path:
    return write_all(away / "data")


def benchmark(*more: str | Path, systems: str = "embedded,minilm-plain", datasets: str = DATA_SETS) -> Result:
    options = ["--local", "data", "--datasets", datasets, "--systems", systems, "--out", "out"]
    return CliRunner().invoke(main, ["benchmark", "btzsc", *options, *map(str, more)])


def rows_of(result: Result) -> Mapping[str, list[str]]:
    """Cells of the printed table after the kind, by system."""
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in result.stdout.splitlines()[1:]]
    return {name: values for name, _, *values in lines}


def test_systems_are_printed_beside_published_models_over_the_same_data_sets() -> None:
    result = benchmark()
    assert result.exit_code == 0, result.output
    head = "system  kind  parameters  mean  sentiment  emotion  topic"
    assert result.stdout.splitlines()[0].split() == head.split()
    rows = rows_of(result)
    assert rows["all-MiniLM-L6-v2"] == ["22.7M", "0.315", "0.340", "0.111", "0.495"]
    assert rows["commonest"] == ["0.291", "0.429", "0.222", "0.222"]
    means = [float(values[-4]) for values in rows.values()]
    assert means == sorted(means, reverse=True)
    assert "3 of 22 data sets: all means, those of published models too, are over these." in result.stderr
    assert "agnews: texts without a true hypothesis: 1 of 8; they count as the first label." in result.stderr
    assert "page: out/btzsc.html" in result.stderr
    found = json.loads(Path("out/btzsc.json").read_text())
    by_name = {row["system"]: row for row in found["rows"]}
    assert by_name["commonest"]["values"] == COMMONEST
    assert by_name["commonest"]["mean"] == pytest.approx(sum(COMMONEST.values()) / 3, abs=1e-6)
    low, high = by_name["embedded"]["interval"]
    assert low <= by_name["embedded"]["mean"] <= high
    assert by_name["e5-base-v2"]["interval"] is None
    assert found["data_sets"]["agnews"] == {"texts": 8, "labels": 3}
    page = Path("out/btzsc.html").read_text()
    assert "Qwen3-Reranker-8B" in page
    assert "btzsc 0.1.2 (MIT licence)" in page
    assert TEXTS["agnews"][1][0][0] not in page
    assert "commonest" in Path("out/report.md").read_text()  # the report of the suite


def test_a_killed_run_continues_and_ends_with_the_same_rows() -> None:
    first = benchmark()
    path = Path("out/agnews/embedded/rows.jsonl")
    labels = [json.loads(line)["labels"] for line in path.read_text().splitlines()]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]) + lines[4][:20])  # what a kill leaves: fewer rows, and a torn line
    for name in ("btzsc.json", "btzsc.html", "agnews/embedded/metrics.json"):
        Path("out", name).unlink()
    again = benchmark()
    assert again.stdout == first.stdout
    assert "agnews embedded: 4 of 8 texts are answered there" in again.stderr
    assert "agnews minilm-plain: 8 of 8 texts are answered there" in again.stderr
    assert [json.loads(line)["labels"] for line in path.read_text().splitlines()] == labels
    assert path.read_bytes().splitlines()[:4] == [line.rstrip() for line in lines[:4]]


def test_a_limit_is_reported_and_an_unfinished_system_is_left_out() -> None:
    limited = benchmark("--limit", "2", systems="minilm-plain")
    assert "At most 2 texts per data set (--limit): the values are not those of the benchmark." in limited.stderr
    result = benchmark(systems="embedded")
    assert result.exit_code == 0, result.output
    assert "embedded" in rows_of(result)
    assert "minilm-plain" not in rows_of(result)
    assert "minilm-plain is left out: it has not all texts of every data set." in result.stderr
    assert "--limit" not in result.stderr


def test_groups_json_and_dry_runs() -> None:
    body = json.loads(benchmark("--json", systems="minilm-plain", datasets="agnews").stdout)
    assert (body["benchmark"], body["metric"], list(body["data_sets"])) == ("BTZSC", "macro-F1", ["agnews"])
    assert body["page"] == "out/btzsc.html"
    assert {row["system"] for row in body["rows"] if row["measured"]} == {"minilm-plain", "commonest"}
    costs = json.loads(benchmark("--json", "--dry-run", datasets="imdb", systems="embedded").stdout)
    assert costs == {"embedded": {"texts": 4}, "commonest": {"texts": 4}}
    assert not Path("out/imdb").exists()


@pytest.mark.parametrize(
    ("datasets", "said"),
    [
        ("agnew", "there is no data set 'agnew'; did you mean 'agnews'?"),
        ("emotion", "data has no data set 'empathetic'"),
        ("banking77", "get the data with `hf download btzsc/btzsc"),
    ],
)
def test_missing_data_sets_are_one_line(datasets: str, said: str) -> None:
    result = benchmark(datasets=datasets)
    assert result.exit_code == 1
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_every_benchmark_of_the_registry_has_its_name_and_complete_published_values() -> None:
    for name, entry in BENCHMARKS.items():
        public = entry.load()
        assert public.name == name
        assert len(public.data_sets) == len(set(public.data_sets))
        for model in public.published():
            assert model.values.keys() == set(public.data_sets)
            assert all(0 <= value <= 1 for value in model.values.values())
