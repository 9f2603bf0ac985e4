"""``main.py bulk --optimize``: the language model labels a sample, a certified small model answers most rows."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llm.calibration.prediction_sets import SetRule, SetStore
from llm.classifier import AnswerSource
from main import main
from marquee.optimised_bulk import SMALL
from marquee.prediction_sets import scoring_state
from marquee.settings import read_settings
from prompts import registry
from tests.support.misbehaving import Endpoint, body, endpoint, says

ROWS = 400
PRAISE = ("A wonderful film, I loved it", "Brilliant and moving, I loved every minute", "I loved this gem of a movie")
BLAME = ("A terrible film, I hated it", "Dull and lifeless, I hated every minute", "I hated this waste of a movie")
OPTIONS = ("--taxonomy", "sentiment", "--optimize", "--max-error", "0.1", "--patience", "0")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bulk", "reviews.jsonl", *OPTIONS, *arguments])


def review(number: int) -> str:
    return f"{(PRAISE, BLAME)[number % 2][number % 3]}, says viewer {number}."


def by_word(handler: BaseHTTPRequestHandler) -> None:
    request = json.dumps(getattr(handler, "request_body", None))
    says(f'["{"positive" if "loved" in request else "negative"}"]')(handler)


@pytest.fixture
def server(away: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """A table of reviews, every twentieth of them twice, and a language model that labels them by a word."""
    rows = [{"id": n, "text": review(n - n % 20 if n % 20 == 1 else n)} for n in range(ROWS)]
    (away / "reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("MARQUEE_STRATEGY", "json_list")
    monkeypatch.setenv("MARQUEE_RETRIES", "0")
    with endpoint(by_word) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        yield running


def sent(server: Endpoint) -> list[str]:
    """Every text that was sent, once for each time."""
    bodies = [json.dumps(request) for request in server.requests if request]
    return [one.partition("viewer ")[2].partition(".")[0] for one in bodies if "viewer" in one]


def rows(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_most_rows_are_answered_by_the_certified_small_model(server: Endpoint) -> None:
    result = call("--out", "out.jsonl", "--budget", "400")
    assert result.exit_code == 0, result.output
    calls = sent(server)
    assert len(calls) == len(set(calls)) <= 400
    found = rows("out.jsonl")
    by_model = [row["source"].startswith(SMALL) for row in found]
    assert sum(by_model) > ROWS / 2
    assert sum(row["source"].startswith("Qwen/Qwen2-7B-Instruct") for row in found) == ROWS - sum(by_model)
    right = sum(row["labels"] == ["positive" if "loved" in row["text"] else "negative"] for row in found)
    assert right >= 0.9 * ROWS
    bound = "at most 10.0% of the different texts have other labels than the system's, with a probability of 95%"
    assert bound in result.stderr
    assert f"{sum(by_model):,} rows by the small model" in result.stderr
    # Texts that the language model has labelled have its labels, whether or not the small one is sure of them.
    labelled = {row["text"].partition("viewer ")[2][:-1] for row in found if not row["source"].startswith(SMALL)}
    assert labelled == set(calls)
    again = call("--out", "out.jsonl", "--budget", "400")
    assert "out.jsonl is finished" in again.stderr
    assert len(sent(server)) == len(calls)
    served = CliRunner().invoke(
        main, ["evaluate", "--data", "out.jsonl", "--labels-field", "labels", "--taxonomy", "sentiment",
               "--text-field", "text", "--systems", f"{SMALL.split('/')[1]}:out.jsonl.optimize/head", "--limit", "20"]
    )  # fmt: skip
    assert served.exit_code == 0, served.output


def test_an_interrupted_run_pays_for_no_text_twice_and_ends_with_the_same_bytes(server: Endpoint) -> None:
    assert call("--out", "whole.jsonl", "--budget", "400").exit_code == 0
    paid = len(sent(server))
    for answered in (40, 50, 10_000):
        already = len(sent(server))

        def down_after(handler: BaseHTTPRequestHandler, most: int = already + answered) -> None:
            (by_word if len(sent(server)) <= most else body(503, {}))(handler)

        server.then[:] = [down_after]
        result = call("--out", "parts.jsonl", "--budget", "400")
        if answered < 10_000:
            assert result.exit_code == 1, result.output
            assert not Path("parts.jsonl").exists()
    assert result.exit_code == 0, result.output
    assert Path("parts.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
    assert paid <= len(sent(server)) - paid <= paid + 2 * 64 + 2  # the batches that failed were sent again


def test_the_bound_holds_where_the_small_model_cannot_follow_the_teacher(server: Endpoint) -> None:
    def by_chance(number: str) -> str:
        return "positive" if zlib.crc32(number.encode()) % 2 else "negative"

    def by_number(handler: BaseHTTPRequestHandler) -> None:
        request = json.dumps(getattr(handler, "request_body", None))
        says(f'["{by_chance(request.partition("viewer ")[2].partition(".")[0])}"]')(handler)

    server.then[:] = [by_number]
    result = call("--out", "out.jsonl", "--budget", "200", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["optimized"]["share"] < 0.3  # half of its answers are wrong
    assert summary["answered"]["Qwen/Qwen2-7B-Instruct"] > 0.7 * ROWS
    wrong = sum(row["labels"] != [by_chance(row["text"].partition("viewer ")[2][:-1])] for row in rows("out.jsonl"))
    assert wrong <= 0.1 * ROWS


@pytest.mark.usefixtures("server")
def test_a_run_with_a_small_model_has_no_prediction_sets_and_says_so() -> None:
    settings, sentiment = read_settings(), registry.taxonomy("sentiment")
    rule = SetRule(sentiment.names, 0.9, 100, 1, False, taxonomy=sentiment.versioned_name)
    key = SetStore.key(AnswerSource(settings.model, sentiment.versioned_name))
    SetStore(settings.coverage_path).put({key: replace(rule, state=scoring_state(settings))})
    result = call("--out", "out.jsonl", "--budget", "400")
    assert result.exit_code == 0, result.output
    assert "no row has a prediction set; the calibration in var/coverage.json is for answers of one" in result.stderr
    assert not {"set", "abstain"} & rows("out.jsonl")[0].keys()
    alone = ("reviews.jsonl", "--taxonomy", "sentiment", "--out", "alone.jsonl")
    assert CliRunner().invoke(main, ["bulk", *alone]).exit_code == 0
    assert {"set", "abstain"} <= rows("alone.jsonl")[0].keys(), "the calibration is in force without --optimize"


def test_errors_and_the_forecast(server: Endpoint, away: Path) -> None:
    assert call("--out", "out.jsonl", "--budget", "400", "--dry-run").stdout.count("--optimize: up to 380 texts") == 1
    assert sent(server) == []
    assert "belongs to another run" not in call("--out", "out.jsonl", "--budget", "400").output
    other = CliRunner().invoke(main, ["bulk", "reviews.jsonl", *OPTIONS, "--out", "out.jsonl", "--budget", "300"])
    assert other.exit_code == 1
    assert "belongs to another run: --max-error, --delta or --budget differ" in other.output
    assert call("--out", "out.jsonl", "--explain").exit_code == 2
    alone = CliRunner().invoke(main, ["bulk", "reviews.jsonl", "--out", "out.jsonl", "--budget", "300"])
    assert alone.exit_code == 2
    assert "--max-error, --delta and --budget need --optimize" in alone.output
    (away / "reviews.jsonl").write_text(json.dumps({"text": "One."}) + "\n")
    few = call("--out", "few.jsonl")
    assert few.exit_code == 1
    assert "1 different texts are too few for --optimize; give 200 or more" in few.output
