"""The embedded classifier says when it hardly reads the language of a text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from llm.embedded.cosine import CosineClassifier
from llm.embedded.matcher import Matcher
from main import main
from marquee.settings import read_settings
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from service.app import create_app
from service.services import build
from similarity.encoders.minilm import language_warnings
from similarity.encoders.tokens import cut, plainly_english

TICKETS = Taxonomy.of(["billing", "delivery"], name="tickets", multi=False)
KOREAN = "배송이 아직 도착하지 않았습니다."
GERMAN = "Ich habe das Paket noch nicht bekommen und möchte mein Geld zurück."


def warned(text: str) -> str:
    """What the text appears to be; empty where there is no warning."""
    found = language_warnings(cut([text])[0])
    assert len(found) <= 1
    return found[0].removeprefix("text appears to be ").partition(";")[0] if found else ""


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (KOREAN, "Korean"),
        (GERMAN, "German"),
        ("荷物がまだ届いていません。", "Japanese"),
        ("我还没有收到包裹。", "Chinese"),
        ("Я ещё не получил посылку.", "in Cyrillic script"),
        ("لم أستلم الطرد حتى الآن.", "in Arabic script"),
        ("Δεν έχω λάβει ακόμα το δέμα.", "Greek"),
        ("Todavía no he recibido el paquete que pedí.", "Spanish"),
        ("Je n'ai pas encore reçu mon colis et je veux être remboursé.", "French"),
        ("Nie dostałem jeszcze paczki, czy można ją wysłać do mnie?", "Polish"),
        ("Paketti viipyy postissa tuntemattomasta syystä", "in another language"),
    ],
)
def test_another_language_is_named(text: str, language: str) -> None:
    assert warned(text) == language


@pytest.mark.parametrize(
    "text",
    [
        "My parcel has not arrived and I want my money back.",
        "play jazz",
        "cancel order 1135426",
        "NSNumberFormatter: plusSign vs. positivePrefix",
        "Net profit 286,870 vs 314,000 Revs 8,872,000 vs 9,034,000",
        "A café in São Paulo",
        "The word 배송 means delivery.",
        "#killedit #seasonlife #restless #nothanks #uglychristmas",
        "!!!",
        "42",
    ],
)
def test_english_names_numbers_and_hashtags_are_no_other_language(text: str) -> None:
    assert warned(text) == ""


def test_most_english_sentences_need_no_second_look() -> None:
    (plot, german) = cut(["A retired detective follows a series of murders through a city in the rain.", GERMAN])
    assert plainly_english(plot)
    assert not plainly_english(german)


def test_every_way_to_classify_carries_the_warning_of_its_own_text(embedded: Matcher) -> None:
    texts = ["My parcel is late.", "", GERMAN]
    expected = [(), (), ("text appears to be German; the embedded classifier reads English",)]
    assert [one.warnings for one in embedded.classify(texts, TICKETS)] == expected
    assert [one.warnings for one in CosineClassifier(embedded.encoder).classify(texts, TICKETS)] == expected
    pairs = [(Text(texts[2]), TICKETS), (Text(texts[0]), TICKETS), (Text(texts[2]), TICKETS)]
    assert [one.warnings for one in embedded.predict(pairs)] == [expected[2], (), expected[2]]


def test_the_warning_is_in_answers_of_the_service_the_command_and_bulk(away: Path, embedded: Matcher) -> None:
    client = create_app(build(read_settings(cache_path=away / "cache", keys_path=away / "keys.json"))).test_client()
    body = {"texts": [GERMAN, "My parcel is late."], "labels": ["billing", "delivery"]}
    german, english = client.post("/classify", json=body).get_json()["results"]
    assert german["warnings"] == ["text appears to be German; the embedded classifier reads English"]
    assert "warnings" not in english
    billing = {"instructions": "A bill is wrong."}
    for text, expected in ((GERMAN, german["warnings"]), ("My parcel is late.", None)):
        questions = {"type": "predicate", **billing}
        decision = {"model": "marquee", "input": text, "questions": [questions, questions]}
        assert client.post("/v1/decisions", json=decision).get_json().get("warnings") == expected
        systemone = {"model": "marquee", "state": text, "questions": {"billing": {"type": "noul", **billing}}}
        assert client.post("/v1/systemone", json=systemone).get_json().get("warnings") == expected
    assert "text appears to be German" in CliRunner().invoke(main, ["classify", GERMAN, "--labels", "a,b"]).stderr
    (away / "texts.csv").write_text(f"text\n{GERMAN}\nMy parcel is late.\n", encoding="utf-8")
    arguments = ["bulk", str(away / "texts.csv"), "--out", str(away / "o.jsonl"), "--taxonomy", "sentiment"]
    done = CliRunner().invoke(main, arguments)
    assert "1 rows with a warning" in done.output, done.output
    rows = [json.loads(line) for line in (away / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["source"].partition(", warning: ")[2] for row in rows] == german["warnings"] + [""]
