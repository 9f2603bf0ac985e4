"""Token trees: every token that conversations share is computed once, and each sees its own conversation only."""

from hypothesis import given
from hypothesis import strategies as st

from llm.backends.token_tree import TokenTree, single_tree, token_trees

rests = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=12), min_size=1, max_size=10)


def seen(tree: TokenTree, leaf: int) -> list[int]:
    """The tokens that a place of the row sees, itself included, in the order of their positions."""
    places = [place for place in range(leaf + 1) if leaf < tree.ends[place]]
    assert [tree.depths[place] for place in places] == list(range(len(places)))
    return [tree.tokens[place] for place in places]


@given(rests, st.integers(1, 40))
def test_every_conversation_sees_its_own_tokens_only(rests: list[list[int]], longest: int) -> None:
    members = [10 + number for number in range(len(rests))]
    trees = list(token_trees(members, rests, longest))
    assert sorted(member for tree in trees for member in tree.members) == members
    for tree in trees:
        assert len(tree.tokens) <= longest or len(tree.members) == 1 or len(set(tree.leaves)) == 1
        for member, leaf in zip(tree.members, tree.leaves, strict=True):
            assert seen(tree, leaf) == rests[member - 10]


@given(rests)
def test_the_tokens_of_a_tree_and_the_shared_ones_are_all_tokens(rests: list[list[int]]) -> None:
    for tree in token_trees(range(len(rests)), rests, 1_000):
        assert len(tree.tokens) + sum(tree.shared) == sum(len(rests[member]) for member in tree.members)
        assert tree.branched == (len(tree.tokens) > max(len(rests[member]) for member in tree.members))


def test_questions_about_one_text_make_one_tree_and_other_texts_others() -> None:
    texts = [[1, 2, text] * 30 for text in (3, 4)]
    questions = [[*text, 50 + question, *[9] * 30] for question in range(18) for text in texts]
    first, second = token_trees(range(len(questions)), questions, 2_048)
    assert sorted(first.members) == list(range(0, 36, 2))
    assert sorted(second.members) == list(range(1, 36, 2))
    assert len(first.tokens) == 90 + 18 * 31
    assert first.shared == (0, *[90] * 17)


def test_texts_with_a_short_common_beginning_are_rows_of_their_own() -> None:
    texts = [[7, 8, *[text] * 200] for text in range(4)]
    trees = list(token_trees(range(4), texts, 2_048))
    assert [tree.members for tree in trees] == [(0,), (1,), (2,), (3,)]
    assert trees[1] == single_tree(1, texts[1])
    assert not trees[1].branched


def test_equal_conversations_end_at_the_same_place() -> None:
    (tree,) = token_trees([5, 6], [[1, 2, 3], [1, 2, 3]], 2_048)
    assert (tree.tokens, tree.leaves, tree.shared) == ((1, 2, 3), (2, 2), (0, 3))
