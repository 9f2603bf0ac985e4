"""Words that all labels of a taxonomy share are left out before the labels are encoded."""

import pytest

from llm.embedded.label_phrases import label_phrases, without_shared
from llm.embedded.matcher import Matcher
from prompts.taxonomy import Label, Taxonomy


@pytest.mark.parametrize(
    ("phrases", "expected"),
    [
        (["This text is about sport.", "This text is about world politics."], ["sport.", "world politics."]),
        (["sport is its topic", "food and drink is its topic"], ["sport", "food and drink"]),
        (["The user wants a refund now", "The user wants a call now"], ["refund now", "call now"]),
        (["Sports Movies", "Horror Movies"], ["Sports Movies", "Horror Movies"]),
        (["a b", "a b c"], ["a b", "a b c"]),
        (["a b c", "a b c"], ["a b c", "a b c"]),
        (["it is late", "it is late and cold"], ["late", "late and cold"]),
        (["x a b", "y a b"], ["x", "y"]),
        (["", "something to read"], ["", "something to read"]),
        (["a label alone"], ["a label alone"]),
        ([], []),
    ],
)
def test_shared_words_at_both_ends_are_left_out(phrases: list[str], expected: list[str]) -> None:
    assert without_shared(phrases) == expected


def test_descriptions_lose_what_they_share_and_names_stay() -> None:
    labels = [Label("refund", "is the intent to get money back"), Label("call", "is the intent to talk to a person")]
    assert label_phrases(labels) == [
        ("refund", "refund: get money back"), ("call", "call: talk to a person")
    ]  # fmt: skip


def test_a_sentence_around_every_label_changes_no_score(embedded: Matcher) -> None:
    names = ("sport", "cooking", "politics", "space travel")
    plain = Taxonomy("own", tuple(map(Label, names)), multi=False)
    wrapped = Taxonomy("own", tuple(Label(f"This text is about {name}") for name in names), multi=False)
    text = ["The rocket reached orbit."]
    first, second = embedded.classify(text, plain)[0], embedded.classify(text, wrapped)[0]
    assert list(first.scores.values()) == list(second.scores.values())
