"""Token trees: several conversations in one row of a batch, where each token that they share is computed once.

A token of the row sees those before it in its own conversations only, by a mask and by its position (tree attention:
SpecInfer, Miao et al. 2024, arXiv 2305.09781).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# In a row, attention also multiplies pairs of tokens that the mask removes. Computing a token takes the time of so many
# of them (a model of 0.5B, one core with AVX2; larger models: more).
_PAIRS = 1_400


@dataclass(frozen=True)
class TokenTree:
    """The tokens of some conversations behind their common prefix, in pre-order.

    Attributes:
        members: the conversations, by their index.
        tokens: the tokens.
        depths: number of tokens before each in its conversations.
        ends: where the tokens that follow each in some conversation end.
        leaves: place of the last token of each member.
        shared: how many tokens of each member belong to an earlier member too.
    """

    members: tuple[int, ...]
    tokens: tuple[int, ...]
    depths: tuple[int, ...]
    ends: tuple[int, ...]
    leaves: tuple[int, ...]
    shared: tuple[int, ...]

    @property
    def branched(self) -> bool:
        """Whether a token does not follow the one before it."""
        return self.depths[-1] + 1 < len(self.tokens)


def common_length(first: Sequence[object], second: Sequence[object]) -> int:
    """How many tokens (or characters) two conversations share from their start."""
    low, high = 0, min(len(first), len(second))
    while low < high:  # bisection, since comparing slices is much faster than a loop
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[:middle] == second[:middle] else (low, middle - 1)
    return low


def token_trees(members: Sequence[int], rests: Sequence[Sequence[int]], longest: int) -> Iterator[TokenTree]:
    """Trees that take the least time together.

    Args:
        members: the conversations, by their index.
        rests: the tokens of each behind the common prefix, at least one.
        longest: tokens of a tree of several conversations, at most.
    """
    tree: list[int] = []  # places in ``members``, in the order of their tokens
    size = 0
    for place in sorted(range(len(members)), key=lambda place: list(rests[place])):
        rest = rests[place]
        shared = common_length(rests[tree[-1]], rest) if tree else 0
        added = len(rest) - shared
        if tree and (shared * _PAIRS < size * added or size + added > longest):
            yield _tree(members, rests, tree)
            tree, size, added = [], 0, len(rest)
        tree.append(place)
        size += added
    if tree:
        yield _tree(members, rests, tree)


def single_tree(member: int, rest: Sequence[int]) -> TokenTree:
    """The tree of one conversation."""
    return _tree([member], [rest], [0])


def _tree(members: Sequence[int], rests: Sequence[Sequence[int]], places: Sequence[int]) -> TokenTree:
    tokens: list[int] = []
    depths: list[int] = []
    ends: list[int] = []
    leaves: list[int] = []
    shared: list[int] = []
    path: list[int] = []  # where the tokens of the last conversation are
    before: Sequence[int] = ()
    for place in places:
        rest = rests[place]
        common = common_length(before, rest)
        for closed in path[common:]:
            ends[closed] = len(tokens)
        path = [*path[:common], *range(len(tokens), len(tokens) + len(rest) - common)]
        tokens += rest[common:]
        depths += range(common, len(rest))
        ends += [0] * (len(rest) - common)
        leaves.append(path[-1])
        shared.append(common)
        before = rest
    for open_ in path:
        ends[open_] = len(tokens)
    chosen = tuple(members[place] for place in places)
    return TokenTree(chosen, tuple(tokens), tuple(depths), tuple(ends), tuple(leaves), tuple(shared))
