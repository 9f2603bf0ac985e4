"""Training data of the matcher: label phrasings, and texts as batches of tokens with known and unknown labels."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from eval.datasets import Example
from prompts import registry
from prompts.taxonomy import Label

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FILE = Path(__file__).parent / "label_phrasings.yaml"
_MIN_FILMS = 40  # films of a sub-genre from which it can be measured on
_FILMS, _REVIEWS = 64, 40  # texts of a batch
_POOL = 40  # batches whose texts are sorted by length together
_FILM_TOKENS, _REVIEW_TOKENS, _TITLE_TOKENS = 158, 110, 24
_WITH_TITLE, _TITLE_ALONE = 0.2, 0.03  # shares of the films that are read with a title, or as a title only
_AT_THE_END, _AT_THE_START = 0.4, 0.15  # shares of the reviews; the end has most of the opinion
# Loss weights of a label: sub-genres are many and rare, and a review has only two labels.
_GENRE_WEIGHT, _INTEREST_WEIGHT, _REVIEW_WEIGHT = 1 / 18, 0.2 / 18, 0.25
# A genre missing from a list truncated at three is mostly false. With weight 0 every probability rose and macro-AP on
# TMDB's validation films fell by .06.
_MISSING_WEIGHT = 0.6


@dataclass(frozen=True)
class Concept:
    """A label of training.

    Attributes:
        kind: ``genres``, ``interests`` (IMDb's sub-genres) or ``reviews``.
        name: its name in the data.
        wordings: phrasings that a taxonomy may use: names, descriptions, or both.
    """

    kind: str
    name: str
    wordings: tuple[str, ...]


def concepts(held_out: Iterable[str]) -> tuple[Concept, ...]:
    """IMDb's genres, its sub-genres without ``held_out``, and both labels of reviews, with several phrasings each."""
    entries_by_kind = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    shipped = {
        "genres": {label.name: label for label in registry.taxonomy("imdb").predictable},
        "reviews": {label.name: label for label in registry.taxonomy("sentiment").predictable},
    }
    excluded = set(held_out)
    return tuple(
        Concept(kind, name, _wordings(name, entry, shipped.get(kind, {}).get(name)))
        for kind, entries in entries_by_kind.items()
        for name, entry in entries.items()
        if name not in excluded
    )


def held_out(interests: Iterable[Sequence[str]], count: int = 40) -> tuple[str, ...]:
    """Up to ``count`` sub-genres without training texts, which measure the quality on unseen labels.

    ``interests`` are the sub-genres of every film of the data, of all splits.
    """
    counts = Counter(name for names in interests for name in names)
    known = yaml.safe_load(_FILE.read_text(encoding="utf-8"))["interests"]
    frequent = [name for name in known if counts[name] >= _MIN_FILMS]
    return tuple(sorted(frequent, key=lambda name: hashlib.sha256(name.encode()).digest())[:count])


def _wordings(name: str, entry: Mapping[str, Sequence[str]], label: Label | None) -> tuple[str, ...]:
    names = list(dict.fromkeys([name, *entry["names"], *(label.aliases if label else ())]))
    descriptions = [*entry["descriptions"], *([label.description] if label else [])]
    both = [f"{one}: {description}" for one in names[:3] for description in descriptions]
    return (*names, *both, *descriptions)


@dataclass(frozen=True)
class Item:
    """A text as tokens; ``true`` and ``weight`` have one entry a concept; its weight is 0 if its truth is unknown."""

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
    """Tokenise the examples; those with labels of reviews are reviews, the others are films."""
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
        weight[kinds == "reviews"] = _REVIEW_WEIGHT
        return true, weight
    genres = kinds == "genres"
    weight[genres] = _GENRE_WEIGHT * (1.0 if example.complete else np.maximum(true[genres], _MISSING_WEIGHT))
    if example.extra:
        weight[kinds == "interests"] = _INTEREST_WEIGHT
        true[[place["interests", name] for name in example.extra if ("interests", name) in place]] = 1
    return true, weight


def batches(texts: Sequence[Item], seed: int) -> Iterator[TokenBatch]:
    """The batches of one epoch, in which texts have similar lengths."""
    rng = random.Random(seed)
    drawn = [(item, _window(item, rng)) for item in texts]
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


def _window(item: Item, rng: random.Random) -> tuple[int, ...]:
    """A random view of a text: a window of a review, or a plot with or without its title."""
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
        tokens[row, : len(drawn) + 2] = (101, *drawn, 102)  # [CLS] and [SEP]
        mask[row, : len(drawn) + 2] = 1
    return TokenBatch(
        tokens, mask, np.stack([item.true for item, _ in group]), np.stack([item.weight for item, _ in group])
    )
