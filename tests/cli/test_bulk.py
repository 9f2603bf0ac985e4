"""``main.py bulk`` from the command line."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llm.embedded.matcher import Matcher
from main import main
from service.app import create_app
from service.services import Services
from tests.bulk.words import read_lines, rows, write_lines
from tests.support.misbehaving import body, endpoint, says
from tests.support.served import served_at

SAMPLE = Path(__file__).parent.parent.parent / "data" / "sample" / "films.jsonl"


def bulk(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["bulk", *map(str, arguments)])


def test_the_embedded_classifier_labels_a_file_and_a_second_run_finds_it_done(away: Path) -> None:
    given = away / "films.jsonl"
    given.write_text("".join(SAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)[:12]), encoding="utf-8")
    forecast = bulk(given, "--dry-run")
    assert "12 rows, 12 different texts to classify" in forecast.output
    assert "on this machine as it is now" in forecast.output
    done = bulk(given, "--out", away / "o.jsonl")
    assert done.exit_code == 0, done.output
    assert "1 file; text from 'plot', title from 'title', id from 'id'" in done.output
    assert "12 rows, 12 different texts, 0 rows with a problem" in done.output
    found = read_lines(away / "o.jsonl")
    assert all(row["source"].startswith("embedded/") and row["labels"] for row in found)
    assert [row["id"] for row in found] == [row["id"] for row in read_lines(given)]
    assert "is finished; --retry-failed" in bulk(given, "--out", away / "o.jsonl").output


def test_a_language_model_is_asked_and_its_failed_rows_are_asked_again(
    away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = write_lines(away / "i.jsonl", rows(6))
    arguments = (given, "--out", away / "o.csv", "--system", "llm:json_list")
    with endpoint(says("no list at all")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("MARQUEE_MODEL", "gpt-4o-mini")
        forecast = bulk(*arguments, "--dry-run")
        assert forecast.exit_code == 0, forecast.output
        assert "USD" in forecast.output
        assert not (away / "o.csv").exists()
        failed = bulk(*arguments)
        assert failed.exit_code == 0, failed.output
        assert "6 unreadable: f0, f1, f2, f3, f4, …" in failed.output
        server.then = [says('["War"]')]
        again = bulk(*arguments, "--retry-failed")
    assert again.exit_code == 0, again.output
    assert "0 rows with a problem" in again.output
    assert "66 prompt tokens" in again.output
    assert (away / "o.csv").read_text().count('"[""War""]"') == 6


def test_evidence_is_a_pair_of_columns_and_belongs_to_the_run(away: Path) -> None:
    given = write_lines(away / "i.jsonl", [{"text": "A cowboy shoots the sheriff. It rains."}])
    arguments = (given, "--out", away / "o.jsonl", "--taxonomy", "tmdb")
    assert bulk(*arguments, "--explain").exit_code == 0
    (row,) = read_lines(away / "o.jsonl")
    assert {one["quote"] for one in row["evidence"]} >= {"A cowboy shoots the sheriff.", "sheriff"}
    assert row["unexplained"] is None
    assert "explain true, now null" in bulk(*arguments).output


@pytest.mark.parametrize("option", [("--batch-file", "r.jsonl"), ("--runner", "ray", "--ray-backend", "http")])
def test_evidence_needs_the_model_in_the_same_run(away: Path, option: tuple[str, ...]) -> None:
    given = write_lines(away / "i.jsonl", rows(1))
    failed = bulk(given, "--out", away / "o.jsonl", "--system", "llm:json_list", "--explain", *option)
    assert failed.exit_code == 2
    assert "--explain: not with --batch-file" in failed.output
    assert not (away / "r.jsonl").exists()


def test_evidence_of_a_service_is_that_service_s(away: Path, embedded: Matcher) -> None:
    given = write_lines(away / "i.jsonl", [{"text": "A cowboy shoots the sheriff. It rains."}])
    with served_at(create_app(Services(lambda options: embedded, lambda: None, lambda: None, "tmdb"))) as url:
        done = bulk(given, "--out", away / "o.jsonl", "--taxonomy", "tmdb", "--system", f"service:{url}", "--explain")
    assert done.exit_code == 0, done.output
    assert {one["kind"] for one in read_lines(away / "o.jsonl")[0]["evidence"]} == {"sentence", "word"}


@pytest.mark.parametrize(("setting", "sizes"), [("", [5, 32, 32]), ("20", [9, 20, 20, 20]), ("1", [])])
def test_an_endpoint_that_takes_batches_is_sent_them(
    away: Path, monkeypatch: pytest.MonkeyPatch, setting: str, sizes: list[int]
) -> None:
    with endpoint(says("")) as server:

        def respond(handler: BaseHTTPRequestHandler) -> None:
            asked = server.requests[-1] or {}
            many = [one for one in asked.get("messages", []) if isinstance(one, list)]
            # To the canaries what they look for, to questions about films a genre.
            words = '{"labels": ["zqx-7"]}' if "zqx-7" in json.dumps(asked) else '{"labels": ["War"]}'
            if not many:
                return says(words)(handler)
            choices = [{"index": place, "message": {"content": words}} for place in range(len(many))]
            return body(200, {"choices": choices, "usage": {"prompt_tokens": 7 * len(many)}})(handler)

        server.then = [respond]
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("MARQUEE_CONCURRENCY", "1")
        if setting:
            monkeypatch.setenv("MARQUEE_TEXTS_PER_REQUEST", setting)
        done = bulk(write_lines(away / "i.jsonl", rows(70)), "--out", away / "o.jsonl", "--system", "llm:json_list")
    assert done.exit_code == 0, done.output
    assert "70 different texts, 0 rows with a problem" in done.output
    assert all(row["labels"] == ["War"] for row in read_lines(away / "o.jsonl"))
    films = [one["messages"] for one in server.requests if one and "messages" in one and "zqx-7" not in json.dumps(one)]
    assert sorted(len(one) for one in films if isinstance(one[0], list)) == sizes


def test_an_endpoint_that_is_not_there_is_told_in_one_line(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    given = write_lines(away / "i.jsonl", rows(6))
    done = bulk(given, "--out", away / "o.jsonl", "--system", "llm:json_list", "--patience", "0")
    assert done.exit_code == 1
    assert "cannot answer: no connection to 127.0.0.1" in done.output


def test_requests_go_to_a_file_and_results_come_from_one_without_an_endpoint(away: Path) -> None:
    given = write_lines(away / "i.jsonl", rows(6))
    written = bulk(given, "--batch-file", away / "r.jsonl", "--system", "llm:json_list")
    assert written.exit_code == 0, written.output
    assert "6 requests about 6 different texts" in written.output
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": '["War"]'}}]}
    response = {"status_code": 200, "body": body}
    results = [{**one, "response": response, "error": None} for one in read_lines(away / "r.jsonl")]
    write_lines(away / "s.jsonl", results[:5])
    arguments = (given, "--system", "llm:json_list", "--read-results", away / "s.jsonl")
    done = bulk(*arguments, "--out", away / "o.jsonl")
    assert done.exit_code == 0, done.output
    assert "1 timeout: f5" in done.output
    assert [row["labels"] for row in read_lines(away / "o.jsonl")] == [["War"]] * 5 + [None]
    rest = bulk(*arguments, "--batch-file", away / "rest.jsonl")
    assert "1 requests about 6 different texts" in rest.output
    assert [json.loads(line)["custom_id"] for line in (away / "rest.jsonl").read_text().splitlines()] == [
        results[5]["custom_id"]
    ]


@pytest.mark.parametrize(("model", "field"), [("gpt-5-mini", "max_completion_tokens"), ("gpt-4o-mini", "max_tokens")])
def test_requests_in_files_have_the_form_of_the_model_and_the_fields_of_the_user(
    model: str, field: str, away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARQUEE_MODEL", model)
    monkeypatch.setenv("MARQUEE_EXTRA_BODY", '{"service_tier": "flex"}')
    given = write_lines(away / "i.jsonl", rows(2))
    written = bulk(given, "--batch-file", away / "r.jsonl", "--system", "llm:json_list")
    assert written.exit_code == 0, written.output
    for line in read_lines(away / "r.jsonl"):
        assert field in line["body"]
        assert line["body"]["service_tier"] == "flex"


def test_vllm_in_rays_workers_takes_no_fields_of_the_user(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_EXTRA_BODY", '{"seed": 7}')
    given = write_lines(away / "i.jsonl", rows(2))
    refused = bulk(
        given, "--out", away / "o.jsonl", "--system", "llm:json_list", "--runner", "ray", "--ray-backend", "vllm"
    )
    assert refused.exit_code == 1
    assert refused.output.endswith(
        "Error: MARQUEE_EXTRA_BODY is for endpoints, and --ray-backend vllm has none: "
        "unset it, or use --ray-backend http\n"
    )


def test_what_cannot_be_done_is_told(away: Path) -> None:
    given = write_lines(away / "i.jsonl", rows(2))
    assert "give --out" in bulk(given).output
    assert "No such file or directory" in bulk(away / "none.csv", "--out", away / "o.csv").output
    assert "names no file that ends in one of .csv" in bulk(away / "*.csv", "--out", away / "o.csv").output
    no_requests = bulk(given, "--batch-file", away / "r.jsonl", "--system", "embedded")
    assert "requests are those of a language model" in no_requests.output
