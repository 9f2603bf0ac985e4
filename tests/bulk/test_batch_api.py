"""Requests in files: the very requests that the endpoint would be sent, and answers read as the strategy reads them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulk.answer_store import LocalRunner
from bulk.batch_api import ASSUMED, OfflineTransport, read_results, write_requests
from bulk.inputs import input_files, text_columns
from bulk.job import ClassifierSpec, Job
from bulk.progress import Summary
from bulk.run import run
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.transport import HTTPTransport
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from prompts import registry
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Label, Taxonomy
from tests.bulk.words import read_lines, rows, write_lines
from tests.support.misbehaving import endpoint, says

TMDB = registry.taxonomy("tmdb")


def model(transport: OfflineTransport, strategy: str = "json_list") -> LanguageModel:
    return LanguageModel(transport.backend("tiny"), STRATEGIES[strategy])


def job(
    folder: Path, transport: OfflineTransport, count: int = 5, strategy: str = "json_list", taxonomy: Taxonomy = TMDB
) -> Job:
    given = input_files(str(write_lines(folder / "i.jsonl", [*rows(count), *rows(count)])))
    asked = ClassifierSpec("llm", {}, lambda: model(transport, strategy))
    return Job(given, text_columns(given), taxonomy, asked, folder / "o.jsonl", batch=2)


def requests(*paths: Path) -> list[dict[str, Any]]:
    return [request for path in paths for request in read_lines(path)]


def result(request: dict[str, Any], content: str | None = None, status: int = 200, error: Any = None) -> dict[str, Any]:
    """A line of results as OpenAI documents it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}}
    body = {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}
    response = {"status_code": status, "request_id": "r", "body": body if status == 200 else {"error": error}}
    return {"id": "b", "custom_id": request["custom_id"], "response": response, "error": None}


def labelled(folder: Path, results: list[Any], strategy: str = "json_list", taxonomy: Taxonomy = TMDB) -> Summary:
    """The rows with what is in some results."""
    transport = OfflineTransport()
    transport.add_results(read_results(write_lines(folder / "results.jsonl", results)))
    made = job(folder, transport, strategy=strategy, taxonomy=taxonomy)
    summary = run(made, LocalRunner(made.classifier.open, taxonomy, patience=None))
    assert summary is not None
    return summary


def test_a_file_holds_the_very_request_that_an_endpoint_is_sent_once_a_text(tmp_path: Path) -> None:
    transport = OfflineTransport()
    written = write_requests(job(tmp_path, transport), transport, tmp_path / "requests.jsonl")
    assert (written.requests, written.texts, written.files) == (5, 5, (tmp_path / "requests.jsonl",))
    found = requests(*written.files)
    assert [set(one) for one in found] == [{"custom_id", "method", "url", "body"}] * 5
    assert {(one["method"], one["url"]) for one in found} == {("POST", "/v1/chat/completions")}
    assert len({one["custom_id"] for one in found}) == 5
    with endpoint(says('["War"]')) as server:
        backend = OpenAICompatible(HTTPTransport(server.url, "", 5, 0, 4), "tiny", ASSUMED)
        texts = [row["plot"] for row in rows(5)]
        LanguageModel(backend, STRATEGIES["json_list"]).classify(texts, TMDB)
        sent = [json.dumps(body, sort_keys=True) for body in server.requests]
    assert sorted(sent) == sorted(json.dumps(one["body"], sort_keys=True) for one in found)


def test_files_end_where_a_batch_api_wants_them_to(tmp_path: Path) -> None:
    transport = OfflineTransport()
    files = write_requests(job(tmp_path, transport), transport, tmp_path / "some.jsonl", max_requests=2).files
    assert [path.name for path in files] == ["some.jsonl", "some.2.jsonl", "some.3.jsonl"]
    assert [len(requests(path)) for path in files] == [2, 2, 1]
    whole = files[0].stat().st_size
    by_size = write_requests(job(tmp_path, transport), transport, tmp_path / "small.jsonl", max_bytes=whole).files
    assert all(path.stat().st_size <= whole for path in by_size)
    assert [one for path in by_size for one in requests(path)] == requests(*files)
    with pytest.raises(InvalidSetting, match=r"some\.jsonl exists already"):
        write_requests(job(tmp_path, transport), transport, tmp_path / "some.jsonl")
    with pytest.raises(InvalidSetting, match="more than a file may have"):
        write_requests(job(tmp_path, transport), transport, tmp_path / "tiny.jsonl", max_bytes=10)


def test_results_in_any_order_become_the_labels_of_their_rows(tmp_path: Path) -> None:
    transport = OfflineTransport()
    found = requests(*write_requests(job(tmp_path, transport), transport, tmp_path / "requests.jsonl").files)
    said = ['{"labels": ["War"]}', '{"labels": ["drama", "Nonsense"]}', "no list", '["Comedy"]', None]
    summary = labelled(tmp_path, [result(one, words) for one, words in zip(found, said, strict=True)][::-1])
    by_id = [row["labels"] for row in read_lines(tmp_path / "o.jsonl")]
    assert by_id[:5] == by_id[5:] == [["War"], ["Drama"], None, ["Comedy"], None]
    assert summary.problems == {"unreadable": 4}
    assert (summary.usage.prompt_tokens, summary.usage.completion_tokens) == (45, 15)


def test_errors_and_gaps_are_problems_that_say_what_happened(tmp_path: Path) -> None:
    transport = OfflineTransport()
    found = requests(*write_requests(job(tmp_path, transport), transport, tmp_path / "requests.jsonl").files)
    expired = {"custom_id": found[2]["custom_id"], "response": None, "error": {"code": "batch_expired", "message": "x"}}
    results = [
        result(found[0], status=400, error={"message": "maximum context length is 9"}),
        result(found[1], status=429, error={"message": "slow down"}),
        expired,
        {
            "custom_id": found[3]["custom_id"],
            "response": {"status_code": 500, "body": None},
            "error": {"message": "oh"},
        },
    ]
    labelled(tmp_path, results)
    problems = [row["problem"] for row in read_lines(tmp_path / "o.jsonl")[:5]]
    kinds = [problem.partition(":")[0] for problem in problems]
    assert kinds == ["too_long", "busy", "busy", "busy", "timeout"]
    assert "slow down" in problems[1]
    assert "no answer to this request yet" in problems[4]


def test_what_the_results_lack_can_be_written_again_and_a_success_is_never_put_aside(tmp_path: Path) -> None:
    transport = OfflineTransport()
    found = requests(*write_requests(job(tmp_path, transport), transport, tmp_path / "requests.jsonl").files)
    again = OfflineTransport()
    again.add_results(read_results(write_lines(tmp_path / "r.jsonl", [result(one, '["War"]') for one in found[:3]])))
    failed = [result(found[0], status=500, error={"message": "oh"})]
    again.add_results(read_results(write_lines(tmp_path / "s.jsonl", failed)))
    rest = write_requests(job(tmp_path, again), again, tmp_path / "rest.jsonl")
    assert [one["custom_id"] for one in requests(*rest.files)] == [one["custom_id"] for one in found[3:]]
    assert model(again).classify(["Plot 0 has a sword."], TMDB)[0].labels == ("War",)


@pytest.mark.parametrize("strategy", ["label_tokens", "yes_no"])
def test_strategies_of_probabilities_come_through_files_too(tmp_path: Path, strategy: str) -> None:
    kinds = Taxonomy("kinds", (Label("War"), Label("Love")), multi=strategy == "yes_no")
    transport = OfflineTransport()
    found = requests(
        *write_requests(job(tmp_path, transport, 5, strategy, kinds), transport, tmp_path / "r.jsonl").files
    )
    assert len(found) == (5 if strategy == "label_tokens" else 10)
    assert all(one["body"]["top_logprobs"] == 20 and one["body"]["max_tokens"] == 1 for one in found)
    told = [
        {"token": token, "logprob": figure} for token, figure in (("A", -0.1), ("B", -3), ("Yes", -0.1), ("No", -3))
    ]
    results = [result(one, "A") for one in found]
    for one in results:
        one["response"]["body"]["choices"][0]["logprobs"] = {"content": [{"token": "A", "top_logprobs": told}]}
    labelled(tmp_path, results, strategy, kinds)
    row = read_lines(tmp_path / "o.jsonl")[0]
    assert row["labels"] == (["War"] if strategy == "label_tokens" else ["War", "Love"])
    assert row["scores"]["War"] > 0.9


def test_a_final_between_heats_is_written_once_the_heats_are_answered(tmp_path: Path) -> None:
    many = Taxonomy("many", tuple(Label(f"Label {n}") for n in range(30)), multi=False)
    transport = OfflineTransport()
    chunks = requests(
        *write_requests(job(tmp_path, transport, 1, "label_tokens", many), transport, tmp_path / "a.jsonl").files
    )
    assert len(chunks) == 2
    told = [{"token": token, "logprob": -1.0 - place} for place, token in enumerate("ABCDEFGHIJKLMNOPQRST")]
    results = [result(one, "A") for one in chunks]
    for one in results:
        one["response"]["body"]["choices"][0]["logprobs"] = {"content": [{"token": "A", "top_logprobs": told}]}
    transport.add_results(read_results(write_lines(tmp_path / "r.jsonl", results)))
    (final,) = requests(
        *write_requests(job(tmp_path, transport, 1, "label_tokens", many), transport, tmp_path / "b.jsonl").files
    )
    assert final["custom_id"] not in {one["custom_id"] for one in chunks}


def test_a_file_that_holds_no_results_is_refused_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"custom_id": "x", "response": null, "error": null}\n{"custom_id": "y", "resp')
    with pytest.raises(InvalidDataset, match=r"r\.jsonl, line 2: no line of a Batch API's results"):
        OfflineTransport().add_results(read_results(tmp_path / "r.jsonl"))


def test_typed_questions_cannot_be_put_in_a_file(tmp_path: Path) -> None:
    transport = OfflineTransport()
    decisions = replace(model(transport), strategy=STRATEGIES["decisions_api"])
    with pytest.raises(InvalidSetting, match="are chat completions"):
        decisions.classify(["A plot."], TMDB)
