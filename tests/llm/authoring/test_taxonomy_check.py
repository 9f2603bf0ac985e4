"""The lint of a taxonomy: every rule finds its fault, and sound taxonomies have none."""

from dataclasses import replace

import pytest

from llm.authoring.taxonomy_check import OVERLAP, LintFinding, check, unchosen
from llm.classifier import AnswerSource, Prediction
from llm.embedded.cosine import TextEncoder
from llm.embedded.matcher import Matcher
from prompts import registry
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Label, Taxonomy


@pytest.fixture(scope="module")
def encoder(embedded: Matcher) -> TextEncoder:
    return embedded.encoder


def found(encoder: TextEncoder, *labels: str | Label, rule: str = "") -> list[LintFinding]:
    return [one for one in check(Taxonomy.of(labels), encoder) if not rule or one.rule == rule]


def label(name: str, description: str = "", *aliases: str) -> Label:
    return Label(name, description or f"messages about {name}", aliases)


@pytest.mark.parametrize("name", ["emotions", "imdb", "intents", "news", "tickets", "tmdb"])
def test_bundled_taxonomies_have_no_error_and_no_warning(encoder: TextEncoder, name: str) -> None:
    assert [one for one in check(registry.taxonomy(name), encoder) if one.severity != "note"] == []


def test_labels_that_are_alike_are_found(encoder: TextEncoder) -> None:
    (one,) = found(encoder, label("Lost card"), label("Card lost or missing"), label("Opening hours"), rule="overlap")
    assert one.labels == ("Lost card", "Card lost or missing")
    assert one.severity == "warning"
    assert one.similarity is not None
    assert one.similarity >= OVERLAP


def test_a_description_that_fits_another_label_is_found(encoder: TextEncoder) -> None:
    wrong = label("Account", "the printer has a paper jam or no toner")
    (one,) = found(encoder, wrong, label("Printer", "printing of documents"), label("Invoice"), rule="ambiguous")
    assert one.labels == ("Account", "Printer")


def test_an_alias_that_fits_another_label_is_found(encoder: TextEncoder) -> None:
    (one,) = found(encoder, label("Account", "", "paper printer"), label("Printer"), rule="alias")
    assert (one.labels, one.severity) == (("Account", "Printer"), "note")
    assert "'paper printer'" in one.message


@pytest.mark.parametrize(
    "name", ["Other", "others", "Other issues", "misc", "None of the above", "N/A", "Everything else"]
)
def test_a_label_for_the_rest_is_found(encoder: TextEncoder, name: str) -> None:
    (one,) = found(encoder, label("Printer"), label("Invoice"), label(name), rule="catch-all")
    assert one.labels == (name,)
    assert "allow_none: true" in one.suggestion


@pytest.mark.parametrize("name", ["General practitioner", "Mother", "Unknown pleasures", "Brother", "Restaurant"])
def test_a_label_of_its_own_is_none_for_the_rest(encoder: TextEncoder, name: str) -> None:
    assert found(encoder, label("Printer"), label("Invoice"), label(name), rule="catch-all") == []


def test_missing_and_repeated_descriptions_are_found(encoder: TextEncoder) -> None:
    labels = ("Printer", Label("Invoice", "Invoice."), Label("VPN", "same words"), Label("Laptop", "Same words."))
    (bare,) = found(encoder, *labels, rule="no-description")
    (same,) = found(encoder, *labels, rule="same-description")
    assert bare.labels == ("Printer", "Invoice")  # a description that repeats the name says nothing
    assert same.labels == ("VPN", "Laptop")


def test_codes_are_found_unless_they_are_described(encoder: TextEncoder) -> None:
    (one,) = found(encoder, "A1", "17", "Q-3", Label("B2", "printing"), "C++", "5G", "Invoice", rule="code-name")
    assert one.labels == ("A1", "17", "Q-3", "5G")


def test_common_words_are_found(encoder: TextEncoder) -> None:
    everywhere = [label(f"Complaint about {what}") for what in ("noise", "invoices", "parking")]
    (one,) = found(encoder, *everywhere, rule="common-words")
    assert one.severity == "warning"
    assert "'Complaint'" in one.message
    (one,) = found(encoder, *everywhere, label("Praise"), rule="common-words")
    assert (one.severity, len(one.labels)) == ("note", 3)
    ends = [label(f"{what} request") for what in ("Refund", "Meeting", "Holiday")]
    (one,) = found(encoder, *ends, rule="common-words")
    assert "all names end with 'request'" in one.message
    assert found(encoder, label("Printer"), label("Invoice"), label("VPN"), rule="common-words") == []


def test_labels_in_another_script_are_not_compared(encoder: TextEncoder) -> None:
    rules = [one.rule for one in found(encoder, Label("打印机", "打印"), Label("发票", "账单"), Label("网络", "连接"))]
    assert rules == ["language"]


def test_many_similar_labels_are_counted_and_not_all_listed(encoder: TextEncoder) -> None:
    pairs = found(encoder, *[label(f"Printer model {word}") for word in "red blue green grey pink teal".split()])
    listed = [one for one in pairs if one.rule == "overlap"]
    assert len(listed) == 12
    assert listed[-1].message.endswith("more pairs)")


def test_labels_that_no_text_gets_are_found() -> None:
    taxonomy = Taxonomy.of(["a", "b", "c"])
    source = AnswerSource("x", taxonomy.versioned_name)
    predictions = [Prediction((name,), source) for name in "aab"]
    (few,) = unchosen(taxonomy, predictions)
    (many,) = unchosen(taxonomy, predictions * 10)
    assert (few.labels, few.severity, many.severity) == (("c",), "note", "warning")
    assert "none of 30 texts" in many.message
    assert unchosen(taxonomy, [*predictions, Prediction(("c",), source)]) == []


def test_labels_of_a_hierarchy_are_compared_by_their_own_names(encoder: TextEncoder) -> None:
    nested = Hierarchy.of({"Printer": ["Printer jam", "Other"], "Invoice": {"Refund": "money back"}})
    findings = check(replace(nested, leaves_only=False), encoder)
    assert [one.labels for one in findings if one.rule == "catch-all"] == [("Printer > Other",)]
    assert [one for one in findings if one.rule == "overlap"] == []  # a label and its parent are no alternatives
