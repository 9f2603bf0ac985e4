"""Evidence of the embedded classifier: the sentence and the words that raise the score of a label.

Words: the word features are linear, so their part of a label's log-odds is exactly the sum of what each word adds.
Sentence: the log-odds of the text minus those of the text without the sentence. What remains, the vectors of MiniLM,
cannot be divided among words. A text of one sentence has, for labels without such words, words by occlusion (Zeiler
and Fergus 2014, arXiv 1311.2901): the log-odds of the text minus those of the text without the word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llm.classifier import Evidence
from llm.embedded.matcher import Matcher
from llm.embedded.weights import counted
from llm.evidence.passages import Passage, in_joined, sentences, with_marks, words_of
from prompts.hierarchy import Hierarchy
from prompts.label_tree import SEPARATOR
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from similarity.encoders.tokens import tokenizer
from similarity.native import native

if TYPE_CHECKING:
    from llm.embedded.weights import Array

WORDS = 5  # at most, per label
LEAST = (
    0.15  # log-odds that a word or a sentence adds at least; the encoder rounds, and "a" adds a little to many labels
)
_ALL = 8  # sentences; of a longer text, only the best ones by themselves are left out one by one
_CANDIDATES = 2  # sentences of a longer text, per label
_MOST_PARTS = 64  # words of a text that are left out one by one; of a longer text, neighbours are left out together
_DIGITS = 4
_LEAST_ODDS = 1e-7  # float32 has no probability nearer to 1


@dataclass(frozen=True)
class WordParts:
    """What each distinct word of a text adds to the log-odds of labels.

    Attributes:
        places: the first occurrence of each word; None for the full stop that joins title and body.
        added: log-odds that all occurrences of a word add, shape (words, labels); summed over the words, the part of
            the word features in each label's log-odds.
    """

    places: Sequence[Passage | None]
    added: Array


def evidence(matcher: Matcher, text: Text, labels: Sequence[str], taxonomy: Taxonomy) -> list[Evidence]:
    """For each label the sentence, then the words that raise its score; none where nothing raises it by 0.15."""
    if not labels:
        return []
    words, best = word_parts(matcher, text, labels, taxonomy), best_sentences(matcher, text, labels, taxonomy)
    found = {label: list(_of_label(text, label, best, words, row)) for row, label in enumerate(labels)}
    if (rest := [label for label in labels if not found[label]]) and len(sentences(text)) == 1:
        found |= occluded_words(matcher, text, rest, taxonomy)
    return [one for label in labels for one in found[label]]


def _of_label(
    text: Text, label: str, best: Mapping[str, tuple[Passage, float]], words: WordParts, row: int
) -> Iterator[Evidence]:
    if label in best:
        passage, added = best[label]
        yield Evidence(label, "sentence", passage.of(text), passage.start, passage.end, added, passage.field)
    placed = [(float(words.added[at, row]), place) for at, place in enumerate(words.places) if place]
    for added, place in sorted(placed, key=lambda pair: -pair[0])[:WORDS]:
        if added >= LEAST:
            rounded = round(added, _DIGITS)
            yield Evidence(label, "word", place.of(text), place.start, place.end, rounded, place.field)


@native
def word_parts(matcher: Matcher, text: Text, labels: Sequence[str], taxonomy: Taxonomy) -> WordParts:
    """What each distinct word adds; a word is what the tokenizer divides into pieces, whatever its case and accents."""
    read = tokenizer().encode(text.joined, add_special_tokens=False)
    features = matcher.weights.words
    pieces, values = counted(read.ids, features.rarity)
    of_pieces = values[:, None] * (features.weights[pieces] @ _word_weights(matcher, labels, taxonomy).T)
    column = {int(piece): at for at, piece in enumerate(pieces)}
    of_pieces /= np.bincount([column[piece] for piece in read.ids], minlength=len(pieces))[:, None]
    unknown = tokenizer().token_to_id("[UNK]")
    places: dict[object, Passage | None] = {}
    added: dict[object, Array] = {}
    for ids, start, end in _words(read.ids, read.word_ids, read.offsets):
        key = (*ids, start) if unknown in ids else ids  # different unknown words have the same piece
        place = in_joined(text, start, end)
        places[key] = places.get(key) or (with_marks(text, place) if place else None)
        added[key] = added.get(key, 0) + of_pieces[[column[piece] for piece in ids]].sum(axis=0)
    return WordParts(list(places.values()), np.array(list(added.values()), np.float32).reshape(-1, len(labels)))


def _words(
    ids: Sequence[int], numbers: Sequence[int | None], offsets: Sequence[tuple[int, int]]
) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """The pieces of each word, and where it begins and ends."""
    start = 0
    for end in range(1, len(ids) + 1):
        if end == len(ids) or numbers[end] != numbers[start]:
            yield tuple(ids[start:end]), offsets[start][0], offsets[end - 1][1]
            start = end


def best_sentences(
    matcher: Matcher, text: Text, labels: Sequence[str], taxonomy: Taxonomy
) -> dict[str, tuple[Passage, float]]:
    """For each label the sentence whose removal lowers the log-odds most, and by how much.

    A text of one sentence has none, nor has a label that no removal lowers by 0.15. Of a text with more than eight
    sentences, those two are tried that have the highest log-odds by themselves.
    """
    parts = sentences(text)
    if len(parts) < 2:
        return {}
    tried = dict.fromkeys(labels, range(len(parts)))
    if len(parts) > _ALL:
        alone = _log_odds(matcher, [part.of(text) for part in parts], labels, taxonomy)
        order = np.argsort(-alone, axis=0)[:_CANDIDATES]
        tried = {label: order[:, row].tolist() for row, label in enumerate(labels)}
    removed = sorted({place for places in tried.values() for place in places})
    texts = [text, *(parts[place].removed(text) for place in removed)]
    odds = _log_odds(matcher, [one.joined for one in texts], labels, taxonomy)
    falls = dict(zip(removed, odds[0] - odds[1:], strict=True))
    found = {}
    for row, label in enumerate(labels):
        place = max(tried[label], key=lambda one: float(falls[one][row]))
        if (fall := float(falls[place][row])) >= LEAST:
            found[label] = parts[place], round(fall, _DIGITS)
    return found


def occluded_words(
    matcher: Matcher, text: Text, labels: Sequence[str], taxonomy: Taxonomy
) -> dict[str, list[Evidence]]:
    """For each label the words whose removal, one at a time, lowers the log-odds most, by 0.15 or more.

    A text of one word has none. Of a text with more than 64 words, two or more neighbours are one passage.
    """
    parts = words_of(text, _MOST_PARTS)
    if len(parts) < 2:
        return {label: [] for label in labels}
    odds = _log_odds(matcher, [text.joined, *(part.removed(text).joined for part in parts)], labels, taxonomy)
    falls = odds[0] - odds[1:]
    found = {}
    for row, label in enumerate(labels):
        best = [at for at in np.argsort(-falls[:, row], kind="stable")[:WORDS] if falls[at, row] >= LEAST]
        found[label] = [
            Evidence(label, "occlusion", part.of(text), part.start, part.end, added, part.field)
            for part, added in ((parts[at], round(float(falls[at, row]), _DIGITS)) for at in best)
        ]
    return found


def _flat(taxonomy: Taxonomy) -> Taxonomy:
    """What the matcher scores: the labels, or the leaves of a hierarchy."""
    return taxonomy.flat if isinstance(taxonomy, Hierarchy) else taxonomy


def _columns(label: str, taxonomy: Taxonomy) -> list[int]:
    """The columns of a label's score: its own and, of an inner label, those of the labels below it."""
    if not isinstance(taxonomy, Hierarchy):
        return [taxonomy.names.index(label)]
    names = taxonomy.flat.names
    return [at for at, name in enumerate(names) if name == label or name.startswith(label + SEPARATOR)]


def _word_weights(matcher: Matcher, labels: Sequence[str], taxonomy: Taxonomy) -> Array:
    """The weights of each label; 0 of an inner label, whose score is no sum over words."""
    weights = matcher.word_weights(_flat(taxonomy))
    columns = [_columns(label, taxonomy) for label in labels]
    return np.array([weights[own[0]] if len(own) == 1 else np.zeros_like(weights[0]) for own in columns], np.float32)


def _log_odds(matcher: Matcher, texts: Sequence[str], labels: Sequence[str], taxonomy: Taxonomy) -> Array:
    """Log-odds of the labels' scores, shape (texts, labels); see ``llm.hierarchical.by_leaves`` for inner labels."""
    flat = _flat(taxonomy)
    scores, shares = matcher.unrounded(texts, flat), flat.exclusive
    columns = [scores[:, _columns(label, taxonomy)] for label in labels]
    found = np.stack([own.sum(axis=1) if shares else own.max(axis=1) for own in columns], axis=1)
    found = found.clip(_LEAST_ODDS, 1 - _LEAST_ODDS)
    return np.asarray(np.log(found) - np.log1p(-found), np.float32)
