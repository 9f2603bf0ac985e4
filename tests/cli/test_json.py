"""`--json`: every command that prints a result prints it as one line of JSON, and nothing else on standard output."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.arguments import print_json
from main import main
from tests.cli.test_help import COMMANDS
from tests.eval.runs import noisy_rows, write_run
from tests.support.misbehaving import endpoint, says
from tests.test_main import weighing_endpoint

ROOT = Path(__file__).parents[2]
WITHOUT = {"serve", "mcp", "keys", "review", "train", "benchmark", "reference"}  # services, groups, for maintainers
COLUMNS = ("--text-field", "plot", "--labels-field", "tmdb_genres")
DATA = ("--data", "films.jsonl", *COLUMNS)
FILMS = ("films.jsonl", "--text-field", "plot", "--genres-field", "tmdb_genres")
PICKED = ("films.jsonl", "--text-field", "plot", "--most", "3")
_CORPUS = "source: {path: films.csv}\nout: corpus\nenrich: {lookup: false}\n"

# Command line -> keys of the object, or None for a list.
CASES: dict[str, tuple[tuple[str, ...], set[str] | None]] = {
    "classify": (("A duel at noon.",), {"genres", "labels", "model"}),
    "bulk": (("films.jsonl", "--out", "o.csv", "--text-field", "plot"), {"file", "rows", "problems"}),
    "bulk --dry-run": (("films.jsonl", "--dry-run", "--text-field", "plot"), {"rows", "texts", "seconds"}),
    "review pick": (PICKED, {"file", "picked", "left_out"}),
    "review export": (("review.jsonl", "review.csv"), {"files", "texts", "reviewed"}),
    "review import": (("review.jsonl", "review.csv"), {"stored", "kinds", "left_out"}),
    "similar": (("A duel at noon.",), {"films"}),
    "taxonomies": ((), None),
    "taxonomies show": (("tmdb",), {"name", "labels", "digest"}),
    "taxonomies check": (("tmdb",), {"taxonomy", "errors", "findings"}),
    "taxonomies suggest": (("films.jsonl", "--text-field", "plot", "--labels", "3"), {"taxonomy", "groups"}),
    "taxonomies tune": (("tenants.yaml",), {"path", "seconds", "written", "check"}),
    "prompts": ((), None),
    "prompts show": (("plot", "--text", "x"), None),
    "evaluate": ((*DATA, "--systems", "prior:prior"), {"out", "report", "metrics"}),
    "evaluate --dry-run": ((*DATA, "--systems", "embedded"), {"embedded"}),
    "drift": (("films.jsonl", "films.jsonl"), {"parts"}),
    "compare": (("a", "b"), {"a", "b", "differences"}),
    "report": (("a",), {"files"}),
    "evaluate-similar": ((*FILMS, "--systems", "tfidf"), {"data", "films", "systems"}),
    "train prior": ((*DATA, "--out", "again"), {"folder", "validation"}),
    "train blend": ((*DATA, "--part", "prior", "--part", "bayes", "--out", "blend"), {"folder", "validation"}),
    "refit": (("prior", *DATA, "--out", "refitted"), {"folder", "texts"}),
    "keys add": (("ada",), {"name", "key"}),
    "keys list": ((), None),
    "keys revoke": (("bob",), {"name", "revoked"}),
    "data": (("films.jsonl", *COLUMNS), {"name", "rows", "left_out"}),
    "split": (("films.jsonl", *COLUMNS, "--ignore-splits", "--out", "split.json"), {"file", "digest", "rows"}),
    "corpus --status": (("corpus.yaml",), None),
    "index": ((*FILMS, "--out", "ix"), {"films", "kind", "folder"}),
    "map": (("--out", "map.html", "--method", "pca", "--limit", "20"), {"films", "file"}),
}
OF_AN_ENDPOINT: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "probe": ((), {"findings"}),
    "calibrate": ((*DATA, "--strategy", "label_tokens", "--limit", "4"), {"threshold", "slopes", "before", "path"}),
    "cascade": ((*DATA, "--limit", "4"), {"margin", "share", "micro_f1", "model"}),
    "cascade --dry-run": ((*DATA, "--target", "0.9", "--limit", "8"), {"oracle", "texts", "labels", "prompt_tokens"}),
    "fusion": ((*DATA, "--strategy", "label_tokens", "--limit", "12"), {"weights", "fusion_f1", "path"}),
    "distil --dry-run": (("films.jsonl", "--text-field", "plot", "--out", "made", "--teacher", "llm"), {"llm"}),
}
# They need a look-up provider (tests/lookup/test_enrich.py), a benchmark's data (tests/cli/test_benchmark.py), labelled
# texts of a kind (tests/cli/test_fit.py), and feedback (tests/marquee/test_feedback_store.py, test_learning.py).
ELSEWHERE = {"enrich", "benchmark btzsc", "fit", "learn", "feedback", "feedback export", "feedback delete"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, two finished runs and a trained model, which the commands share."""
    folder = tmp_path_factory.mktemp("json")
    rows = [json.loads(line) for line in (ROOT / "data/sample/films.jsonl").read_text(encoding="utf-8").splitlines()]
    for place, row in enumerate(rows[:48]):
        row["split"] = ("train", "validation", "test")[place % 3]
    (folder / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:48]))
    (folder / "films.csv").write_text("id,title,text,genres\n1,One,A duel.,War\n")
    (folder / "corpus.yaml").write_text(_CORPUS)
    shutil.copy(ROOT / "docs/examples/tenants.yaml", folder)
    for name, share, seed in (("a", 0.7, 1), ("b", 0.9, 2)):
        write_run(folder / name, noisy_rows(60, share, seed))
    return folder


@pytest.fixture
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def found(command: str, arguments: tuple[str, ...]) -> Any:
    words, *flags = command.split(" --")
    result = CliRunner().invoke(main, [*words.split(), *arguments, *(f"--{flag}" for flag in flags), "--json"])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_every_command_is_in_the_loop() -> None:
    kinds = {name for name in COMMANDS if name.startswith("train ") and name != "train prior"}
    covered = {name.partition(" --")[0] for name in CASES | OF_AN_ENDPOINT} | WITHOUT | ELSEWHERE | kinds
    assert covered == set(COMMANDS)
    for name, command in COMMANDS.items():
        assert ("as_json" in {parameter.name for parameter in command.params}) == (name not in WITHOUT), name


@pytest.mark.parametrize("command", CASES)
def test_the_result_is_one_line_of_json(there: Path, command: str) -> None:
    arguments, keys = CASES[command]
    if "prior:prior" in arguments or command in ("refit", "train blend"):
        found("train prior", (*DATA, "--out", "prior"))
    if command == "train blend":
        found("train tfidf-nb", (*DATA, "--out", "bayes"))
    if command in ("review export", "review import"):
        found("review pick", PICKED)
        found("review export", ("review.jsonl", "review.csv"))
    if command == "keys revoke":
        found("keys add", ("bob",))
    result = found(command, arguments)
    if keys is None:
        assert isinstance(result, list)
    else:
        assert keys <= result.keys()


@pytest.mark.parametrize("command", OF_AN_ENDPOINT)
def test_the_result_about_a_language_model_is_one_line_of_json(
    there: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    arguments, keys = OF_AN_ENDPOINT[command]
    with endpoint(says('["War"]') if command == "cascade" else weighing_endpoint()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert keys <= found(command, arguments).keys()


def test_the_result_of_the_matchers_training_is_one_line_of_json(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [json.loads(line) for line in (there / "films.jsonl").read_text(encoding="utf-8").splitlines()]
    films = [{**row, "description": row["plot"], "genres": row["imdb_genres"]} for row in rows]
    (there / "imdb.jsonl").write_text("".join(json.dumps(row) + "\n" for row in films))
    texts = {"train/pos": "I loved it.", "train/neg": "A dull waste.", "test/pos": "Great.", "test/neg": "Bad."}
    for part, words in texts.items():
        (there / "aclImdb" / part).mkdir(parents=True, exist_ok=True)
        (there / "aclImdb" / part / "1_5.txt").write_text(words)
    monkeypatch.setattr("training.matcher.train.train_matcher", lambda *_: None)  # minutes; tests/training/ trains
    result = found("train matcher", ("--data", "imdb.jsonl", "--reviews", "aclImdb", "--out", "own.safetensors"))
    assert result == {"file": "own.safetensors", "films": 16, "reviews": 2}


def test_numbers_that_json_does_not_have_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [float("nan"), float("inf"), 0.5], "path": Path("x")})
    assert json.loads(capsys.readouterr().out) == {"a": [None, None, 0.5], "path": "x"}
