"""Prefix sharing: which conversations share a prefix that is worth computing once, and which fit into one batch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from llm.backends.token_tree import common_length

if TYPE_CHECKING:
    from llm.backends.causal_lm import Prefix

MIN_GAIN = 256  # tokens; a separate prefix costs a pass through all weights, however short it is
# Tokens that take the time of a pass through all weights: about 40 on a core with AVX2, 150 on a large GPU.
_PASS = 128
_MAX_DEPTH = 3  # nested prefixes; the keys of each are in memory while its children are computed
_PREFIXES_KEPT = 4  # between calls; a taxonomy under a strategy makes one

Prompt = list[int]


@dataclass
class PrefixGroup:
    """Conversations with a common prefix."""

    length: int  # tokens that all of them share; each has at least one more
    first: int  # index of the first of them, from which the prefix can be read
    depth: int = 0  # number of groups around this one
    # Indices of conversations that are computed directly after this prefix.
    members: list[int] = field(default_factory=list)
    children: list[PrefixGroup] = field(default_factory=list)  # groups with a longer common prefix


def common_to_all(prompts: Sequence[Prompt]) -> int:
    """How many tokens all share, without the last token of the shortest: a last token has to be computed."""
    return min(common_length(min(prompts), max(prompts)), min(map(len, prompts)) - 1)


def group_by_prefix(prompts: Sequence[Prompt], start: int, longest: int) -> PrefixGroup:
    """Tree of common prefixes; a deeper prefix is used only if it saves ``MIN_GAIN`` tokens.

    All prompts have the same first ``start`` tokens. A conversation with more than ``longest`` tokens of its own
    becomes a group, whose prefix is computed in parts.
    """
    order = sorted(range(len(prompts)), key=lambda index: prompts[index])
    shared = [common_to_all([prompts[one], prompts[other]]) for one, other in pairwise(order)]
    root = PrefixGroup(start, 0)
    tasks = [(0, len(order), root)]  # a stack, not recursion: a thousand texts may each extend the one before
    while tasks:
        begin, end, group = tasks.pop()
        if end - begin == 1:
            _add(order[begin], len(prompts[order[begin]]), group, longest)
            continue
        inner = shared[begin : end - 1]
        length = min(inner)
        if (length - group.length) * (end - begin - 1) >= MIN_GAIN and group.depth < _MAX_DEPTH:
            child = PrefixGroup(length, min(order[begin:end]), group.depth + 1)
            group.children.append(child)
            group = child
        edges = [begin, *(begin + 1 + offset for offset, value in enumerate(inner) if value == length), end]
        tasks += [(left, right, group) for left, right in pairwise(edges)]
    return root


def _add(index: int, size: int, group: PrefixGroup, longest: int) -> None:
    if size - group.length > longest:
        group.children.append(PrefixGroup(size - 1, index, group.depth + 1, [index]))
    else:
        group.members.append(index)


def cached_tokens(root: PrefixGroup, computed: int, count: int) -> list[int]:
    """Tokens of each conversation that come from a prefix computed for another one.

    The first conversation of a group is charged for its prefix, so that the tokens that are not cached sum to the
    tokens computed. ``computed`` are the tokens of the root's prefix that were computed in this call.
    """
    lengths = [0] * count
    lengths[root.first] -= computed
    groups = [root]
    while groups:
        group = groups.pop()
        for index in group.members:
            lengths[index] += group.length
        for child in group.children:
            lengths[child.first] -= child.length - group.length
        groups += group.children
    return lengths


def batches(
    indices: Sequence[int], sizes: Sequence[int], max_tokens: int, max_rows: int, passes: int = 1
) -> Iterator[list[int]]:
    """Batches of conversations of similar length; a conversation above ``max_tokens`` has its own batch.

    Sizes include the shared prefix, since a batch stores the prefix's keys once per row. All rows of a batch are
    computed at the length of its longest one. A batch of its own is cheaper for a row that would add more of this
    padding than the ``passes`` through all weights cost.
    """
    batch: list[int] = []
    padding = 0
    for index in sorted(indices, key=lambda index: sizes[index]):
        longer = len(batch) * (sizes[index] - sizes[batch[-1]]) if batch else 0
        full = sizes[index] * (len(batch) + 1) > max_tokens or len(batch) == max_rows
        if batch and (full or padding + longer > _PASS * passes):
            yield batch
            batch, longer, padding = [], 0, 0
        batch.append(index)
        padding += longer
    if batch:
        yield batch


class PrefixCache:
    """Computed prefixes, the last few of which are kept between calls.

    ``out_of_memory`` is the error of ``extend``; the conversations of such a group are skipped.
    """

    def __init__(
        self, extend: Callable[[Prefix, Sequence[int]], Prefix], empty: Prefix, out_of_memory: type[Exception]
    ) -> None:
        self._extend, self._empty, self._out_of_memory = extend, empty, out_of_memory
        self._kept: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()

    def common(self, prompts: Sequence[Prompt], without_text: Prompt) -> tuple[Prefix, int]:
        """The common prefix of all prompts, and how many of its tokens were computed now.

        The part shared with ``without_text``, a conversation without its text, is kept for the next call.
        """
        shared = common_to_all(prompts)
        fixed = min(shared, common_length(without_text, prompts[0]))
        prefix, computed = self._get(tuple(prompts[0][:fixed]))
        if len(prompts) == 1 or shared - fixed < MIN_GAIN:
            return prefix, computed
        prefix, more = self._get(tuple(prompts[0][:shared]))
        return prefix, computed + more

    def groups(
        self, group: PrefixGroup, prefix: Prefix, prompts: Sequence[Prompt]
    ) -> Iterator[tuple[Prefix, PrefixGroup]]:
        """A group and its descendants with their prefixes, each in memory only while it is needed."""
        yield prefix, group
        for child in group.children:
            with suppress(self._out_of_memory):
                more = prompts[child.first][group.length : child.length]
                yield from self.groups(child, self._extend(prefix, more), prompts)

    def _get(self, tokens: tuple[int, ...]) -> tuple[Prefix, int]:
        """The prefix of these tokens, from the most similar one in memory, and how many tokens were computed."""
        prefix = self._empty
        if closest := max(self._kept, key=lambda kept: common_length(kept, tokens), default=None):
            prefix = self._kept[closest].cut(common_length(closest, tokens))
            self._kept.move_to_end(closest)
        more = tokens[len(prefix.tokens) :]
        if more:
            prefix = self._kept[tokens] = self._extend(prefix, more)
            if len(self._kept) > _PREFIXES_KEPT:
                self._kept.popitem(last=False)
        return prefix, len(more)
