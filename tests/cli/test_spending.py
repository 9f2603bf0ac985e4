"""``--max-cost`` and ``--max-tokens`` of ``bulk`` and ``evaluate``, with an endpoint that counts tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import marquee
from llm.classifier import Prediction
from main import main
from prompts.errors import Interrupted, InvalidSetting
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from tests.bulk.words import read_lines, rows, write_lines
from tests.support.misbehaving import Endpoint, body, endpoint

TOKENS = 1_000  # of every text, 40 of them written; more than its estimate
COUNT = 24


class Fixed:
    """A classifier that was loaded before."""

    name = "fixed"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        raise AssertionError("this must not be called")


def films(count: int) -> list[dict[str, Any]]:
    """Films with their genres, in the columns that ``evaluate`` reads by default."""
    genres = (["War"], ["Romance"])
    return [{"id": row["id"], "description": row["plot"], "genres": genres[row["year"] % 2]} for row in rows(count)]


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": '["War"]'}}
    usage = {"prompt_tokens": TOKENS - 40, "completion_tokens": 40}
    with endpoint(body(200, {"choices": [choice], "usage": usage})) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("MARQUEE_MODEL", "gpt-4o-mini")
        monkeypatch.setenv("MARQUEE_TEXTS_PER_REQUEST", "1")
        yield server


def asked(server: Endpoint) -> int:
    """The number of requests about a text of the run."""
    return sum("Plot " in json.dumps(one) for one in server.requests)


def test_a_forecast_counts_the_requests_for_evidence(away: Path, server: Endpoint) -> None:
    given = write_lines(away / "i.jsonl", rows(4))
    arguments = ("bulk", given, "--system", "llm:json_list", "--taxonomy", "tmdb", "--dry-run", "--json")
    plain, explained = (json.loads(call(*arguments, *more).stdout)["preview"] for more in ((), ("--explain",)))
    assert (plain["requests"], explained["requests"]) == (4, 4 + 4 * 5)
    assert explained["usd"] > plain["usd"]


def test_bulk_stops_at_the_cap_says_what_was_spent_and_resumes(away: Path, server: Endpoint) -> None:
    given = write_lines(away / "i.jsonl", rows(COUNT))
    arguments = ("bulk", given, "--system", "llm:json_list", "--batch", "4", "--out", away / "o.jsonl")
    stopped = call(*arguments, "--max-tokens", "13000")
    assert stopped.exit_code == 1
    assert "stopped at --max-tokens 13000: 12,000 tokens are spent, and the next 4 texts may take 4,400 tokens" in (
        stopped.output
    )
    assert asked(server) == 12
    assert not (away / "o.jsonl").exists()
    again = call(*arguments, "--max-tokens", "13000")
    assert "12,000 tokens are spent" in again.output
    assert asked(server) == 12, "what the earlier process spent counts"
    done = call(*arguments)
    assert done.exit_code == 0, done.output
    assert asked(server) == COUNT
    whole = call(*arguments[:-1], away / "whole.jsonl", "--max-cost", "1")
    assert whole.exit_code == 0, whole.output
    assert (away / "o.jsonl").read_bytes() == (away / "whole.jsonl").read_bytes()


def evaluation(given: Path, systems: str, *more: str | Path) -> tuple[str | Path, ...]:
    chosen = ("--systems", systems, "--taxonomy", "tmdb", "--no-cache")
    return ("evaluate", "--data", given, *chosen, "--alone", "2", "--batch", "4", *more)


def metrics(folder: Path) -> Any:
    """The metrics that depend neither on time nor on memory."""
    found = json.loads((folder / "metrics.json").read_text())
    measured = (" ms", "/s", " MB", "seconds")
    return {name: value for name, value in found.items() if not name.endswith(measured)}


def test_evaluate_stops_at_the_cap_and_resumes_to_the_same_metrics(away: Path, server: Endpoint) -> None:
    given = write_lines(away / "i.jsonl", films(COUNT))
    arguments = evaluation(given, "llm:json_list", "--out", away / "capped")
    stopped = call(*arguments, "--max-cost", "0.002")
    assert stopped.exit_code == 1
    # A text costs (960 * 0.15 + 40 * 0.6) / 1,000,000 = 0.000168 USD; eleven would fit, batches of 1, 1 and 4 give 10.
    assert "stopped at --max-cost 0.002: 10,000 tokens and 0.0017 USD are spent, and the next 4 texts" in stopped.output
    (capped,) = (away / "capped").glob("llm*")
    assert len(read_lines(capped / "rows.jsonl")) == 10
    assert call(*arguments, "--max-cost", "1").exit_code == 0
    assert asked(server) == COUNT
    assert call(*evaluation(given, "llm:json_list", "--out", away / "whole")).exit_code == 0
    assert metrics(capped) == metrics(away / "whole" / capped.name)
    labels = [
        [row["labels"] for row in read_lines(one / "rows.jsonl")] for one in (capped, away / "whole" / capped.name)
    ]
    assert labels[0] == labels[1]


def test_a_dry_run_says_how_far_the_cap_reaches(away: Path, server: Endpoint) -> None:
    given = write_lines(away / "i.jsonl", films(COUNT))
    enough = call("bulk", given, "--system", "llm:json_list", "--dry-run", "--max-cost", "1")
    assert f"--max-cost 1: enough for all {COUNT} texts" in enough.output, enough.output
    some = call(*evaluation(given, "embedded,llm:json_list", "--dry-run", "--max-tokens", "3000"))
    assert "--max-tokens 3000: costs nothing" in some.output, some.output
    assert "--max-tokens 3000: stops after about " in some.output
    as_json = call("bulk", given, "--system", "llm:json_list", "--dry-run", "--max-tokens", "3000", "--json")
    assert 0 < json.loads(as_json.stdout)["covered"] < COUNT
    assert asked(server) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bulk", "i.jsonl", "--system", "service:http://127.0.0.1:9", "--out", "o.csv"), "does not report its tokens"),
        (("bulk", "i.jsonl", "--read-results", "i.jsonl", "--out", "o.csv"), "not with --read-results"),
        (("evaluate", "--data", "i.jsonl", "--systems", "llm", "--orders", "2"), "--orders is not counted"),
    ],
)
def test_what_cannot_be_capped_is_refused(away: Path, server: Endpoint, arguments: tuple[str, ...], said: str) -> None:
    write_lines(away / "i.jsonl", films(3))
    refused = call(*arguments, "--max-cost", "1")
    assert refused.exit_code in (1, 2)
    assert said in " ".join(refused.output.split())


def test_a_model_without_a_price_has_a_cap_of_tokens_only(
    away: Path, server: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARQUEE_MODEL", "my-model")
    write_lines(away / "i.jsonl", rows(3))
    refused = call("bulk", "i.jsonl", "--system", "llm:json_list", "--out", "o.csv", "--max-cost", "1")
    assert "no price in llm/spending/prices.yaml (my-model); give --max-tokens alone" in refused.output
    assert asked(server) == 0


def test_the_systems_of_a_command_share_the_cap(away: Path, server: Endpoint) -> None:
    given = write_lines(away / "i.jsonl", films(8))
    systems = "llm:json_list:plot.v1,llm:json_list:plot.v2"
    stopped = call(*evaluation(given, systems, "--out", away / "both"), "--max-tokens", "13000")
    assert stopped.exit_code == 1
    assert "10,000 tokens are spent, and the next 4 texts may take 4,400 tokens" in stopped.output, stopped.output
    assert asked(server) == 10


def test_an_evaluation_in_python_stops_at_its_cap_and_continues_from_the_answer_cache(
    away: Path, server: Endpoint
) -> None:
    task: dict[str, Any] = {"systems": "llm:json_list", "taxonomy": "tmdb"}
    stopped = r"^stopped at max_tokens 13000: 12,000 tokens are spent, .* evaluate again with a higher one"
    with pytest.raises(Interrupted, match=stopped):
        marquee.evaluate(films(COUNT), max_tokens=13_000, **task)
    assert asked(server) == 12
    assert marquee.evaluate(films(COUNT), max_cost=1.0, **task).metrics["llm:json_list"]["invalid"] == 0
    assert asked(server) == COUNT


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_tokens": 9, "systems": "service:http://127.0.0.1:9"}, "max_tokens 9: service:http://127.0.0.1:9 does"),
        ({"max_cost": 1.5, "systems": Fixed()}, "max_cost 1.5: fixed is loaded, .*; give it by name"),
        ({"max_cost": 1.5, "systems": "llm"}, "max_cost 1.5: llm has no price in .*; give max_tokens alone"),
    ],
)
def test_what_cannot_be_capped_in_python_is_refused(
    away: Path, server: Endpoint, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], said: str
) -> None:
    monkeypatch.setenv("MARQUEE_MODEL", "my-model")
    with pytest.raises(InvalidSetting, match=said):
        marquee.evaluate(films(4), taxonomy="tmdb", **given)
    assert asked(server) == 0
