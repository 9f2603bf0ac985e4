"""Which conversations have a beginning in common that is worth computing once, and which fit into one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

SMALLEST_GAIN = 256  # tokens: a beginning of its own costs a pass through all weights, however short it is
_DEEPEST = 3  # beginnings on beginnings; each has its keys in memory while those behind it are computed

Prompt = list[int]


@dataclass
class PrefixGroup:
    """Conversations with a beginning in common.

    Attributes:
        length: how many tokens all of them have in common; each has at least one more.
        sample: the first of them, from which the beginning can be read.
        loose: those that go on from here by themselves.
        children: groups among them that have still more in common.
    """

    length: int
    sample: int
    depth: int = 0
    loose: list[int] = field(default_factory=list)
    children: list[PrefixGroup] = field(default_factory=list)


def common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two conversations have in common from their start."""
    least, most = 0, min(len(first), len(second))
    while least < most:  # halving, since slices compare much faster than a loop does
        middle = (least + most + 1) // 2
        least, most = (middle, most) if first[:middle] == second[:middle] else (least, middle - 1)
    return least


def common_to_all(prompts: Sequence[Prompt]) -> int:
    """How many tokens all have in common, one token of each left out: a last token has to be computed."""
    return min(common(min(prompts), max(prompts)), min(map(len, prompts)) - 1)


def grouped(prompts: Sequence[Prompt], start: int, longest: int) -> PrefixGroup:
    """A tree of beginnings.

    Args:
        prompts: lists of tokens, all with the same first ``start`` tokens.
        start: tokens of the beginning that they are known to share.
        longest: a conversation that has more tokens of its own than that becomes a group of its own, whose beginning
            is computed part by part.

    Returns:
        The group of all. A deeper beginning is taken only where it spares ``SMALLEST_GAIN`` tokens.
    """
    order = sorted(range(len(prompts)), key=lambda place: prompts[place])
    shares = [common_to_all([prompts[one], prompts[other]]) for one, other in pairwise(order)]
    root = PrefixGroup(start, 0)
    tasks = [(0, len(order), root)]  # a stack, not recursion: a thousand texts may each continue the one before
    while tasks:
        begin, end, group = tasks.pop()
        if end - begin == 1:
            _settle(order[begin], len(prompts[order[begin]]), group, longest)
            continue
        inner = shares[begin : end - 1]
        length = min(inner)
        if (length - group.length) * (end - begin - 1) >= SMALLEST_GAIN and group.depth < _DEEPEST:
            child = PrefixGroup(length, min(order[begin:end]), group.depth + 1)
            group.children.append(child)
            group = child
        edges = [begin, *(begin + 1 + place for place, share in enumerate(inner) if share == length), end]
        tasks += [(left, right, group) for left, right in pairwise(edges)]
    return root


def _settle(place: int, size: int, group: PrefixGroup, longest: int) -> None:
    if size - group.length > longest:
        group.children.append(PrefixGroup(size - 1, place, group.depth + 1, [place]))
    else:
        group.loose.append(place)


def reused(root: PrefixGroup, computed: int, count: int) -> list[int]:
    """How many tokens of each conversation come from a beginning that was not computed on its account.

    The first conversation of a group bears what its beginning costs, so that over all of them the tokens not reused
    are the tokens computed.

    Args:
        root: the group of all.
        computed: tokens that the beginning of all has cost in this call.
        count: how many conversations there are.
    """
    lengths = [0] * count
    lengths[root.sample] -= computed
    groups = [root]
    while groups:
        group = groups.pop()
        for place in group.loose:
            lengths[place] += group.length
        for child in group.children:
            lengths[child.sample] -= child.length - group.length
        groups += group.children
    return lengths


def packed(places: Sequence[int], sizes: Sequence[int], budget: int, rows: int) -> Iterator[list[int]]:
    """Batches of conversations of about the same length.

    Args:
        places: which conversations.
        sizes: length of every conversation in tokens, its shared beginning included, since a batch lays the keys of
            the beginning out once per row.
        budget: tokens of a batch, padding included; a conversation that is longer has a batch to itself.
        rows: the most conversations of a batch.
    """
    batch: list[int] = []
    for place in sorted(places, key=lambda place: sizes[place]):
        if batch and (sizes[place] * (len(batch) + 1) > budget or len(batch) == rows):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
