"""``main.py evaluate``: several systems, killed and resumed, previewed, scored again, held against an earlier run."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from eval.run import folder_name
from main import main
from marquee.systems import SystemContext, from_spec
from prompts import registry
from prompts.errors import InvalidPrompt, InvalidSetting, UnknownName
from prompts.text import Text

ROOT = Path(__file__).parent.parent
GENRES = ("War", "Drama", "Horror", "Comedy")
pytestmark = pytest.mark.usefixtures("away")


@dataclass
class Model:
    """A model server that knows each text by its number, counts what it is asked, and takes its time."""

    url: str = ""
    seconds: float = 0.0
    requests: Counter[int] = field(default_factory=Counter)
    tokenized: int = 0

    def reply(self, path: str, body: Any) -> tuple[int, Any]:
        words = json.dumps(body.get("messages", body.get("prompt", "")))
        if path == "/tokenize":
            self.tokenized += "messages" in body
            return 200, {"count": 100, "tokens": [1]}
        if path != "/v1/chat/completions":
            return 404, {}
        found = re.search(r"plot number (\d+)\.", words)
        if found:
            self.requests[int(found[1])] += 1
            time.sleep(self.seconds)
        said = json.dumps([GENRES[int(found[1]) % len(GENRES)]]) if found else "Hello."
        usage = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 40}}
        return 200, {"choices": [{"message": {"content": said}}], "usage": usage}


@contextmanager
def model(seconds: float = 0.0) -> Iterator[Model]:
    """Run the model on a free port."""
    state, lock = Model(seconds=seconds), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:  # one at a time, so that a batch takes a while
                status, document = state.reply(self.path, json.loads(raw or "{}"))
            answer = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def films(away: Path) -> Path:
    """24 films, every second one of which the model gets right."""
    rows = [
        {"id": n, "description": f"A plot number {n}.", "genres": [GENRES[n % len(GENRES) if n % 2 else 0]]}
        for n in range(24)
    ]
    path = away / "films.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def untimed(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) | {"seconds": 0} for line in (folder / "rows.jsonl").read_text().splitlines()]


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


ASK = ("evaluate", "--data", "films.jsonl", "--systems", "llm:json_list", "--alone", "2", "--batch", "4", "--no-cache")


def test_a_killed_evaluation_goes_on_and_asks_about_no_text_twice_but_those_under_way(
    films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, rows = films.parent, films.parent / "run" / "llm-json_list" / "rows.jsonl"
    with model(seconds=0.05) as server:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MARQUEE_")}
        killed = subprocess.Popen(
            [sys.executable, ROOT / "main.py", *ASK, "--out", "run"],
            cwd=away,
            env=clean | {"OPENAI_BASE_URL": server.url, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
        )
        while lines(rows) < 10 and killed.poll() is None:
            time.sleep(0.01)
        killed.kill()
        _, said = killed.communicate()
        assert killed.returncode == -9, said.decode()
        there = lines(rows)
        assert 10 <= there < 24
        time.sleep(0.3)  # what was on its way to the server is counted now
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        server.seconds = 0.0
        resumed = call(*ASK, "--out", "run")
        assert f"llm:json_list: {there} of 24 texts are answered there" in resumed.stderr
        assert set(server.requests) == set(range(24))
        assert max(server.requests.values()) <= 2
        assert sum(count - 1 for count in server.requests.values()) <= 4, "the batch that was under way"
        asked = server.requests.total()
        assert "llm:json_list" in call(*ASK, "--out", "run").stdout
        assert server.requests.total() == asked, "nothing is left to ask"
        call(*ASK, "--out", "whole")
    resumed_rows = untimed(rows.parent)
    assert resumed_rows == untimed(away / "whole" / "llm-json_list")
    assert [row["labels"] for row in resumed_rows] == [[GENRES[int(row["id"]) % len(GENRES)]] for row in resumed_rows]


def test_systems_stand_side_by_side_and_are_scored_again_to_the_byte(
    films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with model() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        arguments = ("evaluate", "--data", "films.jsonl", "--out", "run", "--alone", "4", "--limit", "12")
        first = call(*arguments, "--systems", "embedded,llm:plot.v1:json_list")
    assert re.match(r"system +micro-F1 +macro-F1 +Jaccard +p50 ms +texts/s +texts\nembedded ", first.stdout)
    metrics = {path: path.read_bytes() for path in (films.parent / "run").glob("*/metrics.json")}
    assert {path.parent.name for path in metrics} == {"embedded", "llm-plot.v1-json_list"}
    manifest = json.loads((films.parent / "run" / "llm-plot.v1-json_list" / "manifest.json").read_text())
    assert manifest["setup"]["prompts"] == [f"plot.v1@{registry.prompt('plot.v1').digest}"]
    assert (manifest["decode_rule"], manifest["texts"]) == ("json_list: the labels written, at most 5", 12)
    for path in metrics:
        path.unlink()
    again = call("evaluate", "--rescore", "run")
    assert again.stdout == first.stdout
    assert {path: path.read_bytes() for path in metrics} == metrics
    other = call(*arguments[:-1], "11", "--systems", "embedded")
    assert (other.exit_code, "--overwrite" in other.stderr) == (1, True)
    assert call(*arguments[:-1], "3", "--systems", "embedded", "--overwrite").exit_code == 0
    assert lines(films.parent / "run" / "embedded" / "rows.jsonl") == 3


def test_a_dry_run_tells_tokens_and_money_and_asks_nothing(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with model() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("MARQUEE_MODEL", "gpt-4o")
        told = call(*ASK, "--out", "run", "--dry-run").stdout
        assert (server.requests.total(), server.tokenized) == (0, 24)
    assert "llm:json_list: 24 texts to label" in told
    assert re.search(r"prompt tokens +2,400  counted by the endpoint", told)
    assert re.search(r"USD +0\.0118 ", told), "2,400 prompt tokens at 2.50 and 24 x 24 written ones at 10.00 a million"
    assert not (films.parent / "run").exists()
    assert "films.jsonl" not in told
    assert call("evaluate", "--data", "films.jsonl", "--systems", "embedded", "--dry-run").stdout == (
        "embedded: 24 texts to label\n"
    )


def test_without_a_tokenizer_at_the_endpoint_tokens_are_estimated_and_said_to_be(
    films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("MARQUEE_RETRIES", "0")
    told = call(*ASK, "--dry-run").stdout
    assert "estimated, 4 characters per token" in told
    assert "unknown: the model has no price" in told
    tokens, shared = (
        int(one.replace(",", "")) for one in re.findall(r"(?:prompt tokens|shared prefix) +([\d,]+)", told)[:2]
    )
    assert tokens / 2 < shared < tokens, "all texts but the first find the taxonomy computed"


def test_an_endpoint_that_cannot_be_reached_stops_the_evaluation_before_its_rows(
    films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    result = call(*ASK, "--out", "run")
    assert (result.exit_code, "no connection" in result.stderr) == (1, True)
    assert not (films.parent / "run" / "llm-json_list" / "rows.jsonl").exists()


def test_a_service_that_cannot_be_reached_fails_the_evaluation_after_its_rows(films: Path) -> None:
    result = call("evaluate", "--data", "films.jsonl", "--url", "http://127.0.0.1:1", "--limit", "2", "--out", "run")
    assert (result.exit_code, "not one text was answered" in result.stderr) == (1, True)
    assert all(row["problem"]["kind"] == "unreachable" for row in untimed(films.parent / "run"))


def test_each_way_to_show_texts_is_a_run_of_its_own_and_the_report_sets_them_side_by_side(
    films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [json.loads(line) | {"title": f"plot number {n}."} for n, line in enumerate(films.read_text().splitlines())]
    films.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = ("--shown", "plot,title", "--title-field", "title", "--orders", "3", "--out", "run")
    with model() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        result = call(*ASK, *shown)
        assert result.exit_code == 0, result.stderr
        assert server.requests.total() == 2 * (24 + 3 * 2), "each way: every text, and two of them in three orders"
    folder = films.parent / "run"
    assert {one.name for one in folder.iterdir() if one.is_dir()} == {"llm-json_list@plot", "llm-json_list@title"}
    assert json.loads((folder / "llm-json_list@plot" / "order.json").read_text())["orders"] == 3
    assert "llm:json_list@plot" in result.stdout
    report = (folder / "report.md").read_text()
    assert "**Memorisation**" in report
    assert "**Order sensitivity**" in report
    again = call("evaluate", "--rescore", "run")
    assert again.stdout == result.stdout


# --- names ---

SETTING = SystemContext(registry.taxonomy("tmdb"), [Text("a plot"), Text("", "a title")])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("embeded", "did you mean 'embedded'"),
        ("bayes", "known: embedded, fusion, hf, llm, minilm-plain, service, tfidf-lr"),
        ("embedded:large", "no file of weights"),
        ("service:there", "service:URL"),
        ("llm:json_lists", "did you mean 'json_list'"),
        ("llm:json_list:label_tokens", "one strategy and one prompt"),
        ("llm:json_list:no.v1.jinja", "cannot read no.v1.jinja: No such file"),
        ("llm:json_list:mine.jinja", "name a prompt KIND.vN.jinja"),
        ("minilm:none", "has no trained model"),
    ],
)
def test_a_name_that_means_nothing_is_refused_with_what_there_is(
    away: Path, monkeypatch: pytest.MonkeyPatch, spec: str, said: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    trained = away / "var" / "models" / "tmdb" / "tfidf-lr"
    trained.mkdir(parents=True)
    (trained / "manifest.json").write_text("{}")
    with pytest.raises((UnknownName, InvalidSetting, InvalidPrompt), match=said):
        from_spec(spec, SETTING)
    assert from_spec("tfidf-lr", SETTING).setup == from_spec("own:var/models/tmdb/tfidf-lr", SETTING).setup


def test_strategy_and_prompt_come_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    one, other = from_spec("llm:yes_no:auto", SETTING).setup, from_spec("llm:auto:yes_no", SETTING).setup
    assert one == other
    assert (one["strategy"], one["prompts"]) == ("yes_no", [f"auto.v2@{registry.prompt('auto').digest}"])
    assert [name.partition("@")[0] for name in from_spec("llm", SETTING).setup["prompts"]] == ["plot.v2", "title.v2"]


def test_a_prompt_may_be_the_path_of_a_template(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    (away / "drafts").mkdir()
    source = registry.prompt("text.v1").source
    (away / "drafts" / "own.v3.jinja").write_text(source.replace("--- user ---", "- Be brief.\n--- user ---"))
    [name] = from_spec("llm:json_list:drafts/own.v3.jinja", SETTING).setup["prompts"]
    assert name == f"own.v3@{registry.prompt_at('drafts/own.v3.jinja').digest}"
    shown = CliRunner().invoke(main, ["prompts", "show", "drafts/own.v3.jinja", "--text", "x", "--taxonomy", "news"])
    assert "- Be brief." in shown.output


def test_a_language_model_that_is_not_set_is_told() -> None:
    with pytest.raises(InvalidSetting, match="set OPENAI_BASE_URL"):
        from_spec("llm", SETTING)


def test_folders_are_named_after_specs_and_names_and_passwords_stay_out() -> None:
    assert folder_name("llm:json_list:plot.v1") == "llm-json_list-plot.v1"
    assert folder_name("minilm:../models/mine") == "minilm-..-models-mine"
    assert len(folder_name("minilm:" + "x" * 300)) < 100
    assert from_spec("service:http://me:secret@127.0.0.1:5000", SETTING).spec == "service:http://***@127.0.0.1:5000"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give --data or --suite, or --rescore"),
        (["--data", "films.jsonl", "--systems", "embedded,embedded"], "share a folder"),
        (["--data", "films.jsonl", "--systems", "embedded", "--url", "http://x"], "--url is one system"),
        (["--rescore", "none"], "has no run"),
        (["--data", "films.jsonl", "--gate", "none"], "has no run"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_runs(films: Path, arguments: list[str], said: str) -> None:
    result = call("evaluate", *arguments)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
