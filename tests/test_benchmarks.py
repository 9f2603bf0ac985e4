"""Smoke tests of the benchmarks: help, small runs on a CPU, and the error without a GPU."""

import ast
import gzip
import importlib
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from click import Command
from click.testing import CliRunner, Result

from benchmarks import cold_start, hierarchies, optimised_bulk
from benchmarks import embedded as embedded_benchmark
from benchmarks import local as local_benchmark
from benchmarks import taxonomies as taxonomies_benchmark
from benchmarks.constants import Family
from benchmarks.install import Package, report
from benchmarks.local import STRATEGIES
from benchmarks.measure import Plots, Rounds, target
from llm.embedded.matcher import Matcher
from prompts.taxonomy import Taxonomy
from prompts.taxonomy_file import load_taxonomy
from tests.support.bare_model import opinionated
from tests.support.tiny_qwen2 import build

ROOT = Path(__file__).parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)


def call(module: str, *arguments: str) -> Result:
    """The same in this process, where the libraries are loaded already."""
    command: Command = importlib.import_module(module).main
    return CliRunner().invoke(command, arguments)


def scripts() -> list[ast.Module]:
    """Programs that benchmarks contain as strings and run in processes of their own."""
    files = sorted((ROOT / "benchmarks").glob("*.py"))
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [ast.parse(text) for text in texts if "\n" in text and "import " in text and is_python(text)]


def is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def test_programs_that_benchmarks_start_import_names_that_exist() -> None:
    imports = [node for script in scripts() for node in ast.walk(script) if isinstance(node, ast.ImportFrom)]
    assert imports
    for statement in imports:
        module = importlib.import_module(str(statement.module))
        for name in statement.names:
            assert hasattr(module, name.name) or find_spec(f"{statement.module}.{name.name}"), ast.unparse(statement)


@pytest.mark.parametrize(
    ("value", "bound", "most", "cells"),
    [
        (6.27, 10, False, ["6.27 times", "≥ 10 times", "**no**"]),
        (13.0, 10, False, ["13.00 times", "≥ 10 times", "yes"]),
        (1.53, 1.5, True, ["1.53 times", "≤ 1.5 times", "**no**"]),
        (5.54, None, False, ["5.54 times", "", ""]),
    ],
)
def test_a_row_of_the_targets_has_the_value_the_target_and_whether_it_is_reached(
    value: float, bound: float | None, most: bool, cells: list[str]
) -> None:
    assert target("a", value, bound, "times", most=most) == ["a", *cells]


@pytest.mark.parametrize("name", ["llm", "gpu", "embedded", "similarity", "service", "bulk", "bulk_killed"])
def test_a_benchmark_explains_itself(name: str) -> None:
    done = call(f"benchmarks.{name}", "--help")
    assert done.exit_code == 0
    assert "texts per second" in " ".join(done.stdout.split()).lower()


@pytest.mark.parametrize(
    ("arguments", "purpose"),
    [
        (["benchmarks.lora"], "outside the training data"),
        (["benchmarks.constants", "unseen-labels"], "labels that training did not include"),
        (["benchmarks.constants", "label-bias"], "more and less of the model's bias removed"),
        (["benchmarks.service_load"], "reference service"),
        (["benchmarks.cold_start"], "as a process of its own"),
        (["benchmarks.install"], "what each package weighs"),
        (["benchmarks.local"], "all questions of `yes_no` at once"),
    ],
)
def test_other_commands_explain_themselves(arguments: list[str], purpose: str) -> None:
    done = call(*arguments, "--help")
    assert done.exit_code == 0
    assert purpose in " ".join(done.stdout.split())


def test_the_code_for_a_gpu_runs_on_a_cpu_with_a_tiny_model() -> None:
    done = call("benchmarks.gpu", "--smoke")
    assert done.exit_code == 0, done.output
    (bare,) = [line for line in done.stdout.splitlines() if line.startswith("| transformers, bf16")]
    assert "not measured" not in bare


def test_all_questions_at_once_are_compared_with_one_by_one(tmp_path: Path) -> None:
    given = Plots(("A baker bakes bread in the rain.", "Fog."), ((), ()), "2 plots")
    one = local_benchmark.in_process(opinionated(build(tmp_path)), "float32")
    found = local_benchmark.compare_questions(one, given, count=3, rounds=2)
    assert {len(values) for values in found.values.values()} == {2}
    assert max(found.values["difference"]) < 1e-4
    assert "| `yes_no`, one call, against one call per question |" in local_benchmark.questions_report(found)
    speeds = Rounds({f"{name} {key}": [0.5] for name in (local_benchmark.LLAMA, one.name) for key in STRATEGIES})
    assert "| `--local`, float32 | 2.00 (2.00–2.00) | 2.00 (2.00–2.00) |" in local_benchmark.report(speeds, [one])


def test_the_mass_of_codes_is_measured_apart_for_each_strategy_and_system_prompt() -> None:
    done = run("benchmarks.constants", "code-mass", "--smoke")
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if "named" in line]
    least = {tuple(row[:3]): float(row[4]) for row in rows}
    for strategy in ("label_tokens", "yes_no"):
        assert least[strategy, "normal", "named"] == 0.9
        assert least[strategy, "explain", "named"] == 0.01
        assert least[strategy, "normal", "not named"] < 0.001


COMMANDS = ["`classify TEXT`", "`classify TEXT`, vectors of labels not kept", "`classify TEXT --labels …`", "`--help`"]
# A `main.py` that is busy for a part of a second, unless help is wanted.
BUSY = "import sys, time\nwhile '--help' not in sys.argv and time.process_time() < 0.3: pass\n"


@pytest.mark.parametrize("checkout", ["busy", pytest.param("this one", marks=pytest.mark.slow)])
def test_a_cold_start_is_compared_with_another_checkout_round_by_round(
    checkout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "main.py").write_text(BUSY)
    if checkout == "busy":
        monkeypatch.setattr(cold_start, "ROOT", tmp_path)
    done = CliRunner().invoke(cold_start.main, ["--rounds", "1", "--other", str(cold_start.ROOT)])
    assert done.exit_code == 0, done.output
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| `")]
    assert [row[0].strip() for row in rows[:5]] == [*COMMANDS, "`classify TEXT` of the other checkout"]
    assert float(rows[0][3]) == 1
    assert float(rows[3][3]) < 1, "--help loads no model"


def test_a_command_that_fails_ends_the_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "main.py").write_text("raise SystemExit('--labels' in __import__('sys').argv)")
    monkeypatch.setattr(cold_start, "ROOT", tmp_path)
    done = CliRunner().invoke(cold_start.main, ["--rounds", "1"])
    assert done.exit_code == 1
    assert "--labels fairy tale,news,law` ended with status 1" in done.output


def test_a_package_is_weighed_by_its_wheel(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "a-1.0-py3-none-any.whl", "w", ZIP_DEFLATED) as wheel:
        wheel.writestr("a/__init__.py", "x" * 2_000_000)
        wheel.writestr("a-1.0.dist-info/METADATA", "Metadata-Version: 2.4\nName: a\nVersion: 1.0\n")
    found = Package.of(tmp_path / "a-1.0-py3-none-any.whl")
    assert (found.name, round(found.unpacked)) == ("a 1.0", 2)
    assert found.download < 0.1
    text = report([Package("large", 400, 900), found], 20, 11)
    assert "| 1 packages below 1 MB |" in text
    assert "| processor time, both | 31.00 s | ≤ 30 s | **no** |" in text


def test_searches_are_compared_over_the_same_vectors() -> None:
    done = run("benchmarks.similarity", "--smoke", "--parts", "search")
    assert done.returncode == 0, done.stderr
    for kind in ("hnsw", "ivf"):
        (row,) = [line for line in done.stdout.splitlines() if line.startswith(f"| {kind} |")]
        assert float(row.split("|")[5]) > 0.9


def test_bulk_is_measured_from_file_to_file_and_by_the_number_of_rows() -> None:
    done = call("benchmarks.bulk", "--smoke", "--parts", "embedded,rows")
    assert done.exit_code == 0, done.output
    measured = {cells[1].strip(): cells for line in done.stdout.splitlines() if len(cells := line.split("|")) > 3}
    assert float(measured["bulk, from file to file"][3].split()[0]) > 0
    assert {"1,000", "3,000"} <= measured.keys()
    assert float(measured["3,000"][5]) < 1.5  # three times the rows, at most half more memory


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_error_is_one_line() -> None:
    done = call("benchmarks.gpu")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: this needs an NVIDIA GPU")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("chosen", "seconds", "expected"),
    [("float32", 0.3, "0.50 of 57.3 GFLOP/s"), ("bfloat16", 0.04, "0.07 of 429.5 GFLOP/s")],
)
def test_the_ceiling_is_that_of_the_number_format_in_use(
    chosen: str, seconds: float, expected: str, embedded: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("similarity.encoders.precision._process_choice", chosen)
    monkeypatch.setattr(embedded_benchmark, "operations", lambda embedded, texts: 28.6e9)
    names = ("stock", "encode", "classify", "distant", "unseen", "one", "first")
    rounds = Rounds({name: [1.0] for name in names} | {"matmul": [seconds]})
    printed = embedded_benchmark.report(rounds, embedded, ["a plot"], "texts")
    assert f"| share of torch's {chosen} matmul | {expected} |  |" in printed  # eight bits only with "auto"
    assert f"{chosen} on a CPU with " in printed


def test_evidence_for_the_lint(tmp_path: Path, embedded: Matcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three labels with five texts each, in the form of the folder of labelled texts."""
    monkeypatch.setattr(taxonomies_benchmark, "MiniLM", lambda: embedded.encoder)
    monkeypatch.setattr(taxonomies_benchmark, "matcher", lambda **_: embedded)
    names = ["Printer", "Invoice", "Password"]
    (tmp_path / "agnews.labels.json").write_text(json.dumps({"labels": [{"name": name} for name in names]}))
    rows = [
        {"text": f"{number} words about the {name.lower()}", "labels": [name], "split": "validation"}
        for name in names
        for number in ("two", "three", "four", "five", "six")
    ]
    (tmp_path / "agnews.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    result = CliRunner().invoke(taxonomies_benchmark.main, [str(tmp_path)], catch_exceptions=False)
    assert "| agnews | 3 | 3 | 1.00 |" in result.output
    assert sum("100%" in line for line in result.output.splitlines()) >= 1


@pytest.mark.slow
def test_an_optimised_run_is_complete_and_compared_with_its_teacher(tmp_path: Path) -> None:
    words = {"sport": ("won the match", "scored a goal"), "cooking": ("fried the onions", "baked the bread")}
    rows = [
        {
            "id": str(number), "text": f"Person {number} {words[name][number % 3 // 2]} in {1900 + number}.",
            "labels": [name], "split": "validation" if number % 7 == 6 else "train",
        }
        for number in range(240) for name in [list(words)[number % 2]]
    ]  # fmt: skip
    (tmp_path / "days.labels.json").write_text(json.dumps({"labels": [{"name": name} for name in words]}))
    (tmp_path / "days.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--family", "days", "--max-error", "0.1", "--budget", "200", "--rows", "220", "--out", str(tmp_path)]
    done = CliRunner().invoke(optimised_bulk.main, ["--data", str(tmp_path), *options])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("days: 220 rows, 2 labels; teacher tfidf-lr:")
    cells = [cell.strip() for cell in done.stdout.splitlines()[-1].strip("| ").split("|")]
    calls, small = int(cells[1].removesuffix(" of 220")), int(cells[5])
    assert calls + small == 220
    assert small > 0
    assert float(cells[-1].rstrip("%")) <= 10


def test_taxonomy_files_of_labelled_sets_have_their_levels(tmp_path: Path) -> None:
    parents = [{"name": "stars", "parent": "physics", "code": "astro"}, {"name": "physics"}]
    galaxies = {"name": "galaxies", "parent": "stars", "description": "far  away"}
    labels = [galaxies, {"name": "optics", "parent": "physics"}]
    (tmp_path / "sky.labels.json").write_text(json.dumps({"multi": True, "labels": labels, "parents": parents}))
    done = CliRunner().invoke(hierarchies.main, [str(tmp_path), "sky", "--out", str(tmp_path / "out")])
    assert "sky.yaml: 2 leaves, 3 levels" in done.output
    found = load_taxonomy(tmp_path / "out" / "sky.yaml")
    assert found.names == ("physics > stars > galaxies", "physics > optics")
    assert found.predictable[0].description == "far away"


def test_texts_of_a_family_are_in_scope_of_itself_and_of_its_field() -> None:
    taxonomy = Taxonomy.of(["a", "b"])
    news, hotels, banking = (Family(name, taxonomy, [], []) for name in ("agnews", "nlupp_hotels", "nlupp_banking"))
    assert [news.excludes(one) for one in (news, hotels)] == [False, True]
    assert not hotels.excludes(banking)
