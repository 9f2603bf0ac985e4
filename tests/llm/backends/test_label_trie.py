"""Where the tokens of labels part, and the labels' probabilities from those of the tokens there."""

import math
import string
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.backends.label_trie import LabelTrie, spelled


def trie(*words: str) -> LabelTrie:
    """One token per letter."""
    return LabelTrie([tuple(map(ord, word)) for word in words])


def shares(trie: LabelTrie, **found: dict[str, float]) -> list[float]:
    """Probabilities of the labels, from those of the next letters after a beginning; ``root`` is the empty one."""
    logprobs = {
        tuple(map(ord, "" if written == "root" else written)): {ord(k): math.log(v) for k, v in letters.items()}
        for written, letters in found.items()
    }
    return [math.exp(logprob) for logprob in trie.logprobs(logprobs)]


def test_only_places_where_names_part_are_branches_the_root_first() -> None:
    written = ["".join(map(chr, branch.written)) for branch in trie("change", "chase", "cancel", "drop").branches]
    assert written == ["", "c", "cha"]


def test_a_name_of_many_tokens_has_the_probability_of_its_first_if_no_other_begins_so() -> None:
    assert shares(trie("ab", "c"), root={"a": 0.4, "c": 0.1}) == pytest.approx([0.4, 0.1])


def test_behind_a_common_beginning_the_choices_share_its_probability() -> None:
    found = shares(trie("ab", "ac", "d"), root={"a": 0.4, "d": 0.1}, a={"b": 0.06, "c": 0.02})
    assert found == pytest.approx([0.3, 0.1, 0.1])


def test_a_name_that_begins_another_gets_what_the_longer_one_leaves() -> None:
    found = shares(trie("a", "ab"), root={"a": 0.8}, a={"b": 0.25})
    assert found == pytest.approx([0.6, 0.2])


def test_a_branch_that_is_unknown_or_improbable_is_shared_evenly() -> None:
    assert shares(trie("ab", "ac", "d"), root={"a": 0.4, "d": 0.1}) == pytest.approx([0.2, 0.2, 0.1])
    found = shares(trie("ab", "ac", "d"), root={"a": 0.0004, "d": 0.9}, a={"b": 0.9, "c": 0.1})
    assert found == pytest.approx([0.0002, 0.0002, 0.9])


def test_a_branch_matters_from_one_percent_of_the_labels_probability() -> None:
    labels = trie("ab", "ac", "d")
    (_, branch) = labels.branches
    for mass, matters in ((0.4, True), (0.004, False)):
        assert labels.matters(branch, {(): {ord("a"): math.log(mass), ord("d"): math.log(0.5)}}) is matters


@given(
    st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=8, unique=True),
    st.dictionaries(st.text("abc", max_size=5), st.tuples(*[st.floats(0.1, 0.3)] * 3)),
)
def test_labels_share_the_probability_of_the_first_tokens(
    words: Sequence[str], known: dict[str, Sequence[float]]
) -> None:
    labels = trie(*words)
    letters = "abc"
    found = {
        branch.written: dict(
            zip(map(ord, letters), map(math.log, known.get("".join(map(chr, branch.written)), (0.2,) * 3)), strict=True)
        )
        for branch in labels.branches
    }
    first = {word[0] for word in words}
    total = sum(math.exp(found[()][ord(letter)]) for letter in first)
    assert sum(map(math.exp, labels.logprobs(found))) == pytest.approx(total)


@given(st.lists(st.text(string.ascii_letters, min_size=1, max_size=6), min_size=1, max_size=12, unique=True))
def test_every_label_is_told_apart_from_every_other(words: Sequence[str]) -> None:
    """With a probability of its own behind every branch, no two labels share a value by being thrown together."""
    labels = trie(*words)
    for branch in labels.branches:
        assert sorted(branch.labels) == [
            place for place, word in enumerate(words) if word.startswith("".join(map(chr, branch.written)))
        ]
    parted = {tuple(sorted(places)) for branch in labels.branches for places in branch.choices.values()}
    ending = {(branch.ending,) for branch in labels.branches if branch.ending is not None}
    assert {(place,) for place in range(len(words))} <= parted | ending


def test_names_are_spelled_as_after_a_line_break() -> None:
    """SentencePiece puts a space before the first word of a text, which no answer has."""

    def tokenize(texts: Sequence[str]) -> list[list[int]]:
        return [[1, *map(ord, text)] if text[0] == "\n" else [32, *map(ord, text)] for text in texts]

    assert spelled(["ab"], tokenize) == [(97, 98)]
