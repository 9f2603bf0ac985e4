"""A language model beside the embedded classifier, as the settings and the systems build them: shortlist and fusion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import marquee
from llm.classifier import LabelsOffered
from llm.embedded.matcher import Matcher
from main import main
from marquee import classification
from tests.support.misbehaving import Endpoint, endpoint, says

LABELS = [f"topic {number}" for number in range(24)] + ["war"]
TEXT = "Soldiers wait in a trench for the next battle."
FILMS = [
    {"id": number, "description": f"{TEXT} {number}", "genres": ["War"], "split": "validation"} for number in range(12)
]


@pytest.fixture(autouse=True)
def one_model(embedded: Matcher, away: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tests share one embedded classifier."""
    monkeypatch.setattr("marquee.factory.matcher", lambda *_, **__: embedded)
    monkeypatch.setattr("llm.embedded.matcher.matcher", lambda *_, **__: embedded)
    classification._cached.cache_clear()
    yield
    classification._cached.cache_clear()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """An endpoint that answers ``war`` whatever the request is."""
    with endpoint(says('["war"]')) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        monkeypatch.setenv("MARQUEE_STRATEGY", "json_list")
        yield running


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result


def many_labels() -> None:
    """A taxonomy file of 25 labels."""
    Path("many.yaml").write_text(f"labels: {json.dumps([{'name': name} for name in LABELS])}\n")


def listed(server: Endpoint) -> list[str]:
    """The labels in the last request about a text, in its order."""
    prompt = json.dumps(next(one for one in reversed(server.requests) if one and "trench" in json.dumps(one)))
    places = {name: prompt.find(f"- {name}\\n") for name in LABELS}
    return sorted((name for name, place in places.items() if place >= 0), key=places.__getitem__)


# --- shortlist ---


@pytest.mark.parametrize(
    ("setting", "labels", "offered"),
    [
        pytest.param(None, 25, 20, id="above 20 labels, 20 by default"),
        pytest.param(None, 20, 20, id="20 labels, all by default"),
        pytest.param("0", 25, 25, id="0, all"),
        pytest.param("5", 20, 5, id="a number"),
        pytest.param("100", 25, 25, id="a number above that of the labels"),
    ],
)
def test_a_prompt_lists_the_best_labels_and_the_answer_says_how_many(
    server: Endpoint, monkeypatch: pytest.MonkeyPatch, setting: str | None, labels: int, offered: int
) -> None:
    if setting is not None:
        monkeypatch.setenv("MARQUEE_MAX_CANDIDATE_LABELS", setting)
    names = LABELS[-labels:]
    (answer,) = marquee.classify([TEXT], names)
    assert answer.labels == ("war",)
    assert answer.shortlist == (None if offered == labels else LabelsOffered(offered, labels))
    sent = listed(server)
    assert len(sent) == offered
    assert sent == [name for name in names if name in sent]
    assert "war" in sent


def test_the_embedded_classifier_alone_has_no_shortlist() -> None:
    (answer,) = marquee.classify([TEXT], LABELS)
    assert answer.source.model.startswith("embedded/")
    assert len(answer.scores) == 25
    assert answer.shortlist is None


def test_the_command_line_says_how_many_labels_were_offered(server: Endpoint) -> None:
    arguments = ("classify", TEXT, "--labels", ",".join(LABELS))
    assert json.loads(call(*arguments, "--json").stdout)["shortlist"] == {"offered": 20, "total": 25}
    assert ", from 20 of 25 labels, cached" in call(*arguments).stderr
    assert "shortlist" not in json.loads(call("classify", TEXT, "--labels", "war,peace", "--json").stdout)


def test_a_run_records_the_shortlist_and_refuses_another(server: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [film | {"genres": ["war"]} for film in FILMS]
    Path("films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    many_labels()
    arguments = ("evaluate", "--data", "films.jsonl", "--taxonomy", "many.yaml", "--systems", "llm", "--out", "run")
    call(*arguments)
    assert manifest("llm")["setup"]["candidates"] == 20
    monkeypatch.setenv("MARQUEE_MAX_CANDIDATE_LABELS", "0")
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "setup.candidates 20, now 0" in result.output


def test_bulk_records_the_shortlist_of_each_row(server: Endpoint) -> None:
    many_labels()
    Path("texts.csv").write_text(f"text\n{TEXT}\n")
    call("bulk", "texts.csv", "--out", "out.jsonl", "--text-field", "text", "--taxonomy", "many.yaml")
    assert json.loads(Path("out.jsonl").read_text())["source"].endswith(" json_list 20 of 25 labels")


# --- fusion ---


def manifest(folder: str) -> Any:
    return json.loads((Path("run") / folder / "manifest.json").read_text())


def test_the_setting_fuses_both_models_and_the_answer_names_them(
    server: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARQUEE_FUSION", "true")
    answer = json.loads(call("classify", TEXT, "--json", "--scores").stdout)
    assert answer["model"] == "Qwen/Qwen2-7B-Instruct + embedded/matcher.v2"
    assert (answer["labels"][0], answer["strategy"], len(answer["scores"])) == ("War", "json_list", 18)
    again = json.loads(call("classify", TEXT, "--json", "--scores").stdout)
    assert (again["scores"], again["cached"]) == (answer["scores"], True)


def test_a_fusion_names_a_strategy_and_a_prompt_like_a_language_model(server: Endpoint) -> None:
    found = marquee.load_classifier("fusion:json_list:plot.v1")
    (answer,) = found.classify([TEXT], marquee.load_taxonomy("tmdb"))
    assert found.name == answer.source.model == "Qwen/Qwen2-7B-Instruct + embedded/matcher.v2"
    assert answer.source.prompt is not None
    assert answer.source.prompt.startswith("plot.v1@")


def test_an_evaluation_of_both_and_their_fusion_sends_each_text_once(server: Endpoint) -> None:
    Path("films.jsonl").write_text("".join(json.dumps(film) + "\n" for film in FILMS))
    call(
        "evaluate", "--data", "films.jsonl", "--taxonomy", "tmdb", "--out", "run",
        "--systems", "llm:json_list,fusion:json_list,embedded",
    )  # fmt: skip
    about = [one for one in server.requests if one and "trench" in json.dumps(one)]
    assert len(about) == len(FILMS)
    setup, rule = manifest("fusion-json_list")["setup"], manifest("fusion-json_list")["decode_rule"]
    assert setup == manifest("llm-json_list")["setup"] | {"fusion": "embedded/matcher.v2"}
    assert rule.startswith("fusion: 0.5 of the language model, 0.5 of embedded/matcher.v2, offset 0; score from 0.5 on")
    compared = call("compare", "run/llm-json_list", "run/fusion-json_list")
    assert "B  fusion:json_list" in compared.output


def test_learned_weights_are_used_from_then_on(server: Endpoint) -> None:
    Path("films.jsonl").write_text("".join(json.dumps(film) + "\n" for film in FILMS))
    call("evaluate", "--data", "films.jsonl", "--taxonomy", "tmdb", "--out", "run", "--systems", "fusion")
    before = manifest("fusion")["decode_rule"]
    learned = call("fusion", "--data", "films.jsonl", "--taxonomy", "tmdb")
    assert learned.stdout.startswith("weights ")
    assert "micro-F1 on 12 texts: " in learned.stderr
    assert len(json.loads(Path("var/fusion.json").read_text())) == 1
    arguments = ("evaluate", "--data", "films.jsonl", "--taxonomy", "tmdb", "--out", "run", "--systems", "fusion")
    call(*arguments, "--overwrite")
    assert manifest("fusion")["decode_rule"] != before
