"""The tokens of a list of labels: every answer that the schema allows can be walked to, and no other."""

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from llm.backends.list_grammar import ListGrammar, ListWriter
from prompts.errors import InvalidSetting
from tests.support.bare_model import schema

AWKWARD = ("Sci", "Sci-Fi", "Sci-Fi Horror", 'say "no"', "a\\", "naïve", "鬼", "🎬", "🎬🎭", ",", '","', "]}")


def by_characters(text: str) -> list[int]:
    return [ord(mark) for mark in text]


def from_characters(ids: Sequence[int]) -> str:
    return "".join(map(chr, ids))


def by_bytes(text: str) -> list[int]:
    """Bytes, but for a few runs of marks that tokenizers like to join."""
    runs = {b'","': 256, b'["': 257, b'"]}': 258, b"Sci-": 259, b'{"': 260}
    ids, rest = [], text.encode()
    while rest:
        run = next((run for run in runs if rest.startswith(run)), rest[:1])
        ids.append(runs.get(run, run[0]))
        rest = rest[len(run) :]
    return ids


def from_bytes(ids: Sequence[int]) -> str:
    runs = {256: b'","', 257: b'["', 258: b'"]}', 259: b"Sci-", 260: b'{"'}
    return b"".join(runs.get(token, bytes([token % 256])) for token in ids).decode(errors="replace")


TOKENIZERS = [(by_characters, from_characters), (by_bytes, from_bytes)]


def all_answers(grammar: ListGrammar) -> Iterator[ListWriter]:
    """Every walk to an end, found by trying all tokens wherever there is a choice."""
    paths: list[list[int]] = [[]]
    while paths:
        path = paths.pop()
        walk = ListWriter(grammar)
        for token in path:
            walk.take(token, math.log(0.5))
        if walk.done:
            yield walk
        else:
            paths += [[*path, token] for token in walk.allowed()]


@pytest.mark.parametrize(("encode", "decode"), TOKENIZERS)
@pytest.mark.parametrize(("least", "most"), [(0, 2), (1, 1), (1, 3), (2, 2), (0, 0), (3, 3)])
def test_exactly_the_answers_of_the_schema_can_be_written(encode: Any, decode: Any, least: int, most: int) -> None:
    names = AWKWARD[:5] if most > 2 else AWKWARD
    walks = list(all_answers(ListGrammar(schema(names, least, most), encode, decode)))
    lists = [list(some) for count in range(least, most + 1) for some in itertools.permutations(names, count)]
    assert sorted(walk.text for walk in walks) == sorted(text for some in lists for text in spellings(some))


def spellings(names: list[str]) -> Iterator[str]:
    """The list as JSON, with and without a space after each of its commas."""
    for commas in itertools.product((",", ", "), repeat=max(0, len(names) - 1)):
        quoted = [json.dumps(name, ensure_ascii=False) for name in names]
        yield f"[{''.join(map(''.join, zip(quoted, [*commas, ''], strict=False)))}]"


@pytest.mark.parametrize(("encode", "decode"), TOKENIZERS)
def test_the_tokens_make_up_the_text_and_bear_all_of_its_probability(encode: Any, decode: Any) -> None:
    for walk in all_answers(ListGrammar(schema(AWKWARD, 0, 2), encode, decode)):
        assert "".join(token.text for token in walk.tokens) == walk.text
        assert all(token.text for token in walk.tokens)
        assert sum(token.logprob for token in walk.tokens) == pytest.approx(walk.count * math.log(0.5))


def test_what_is_without_choice_is_written_at_once() -> None:
    walk = ListWriter(ListGrammar(schema(["Drama", "Dream"], 1, 1), by_characters, from_characters))
    assert from_characters(walk.forced()) == '["Dr'
    assert from_characters(walk.allowed()) == "ae"
    walk.take(ord("e"), math.log(0.25))
    assert from_characters(walk.forced()) == 'am"]'
    assert (walk.done, walk.text, walk.forced()) == (True, '["Dream"]', [])
    assert [token.logprob for token in walk.tokens if token.logprob] == [math.log(0.25)]


def test_the_longest_answer_has_the_predicted_length() -> None:
    for least, most in ((0, 0), (0, 1), (1, 2)):
        grammar = ListGrammar(schema(AWKWARD, least, most), by_bytes, from_bytes)
        longest = max(walk.count for walk in all_answers(grammar))
        assert longest <= grammar.longest <= longest + len(by_bytes('", "'))


def test_labels_that_a_tokenizer_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="'é' and 'è'"):
        ListGrammar(schema(["é", "e", "è"], 1, 1), lambda text: list(text.encode("ascii", "replace")), from_bytes)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"type": "object", "properties": {"labels": {"type": "array", "items": {"enum": ["a"]}}}},
        {"type": "string", "enum": ["a"]},
        {"type": "array"},
        {"type": "array", "items": {"type": "string"}},
        {"type": "array", "items": {"enum": [1]}},
        {"type": "array", "items": {"enum": []}},
    ],
)
def test_a_schema_of_another_form_is_refused_with_the_form_that_is_taken(other: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting, match="an array of strings from an enum"):
        ListGrammar(other, by_characters, from_characters)


def test_a_schema_that_nothing_fulfils_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="at least 3 of 2"):
        ListGrammar(schema(["a", "b"], 3, 5), by_characters, from_characters)
