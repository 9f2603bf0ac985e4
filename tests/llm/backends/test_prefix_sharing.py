"""Prefix sharing: every conversation is computed once, with its own prefix, and no prefix is computed in vain."""

import random

from hypothesis import given
from hypothesis import strategies as st

from llm.backends import prefix_sharing
from llm.backends.prefix_sharing import PrefixGroup

# Few different tokens and long runs, so that much is shared; some are repeated or continue another.
runs = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 300)), min_size=1, max_size=5)
prompts = runs.map(lambda parts: [0, *(token for token, times in parts for _ in range(times))])


def checked(group: PrefixGroup, prompts: list[list[int]], shared: list[int]) -> list[int]:
    """The conversations under a group, after a check of its prefix."""
    assert prompts[group.first][: len(shared)] == shared
    places = list(group.members)
    for child in group.children:
        places += checked(child, prompts, prompts[child.first][: child.length])
    for place in places:
        assert prompts[place][: group.length] == shared
        assert len(prompts[place]) > group.length
    return places


@given(st.lists(prompts, min_size=1, max_size=12))
def test_every_conversation_is_in_one_group_with_its_own_prefix(prompts: list[list[int]]) -> None:
    start = prefix_sharing.common_to_all(prompts)
    root = prefix_sharing.group_by_prefix(prompts, start, longest=500)
    assert sorted(checked(root, prompts, prompts[0][:start])) == list(range(len(prompts)))


@given(st.lists(prompts, min_size=1, max_size=12))
def test_tokens_that_are_not_cached_sum_to_the_tokens_computed(prompts: list[list[int]]) -> None:
    start = prefix_sharing.common_to_all(prompts)
    root = prefix_sharing.group_by_prefix(prompts, start, longest=500)
    reused = prefix_sharing.cached_tokens(root, start, len(prompts))
    computed, groups = start, [root]
    while groups:
        group = groups.pop()
        computed += sum(len(prompts[place]) - group.length for place in group.members)
        computed += sum(child.length - group.length for child in group.children)
        groups += group.children
    assert sum(map(len, prompts)) - sum(reused) == computed
    assert all(0 <= tokens < len(prompt) for tokens, prompt in zip(reused, prompts, strict=True))


def test_questions_share_their_text_and_texts_share_their_instructions() -> None:
    texts = [[7] * 50 + [text] * 100 for text in range(3)]
    questions = [[*text, question, 9] for text in texts for question in range(18)]
    random.Random(0).shuffle(questions)
    root = prefix_sharing.group_by_prefix(questions, 50, longest=500)
    assert root.members == []
    assert [child.length for child in root.children] == [150] * 3
    assert {len(child.members) for child in root.children} == {18}


def test_a_prefix_with_a_small_gain_is_no_group() -> None:
    root = prefix_sharing.group_by_prefix([[1] * 20 + [2], [1] * 20 + [3]], 5, longest=500)
    assert (root.children, sorted(root.members)) == ([], [0, 1])


def test_a_long_text_is_computed_in_parts_up_to_its_last_token() -> None:
    root = prefix_sharing.group_by_prefix([[1] * 5 + [2] * 900, [1] * 5 + [3]], 5, longest=500)
    (long,) = root.children
    assert (root.members, long.members, long.length) == ([1], [0], 904)


def test_a_long_chain_of_texts_that_continue_each_other_is_no_trouble() -> None:
    chain = [[1] * length for length in range(2, 1_500)]
    assert sorted(checked(prefix_sharing.group_by_prefix(chain, 1, longest=500), chain, [1])) == list(range(len(chain)))


def test_batches_stay_within_their_tokens_and_include_every_conversation() -> None:
    sizes = [3, 50, 7, 200, 7, 12, 1]
    batches = list(prefix_sharing.batches(range(len(sizes)), sizes, max_tokens=60, max_rows=3))
    assert sorted(place for batch in batches for place in batch) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) <= 3
        assert len(batch) == 1 or len(batch) * max(sizes[place] for place in batch) <= 60


def test_a_row_that_would_make_many_others_longer_gets_a_batch_of_its_own() -> None:
    sizes = [60] * 16 + [124, 61]
    first, second = prefix_sharing.batches(range(len(sizes)), sizes, max_tokens=10_000, max_rows=100)
    assert (sorted(first), second) == ([*range(16), 17], [16])
    (together,) = prefix_sharing.batches(range(len(sizes)), sizes, max_tokens=10_000, max_rows=100, passes=10)
    assert sorted(together) == list(range(len(sizes)))  # ten passes each: padding is cheaper
