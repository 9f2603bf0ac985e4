"""``main.py cascade --target``: certified margins, from an endpoint or from labels, and the cascade that uses them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import marquee
from main import main
from tests.support.misbehaving import Endpoint, body, endpoint, says

COUNT = 160
WORDS = {"positive": "A wonderful film, I loved it", "negative": "A terrible film, I hated it"}
TARGET = ("cascade", "reviews.jsonl", "--taxonomy", "sentiment", "--text-field", "text", "--target", "0.8")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def review(number: int) -> str:
    return f"{WORDS[('positive', 'negative')[number % 2]]}, says viewer {number}."


@pytest.fixture
def server(away: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """A table of reviews, and a language model that labels them by the word that it finds in them."""
    rows = [{"id": n, "text": review(n), "labels": [("positive", "negative")[n % 2]]} for n in range(COUNT)]
    (away / "reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("MARQUEE_STRATEGY", "json_list")
    monkeypatch.setenv("MARQUEE_RETRIES", "0")
    with endpoint(labels_by("loved")) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        yield running


def labels_by(word: str) -> Any:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        request = json.dumps(getattr(handler, "request_body", None))
        says(f'["{"positive" if word in request else "negative"}"]')(handler)

    return respond


def overloaded(handler: BaseHTTPRequestHandler) -> None:
    """Lists its models, and labels nothing."""
    (body(503, {}) if getattr(handler, "request_body", None) else says("[]"))(handler)


def sent(server: Endpoint) -> int:
    """Number of texts that were sent so far."""
    return sum("viewer" in json.dumps(request) for request in server.requests if request)


def test_certified_margins_are_in_force_for_the_texts_of_their_taxonomy(
    server: Endpoint, away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = call(*TARGET, "--budget", "100")
    assert result.exit_code == 0, result.output
    assert result.stdout == "MARQUEE_CASCADE_MARGIN=var/cascade.json\n"
    assert "over all texts: at least 0.8, with a probability of 0.95" in result.stderr
    assert "0.0% of the 160 texts go to the language model" in result.stderr
    assert 0 < (labelled := sent(server)) <= 100
    monkeypatch.setenv("MARQUEE_CASCADE_MARGIN", "var/cascade.json")
    assert call("classify", review(0) + " Really.", "--taxonomy", "sentiment").exit_code == 0
    [alone] = marquee.classify([review(2) + " Indeed."], taxonomy="sentiment")
    assert (alone.labels, alone.source.model) == (("positive",), "embedded/matcher.v2")
    assert sent(server) == labelled
    [other] = marquee.classify([review(4)], ["loved", "loathed"])  # a taxonomy without margins
    assert other.source.model != "embedded/matcher.v2"
    assert sent(server) == labelled + 1


def test_a_second_run_sends_nothing_and_finds_the_same(server: Endpoint) -> None:
    first = call(*TARGET, "--json")
    labelled = sent(server)
    second = call(*TARGET, "--json")
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert sent(server) == labelled == json.loads(first.stdout)["labels"]


def test_an_oracle_that_disagrees_leaves_every_text_to_the_language_model(
    server: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.then = [labels_by("hated")]
    result = call(*TARGET)
    assert result.exit_code == 0
    assert "no margin can be certified" in result.stderr
    assert "every text goes to the language model" in result.stderr
    labelled = sent(server)
    monkeypatch.setenv("MARQUEE_CASCADE_MARGIN", "var/cascade.json")
    [answer] = marquee.classify([review(0) + " Unseen."], taxonomy="sentiment")
    assert answer.labels == ("negative",)
    assert sent(server) == labelled + 1


def test_a_dry_run_sends_nothing_and_a_cap_stops(server: Endpoint) -> None:
    dry = call(*TARGET, "--dry-run", "--budget", "50", "--max-tokens", "1000")
    assert "llm: at most 50 labels of 160 texts" in dry.stdout
    assert re.search(r"--max-tokens 1000: stops after about \d+ texts", dry.stdout), dry.output
    assert not sent(server)
    stopped = call(*TARGET, "--max-tokens", "1")
    assert stopped.exit_code == 1
    assert "stopped at --max-tokens 1" in stopped.stderr
    assert not sent(server)


def test_an_unreachable_oracle_stops_and_the_same_command_continues(server: Endpoint, away: Path) -> None:
    server.then = [overloaded]
    result = call(*TARGET)
    assert result.exit_code == 1
    assert "the same command continues" in result.stderr
    assert not (away / "var/cascade.json").exists()
    server.then = [labels_by("loved")]
    assert call(*TARGET).exit_code == 0


def test_labels_of_the_table_certify_each_label(server: Endpoint) -> None:
    result = call(*TARGET, "--oracle", "labels", "--labels-field", "labels", "--per-label", "--json")
    found = json.loads(result.stdout)
    assert set(found["label_margins"]) == {"positive", "negative"}
    assert (found["over"], found["model"], found["usd"], sent(server)) == ("answered", "", None, 0)
    assert [(part["label"], part["texts"]) for part in found["parts"]] == [("negative", 80), ("positive", 80)]
    table = call(*TARGET, "--oracle", "labels", "--labels-field", "labels", "--per-label").stdout.splitlines()
    assert table[1].split()[:3] == ["label", "texts", "margin"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cascade",), "give one table"),
        ((*TARGET, "--data", "reviews.jsonl"), "give one table"),
        ((*TARGET, "--loss", "0.1"), "give one of them"),
        (("cascade", "reviews.jsonl", "--dry-run"), "need --target"),
        ((*TARGET, "--per-label", "--metric", "recall"), "depends on the margins of all other labels"),
        ((*TARGET, "--oracle", "lm"), "did you mean"),
        (("cascade", "reviews.jsonl", "--text-field", "text", "--target", "0.9", "--per-label"), "--metric precision"),
    ],
    ids=["no table", "two tables", "loss", "dry run", "recall of a label", "oracle", "several labels"],
)
def test_a_plan_that_cannot_work_is_refused(server: Endpoint, arguments: tuple[str, ...], message: str) -> None:
    result = call(*arguments)
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.stderr.split())
    assert not sent(server)


def test_a_missing_file_of_margins_is_an_error_at_the_start(server: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_CASCADE_MARGIN", "missing.json")
    result = call("classify", review(0), "--taxonomy", "sentiment")
    assert "MARQUEE_CASCADE_MARGIN: there is no file missing.json" in result.stderr
