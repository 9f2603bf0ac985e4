"""Labels as the matcher sees them: their vectors and what training found about similar labels, cached by taxonomy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from llm.embedded.weights import MatcherWeights
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text
from similarity.lru import LRUCache

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

# Chosen on validation texts, far from films and of sub-genres that no training had seen: how much a new label in a
# taxonomy of films is judged as training knew labels, and how near to a known one a label is that is judged so alone.
_FILM, _SEEN = 0.7, 0.6
_EXACTNESS = 40.0  # how much nearer wordings outweigh farther ones: at .1 of cosine, e to the 4th
# Of label vectors in the cache. A label takes 1.5 KB here and 3.5 KB in the matcher, so this is some 18,000 labels.
LABEL_CACHE_BYTES = 64 * 2**20


class TextEncoder(Protocol):
    """Texts to unit vectors, shape (texts, dimension)."""

    name: str

    def encode(self, texts: Sequence[str]) -> Array: ...


@dataclass(frozen=True)
class LabelEmbeddings:
    """A taxonomy as the matcher sees it; arrays have one entry a label, in taxonomy order.

    Attributes:
        plain: unit vectors of the labels by plain MiniLM, shape (labels, 384).
        taught: the same with what was learnt for the nearest labels, shape (labels, 384).
        scales: what was learnt for the nearest labels: from cosines to logits.
        biases: likewise, what is added to those.
        words: shares of the labels whose words were learnt, shape (labels, columns of ``WordFeatures``).
        nearness: 0 to 1, how like a label seen in training each is.
        share: 0 to 1, how much each is judged as training knew labels; the rest is by how it stands out.
        alone: the same where the label is the only one of its taxonomy.
    """

    plain: Array
    taught: Array
    scales: Array
    biases: Array
    words: Array
    nearness: Array
    share: Array
    alone: Array


class LabelEmbeddingCache:
    """Vectors of labels, cached by taxonomy, so that labels are not encoded for every request.

    Args:
        encoder: plain MiniLM.
        learnt: what training found about labels.
        max_bytes: of the cached vectors; the least recently used taxonomies are dropped.
    """

    def __init__(self, encoder: TextEncoder, learnt: MatcherWeights, max_bytes: int = LABEL_CACHE_BYTES) -> None:
        self._encoder, self._learnt = encoder, learnt
        self._kept: LRUCache[str, LabelEmbeddings] = LRUCache(max_bytes, _bytes)

    def of(self, taxonomy: Taxonomy) -> LabelEmbeddings:
        """The taxonomy's labels that may be answered."""
        return self._kept.get(taxonomy.digest) or self.each([taxonomy])[0]

    def each(self, taxonomies: Sequence[Taxonomy]) -> list[LabelEmbeddings]:
        """The same of several taxonomies; labels that are not cached are encoded together, each once."""
        found = {digest: self._kept.get(digest) for digest in {taxonomy.digest for taxonomy in taxonomies}}
        missing = {one.digest: one.predictable for one in taxonomies if found[one.digest] is None}
        new = dict(zip(missing, self._known(list(missing.values())), strict=True)) if missing else {}
        for digest, known in new.items():
            self._kept.put(digest, known)
        return [found[one.digest] or new[one.digest] for one in taxonomies]

    def known(self, labels: Sequence[Label]) -> LabelEmbeddings:
        """These labels as a taxonomy; not cached."""
        return self._known([labels])[0]

    def _known(self, vocabularies: Sequence[Sequence[Label]]) -> list[LabelEmbeddings]:
        learnt, numbers = self._learnt, self._learnt.numbers
        plain = self._encoded([label for labels in vocabularies for label in labels])
        cosines = plain @ learnt.wordings.T
        nearest = cosines.max(axis=1)
        weights = np.exp(_EXACTNESS * (cosines - nearest[:, None]))
        shares = (
            weights @ (learnt.labels[:, None] == np.arange(len(learnt.biases))) / weights.sum(axis=1, keepdims=True)
        )
        nearness = _ramp(nearest, numbers["near from"], numbers["near to"])
        most = _FILM + (1 - _FILM) * np.minimum(1, nearness / _SEEN)
        alone = most * self._filmlike(nearest)
        whole = LabelEmbeddings(
            plain, _unit(plain + shares @ learnt.offsets), shares @ learnt.scales, shares @ learnt.biases,
            shares[:, learnt.words.labels], nearness, alone, alone,
        )  # fmt: skip
        found, start = [], 0
        for labels in vocabularies:
            part = slice(start, start := start + len(labels))
            own = LabelEmbeddings(*(getattr(whole, one.name)[part].copy() for one in fields(LabelEmbeddings)))
            if len(labels) > 1:
                # A quarter of the labels may be odd ones; one genre among topics should not make them a taxonomy of
                # films.
                typical = self._filmlike(np.quantile(nearest[part], 0.25))
                own = replace(own, share=np.asarray(most[part] * typical, np.float32))
            found.append(own)
        return found

    def _encoded(self, labels: Sequence[Label]) -> Array:
        """Unit vectors of the labels: of their names and of their descriptions, at equal weight."""
        words = dict.fromkeys(words for label in labels for words in (label.name, described(label)))
        place = {one: at for at, one in enumerate(words)}
        vectors = self._encoder.encode(list(words))
        names = vectors[[place[label.name] for label in labels]]
        return _unit(names + vectors[[place[described(label)] for label in labels]])

    def _filmlike(self, nearest: Array | np.float32) -> Array:
        numbers = self._learnt.numbers
        return _ramp(nearest, numbers["film from"], numbers["film to"])


def sentence(text: Text) -> str:
    """What is read of a text: its title, where there is one, and its body."""
    return f"{text.title.strip()}. {text.body.strip()}" if text.title.strip() else text.body


def described(label: Label) -> str:
    """What is read of a label: its name and, where there is one, its description."""
    return f"{label.name}: {label.description}" if label.description else label.name


def joined(known: Sequence[LabelEmbeddings]) -> LabelEmbeddings:
    """Several taxonomies' labels as one, in order."""
    return LabelEmbeddings(
        *(np.concatenate([getattr(one, part.name) for one in known]) for part in fields(LabelEmbeddings))
    )


def _bytes(known: LabelEmbeddings) -> int:
    return sum(getattr(known, part.name).nbytes for part in fields(LabelEmbeddings))


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _ramp(value: Array | np.float32, start: float, end: float) -> Array:
    return np.asarray(np.clip((value - start) / (end - start), 0, 1), np.float32)
