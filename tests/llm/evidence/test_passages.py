"""Passages: sentences of any text, and quotes that are accepted only where they are in the text."""

import pytest

from llm.evidence.passages import located, sentences, words_of
from prompts.text import Text
from tests.support.ugly import ugly_texts


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("He came. He saw!  He left...", ["He came.", "He saw!", "He left..."]),
        ('Dr. Ray met J. R. Li, e.g. here. "Go!" I said.', ["Dr. Ray met J. R. Li, e.g. here.", '"Go!"', "I said."]),
        ("Version 2.5 is out. it works", ["Version 2.5 is out. it works"]),
        ("one line\nanother line\r\n\n - \n", ["one line", "another line"]),
        ("今日は雨。明日は晴れ！", ["今日は雨。", "明日は晴れ！"]),
        ("هل تأتي؟ نعم.", ["هل تأتي؟", "نعم."]),
        ("", []),
        (" ... \U0001f3a5", []),
    ],
)  # fmt: skip
def test_a_text_is_divided_into_sentences(text: str, parts: list[str]) -> None:
    assert [passage.of(Text(text)) for passage in sentences(Text(text))] == parts


def test_no_sentence_is_long_and_none_is_lost() -> None:
    for text in [Text("word " * 3_000), Text("e\u0301" * 2_000), Text("a. " * 5_000), *map(Text, ugly_texts(1_500))]:
        found = sentences(text)
        assert len(found) <= 200
        spans = [(passage.start, passage.end) for passage in found]
        assert spans == sorted(spans)
        left = text.body
        for passage in reversed(found):
            left = left[: passage.start] + left[passage.end :]
        assert not any(map(str.isalnum, left))
        if len(text.body) < 10_000:
            assert max((len(passage.of(text)) for passage in found), default=0) <= 600  # with accents as characters


@pytest.mark.parametrize("part", [".", "!)", "\n ", ". ", "a. ", "e\u0301", '".'])
def test_hostile_texts_take_linear_time(part: str) -> None:
    assert len(sentences(Text(part * 25_000))) <= 200


TEXT = Text(
    "The waiter said: “It’s  not <b>my</b> problem!”\nWe left at 10. Das Café war schön. 今日は雨。", "A bad Evening"
)


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("We left at 10.", "We left at 10."),
        ("it's not < b>my< /b> problem", "It’s  not <b>my</b> problem"),
        ("The waiter said: \"It's not", "The waiter said: “It’s  not"),
        ("DAS CAFE WAR SCHON", "Das Café war schön"),
        ("the problem!” We left", None),
        ("bad evening", "bad Evening"),
        ("雨", None),
        ("は雨", "は雨"),
        ("e left", None),
        ("the food was cold", None),
        ("We left ... schön", None),
        ("1", None),
        ("10", "10"),
        (" ", None),
        ("”\n", None),
    ],
)
def test_a_quote_counts_only_where_it_is_in_the_text(quote: str, found: str | None) -> None:
    passage = located(quote, TEXT)
    assert (passage.of(TEXT) if passage else None) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (Text('He said: "I can\'t", twice... (sci-fi)'), ["He", "said", "I", "can't", "twice", "sci-fi"]),
        (Text("Das Cafe\u0301, 2.5 km \U0001f3a5 --"), ["Das", "Cafe\u0301", "2.5", "km"]),
        (Text("今日はrain。"), ["今", "日", "は", "rain"]),
        (Text("उसने हिन्दी सीखी।"), ["उसने", "हिन्दी", "सीखी"]),
        (Text("one two", " A title "), ["A", "title", "one", "two"]),
        (Text(""), []),
    ],
)  # fmt: skip
def test_words_have_no_marks_around_them(text: Text, words: list[str]) -> None:
    assert [passage.of(text) for passage in words_of(text, 64)] == words


def test_neighbouring_words_are_joined_beyond_a_number() -> None:
    text = Text("b c d, e f", "a")
    assert [passage.of(text) for passage in words_of(text, 3)] == ["a", "b c", "d, e", "f"]
    assert len(words_of(Text("a. " * 20_000), 64)) <= 65
