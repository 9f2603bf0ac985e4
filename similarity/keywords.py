"""Keywords of clusters of texts: words and pairs of words by class-based TF-IDF and by their vectors."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_CANDIDATES = 40  # terms of a cluster that are compared with its texts by their vectors
_LEAST_TEXTS = 2  # a term of one text names no cluster
_STOP_WORDS = frozenset(
    """
a about above after again against ago all almost also although always am an and another any anyone anything april are
aren't as at august away back be became because become been before being below between bit both but by came can can't
cannot cent come could couldn't day days december did didn't do does doesn't doing don't done down during each eight
either eleven else enough even evening ever every everyone everything february few first five for four friday from
further get gets getting give given go goes going gone got had hadn't has hasn't have haven't having he he's hello her
here hers herself hi him himself his hour hours how however hundred i i'd i'll i'm i've if in instead into is isn't it
it's its itself january july june just keep kindly know last least less let let's like little lot made make makes many
march may maybe me million mine minute minutes monday month months more morning most much must my myself need needs
neither never new next nine no none nor not nothing november now number october of off often ok on once one only onto
or other others our ours ourselves out over own per perhaps please put quite rather really regards said same saturday
say says see seem seems september seven several shall she she's should shouldn't since six so some someone something
soon still such sunday take takes ten than thank thanks that that's the their theirs them themselves then there
there's these they they're thing things think this those though thousand three through thursday thus time times to
today together tomorrow tonight too toward tuesday twelve two under until up upon us use used uses using very via want
wants was wasn't way we we're wednesday week weeks well went were weren't what what's when where whether which while
who whom whose why will with within without won't would wouldn't year years yes yesterday yet you you'd you'll you're
you've your yours yourself zero
""".split()
)


def keywords(
    texts: Sequence[str],
    members: Sequence[int],
    centres: Array,
    encode: Callable[[Sequence[str]], Array],
    count: int = 6,
) -> list[list[str]]:
    """Up to ``count`` terms per cluster, best first; no two terms of a cluster share a word.

    The score of a term is the product of the share of the cluster's texts that have it, its rarity elsewhere (c-TF-IDF,
    Grootendorst 2022, arXiv 2203.05794), and the square of
    the cosine of its vector to the cluster's centre (as in KeyBERT).

    Args:
        texts: the texts.
        members: cluster of each text.
        centres: vectors of length 1 of the clusters, without the mean of all texts, shape (clusters, dimension).
        encode: returns vectors of length 1.
        count: maximum number of terms.
    """
    found = [dict.fromkeys(_terms(text)) for text in texts]
    everywhere = Counter(term for terms in found for term in terms)
    result = []
    for number, centre in enumerate(centres):
        own = [terms for terms, member in zip(found, members, strict=True) if member == number]
        within = Counter(term for terms in own for term in terms)
        least = min(_LEAST_TEXTS, max(within.values(), default=1))
        weights = {
            term: (texts_with / len(own)) * _rarity(texts_with, everywhere[term], len(own), len(texts))
            for term, texts_with in within.items()
            if texts_with >= least
        }
        candidates = sorted(weights, key=lambda term: (-weights[term], term))[:_CANDIDATES]
        result.append(_chosen(candidates, weights, centre, encode, count))
    return result


def _rarity(within: int, everywhere: int, own: int, total: int) -> float:
    """Logarithm of how much more frequent a term is in the cluster than elsewhere, smoothed; 0 where it is not."""
    elsewhere = (everywhere - within + 0.5) / max(1, total - own + 1)
    return max(0.0, math.log((within / own) / elsewhere))


def _chosen(
    candidates: Sequence[str], weights: dict[str, float], centre: Array, encode: Callable[[Sequence[str]], Array],
    count: int,
) -> list[str]:  # fmt: skip
    if not candidates:
        return []
    near = np.clip(encode(candidates) @ centre, 0.01, None).tolist()
    scores = {term: weights[term] * cosine**2 for term, cosine in zip(candidates, near, strict=True)}
    chosen: list[str] = []
    used: set[str] = set()
    for term in sorted(scores, key=lambda term: (-scores[term], term)):
        stems = {_stem(word) for word in term.split()}
        if not stems & used:
            chosen.append(term)
            used |= stems
    return chosen[:count]


def _terms(text: str) -> Iterator[str]:
    """Words and pairs of neighbouring words, in lower case, without stop words."""
    words = [word.replace("\u2019", "'") for word in _WORD.findall(text.casefold())]
    content = [len(word) > 2 and word not in _STOP_WORDS for word in words]
    for place, word in enumerate(words):
        if content[place]:
            yield word
            if place + 1 < len(words) and content[place + 1]:
                yield f"{word} {words[place + 1]}"


def _stem(word: str) -> str:
    """A word without a plural's end."""
    return word.removesuffix("'s").removesuffix("s")
