"""Training texts of the matcher as batches of tokens with what is true, false and unknown of each."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.datasets import Example
from training.matcher.label_phrasings import Concept

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FILMS, _REVIEWS = 64, 40  # texts of a batch
_POOL = 40  # batches whose texts are sorted by length together
_FILM_TOKENS, _REVIEW_TOKENS, _TITLE_TOKENS = 158, 110, 24
_WITH_TITLE, _TITLE_ALONE = 0.2, 0.03  # shares of the texts; a title helps where it is given, and may stand alone
_AT_THE_END, _AT_THE_START = 0.4, 0.15  # shares of the reviews; what one thinks is mostly said last
# Against the 1 of 22 genres together: sub-genres are many and rare, and a review has only two labels to learn from.
_GENRES_WEIGH, _INTERESTS_WEIGH, _REVIEWS_WEIGH = 1 / 18, 0.2 / 18, 0.25
# Where lists of genres were cut at three, a missing one is mostly false all the same. To learn from what is listed
# alone raised every probability and cost .06 of macro-AP on TMDB's validation films.
_CUT_LISTS_WEIGH = 0.6


@dataclass(frozen=True)
class Item:
    """A text as tokens; ``true`` and ``weight`` have one entry a concept, weight 0 where nothing is known."""

    tokens: tuple[int, ...]
    title: tuple[int, ...]
    review: bool
    true: NDArray[np.float32]
    weight: NDArray[np.float32]


@dataclass(frozen=True)
class TokenBatch:
    """Tokens and mask of shape (texts, longest), true and weight of shape (texts, concepts)."""

    tokens: NDArray[np.int64]
    mask: NDArray[np.int64]
    true: NDArray[np.float32]
    weight: NDArray[np.float32]


def items(examples: Sequence[Example], concepts: Sequence[Concept], tokenizer: Any) -> list[Item]:
    """The examples in tokens; those whose labels are opinions are reviews, the others films."""
    bodies = [found.ids[1:-1] for found in tokenizer.encode_batch([one.text.body for one in examples])]
    titles = [found.ids[1:-1] for found in tokenizer.encode_batch([f"{one.text.title}." for one in examples])]
    place = {(concept.kind, concept.name): column for column, concept in enumerate(concepts)}
    kinds = np.array([concept.kind for concept in concepts])
    reviews = {concept.name for concept in concepts if concept.kind == "reviews"}
    found = []
    for example, body, title in zip(examples, bodies, titles, strict=True):
        review = set(example.labels) <= reviews
        true, weight = _known(example, place, kinds, review)
        found.append(Item(tuple(body), tuple(title[:_TITLE_TOKENS]), review, true, weight))
    return found


def _known(
    example: Example, place: dict[tuple[str, str], int], kinds: NDArray[Any], review: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    true, weight = np.zeros((2, len(kinds)), np.float32)
    true[[place["reviews" if review else "genres", name] for name in example.labels]] = 1
    if review:
        weight[kinds == "reviews"] = _REVIEWS_WEIGH
        return true, weight
    genres = kinds == "genres"
    weight[genres] = _GENRES_WEIGH * (1.0 if example.complete else np.maximum(true[genres], _CUT_LISTS_WEIGH))
    if example.extra:
        weight[kinds == "interests"] = _INTERESTS_WEIGH
        true[[place["interests", name] for name in example.extra if ("interests", name) in place]] = 1
    return true, weight


def batches(given: Sequence[Item], seed: int) -> Iterator[TokenBatch]:
    """One epoch, texts of like length together."""
    rng = random.Random(seed)
    drawn = [(item, _drawn(item, rng)) for item in given]
    groups = [
        group
        for review, size in ((False, _FILMS), (True, _REVIEWS))
        for group in _groups([pair for pair in drawn if pair[0].review == review], size, rng)
    ]
    rng.shuffle(groups)
    yield from map(_batch, groups)


def _groups(
    drawn: list[tuple[Item, tuple[int, ...]]], size: int, rng: random.Random
) -> Iterator[list[tuple[Item, tuple[int, ...]]]]:
    rng.shuffle(drawn)
    for at in range(0, len(drawn), size * _POOL):
        pool = sorted(drawn[at : at + size * _POOL], key=lambda pair: len(pair[1]))
        yield from (pool[start : start + size] for start in range(0, len(pool), size))


def _drawn(item: Item, rng: random.Random) -> tuple[int, ...]:
    """What is read of a text this time: a window of a review, a plot with or without its title."""
    chance, spare = rng.random(), len(item.tokens) - _REVIEW_TOKENS
    if not item.review:
        title = item.title if chance < _WITH_TITLE + _TITLE_ALONE else ()
        return (title if title and chance < _TITLE_ALONE else title + item.tokens)[:_FILM_TOKENS]
    if spare <= 0:
        return item.tokens
    ends = {chance < _AT_THE_END + _AT_THE_START: 0, chance < _AT_THE_END: spare}
    start = ends.get(True, rng.randrange(spare + 1))
    return item.tokens[start : start + _REVIEW_TOKENS]


def _batch(group: list[tuple[Item, tuple[int, ...]]]) -> TokenBatch:
    width = max(len(tokens) for _, tokens in group) + 2
    tokens, mask = np.zeros((2, len(group), width), np.int64)
    for row, (_, drawn) in enumerate(group):
        tokens[row, : len(drawn) + 2] = (101, *drawn, 102)  # BERT's marks of a text's ends
        mask[row, : len(drawn) + 2] = 1
    return TokenBatch(
        tokens, mask, np.stack([item.true for item, _ in group]), np.stack([item.weight for item, _ in group])
    )
