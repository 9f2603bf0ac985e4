"""The matcher: MiniLM taught on films and reviews how texts and labels match, and still zero-shot for any vocabulary.

Two readings of a text stand side by side. In one, the vector of a MiniLM tuned on plots is compared with plain vectors
of the labels; a label worded like one seen in training (genres, sub-genres, praise and blame) gets what was learnt for
that one on top, and what the text's single words tell of it. In the other, a label has to stand out among the others,
for plain MiniLM above all. Known labels are left to the first, those of vocabularies far from films to the second, and
strange labels of films get both. How good that is stands in ``eval/RESULTS.md``, how it was taught beside the weights.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llm.classifier import Prediction, Problem, ScoreType, Source, label_source
from llm.embedded import Encoder, described, sentence
from llm.learnt import Learnt, load
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text
from similarity.encoder import MiniLM
from similarity.one_thread import one_thread
from similarity.pieces import cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

SHIPPED = Path(__file__).parent / "weights" / "matcher.v1.safetensors"
# A label is chosen from this probability on, in vocabularies that the matcher was never taught too. Where probabilities
# are right, F1 is best from half of its own best value on (arXiv 1402.1892): half of .64, which it comes to on films.
THRESHOLD = 0.32
# Below this cosine a label has hardly to do with the text; used only where "none" is an answer.
_RELATED = 0.2
# Chosen on validation texts, far from films and of sub-genres that no training had seen: how much the tuned encoder has
# to say about which strange label stands out; how much a strange label in a vocabulary of films is judged as training
# knew labels; and how near to one of those a label is that is judged so alone.
_TUNED, _FILM, _SEEN = 0.3, 0.7, 0.6
_VOCABULARIES_KEPT = 256
_EXACTNESS = 40.0  # how much nearer wordings outweigh farther ones: at .1 of cosine, e to the 4th


@dataclass(frozen=True)
class Known:
    """A vocabulary as the matcher sees it; arrays have one entry a label, in vocabulary order.

    Attributes:
        plain: unit vectors of the labels by plain MiniLM, shape (labels, 384).
        taught: the same with what was learnt for the nearest labels, shape (labels, 384).
        scales: what was learnt for the nearest labels: from cosines to logits.
        biases: likewise, what is added to those.
        words: shares of the labels whose words were learnt, shape (labels, columns of ``Words``).
        nearness: 0 to 1, how like a label seen in training each is.
        share: 0 to 1, how much each is judged as training knew labels; the rest is by how it stands out.
        alone: the same where the label is the only one of its vocabulary.
    """

    plain: Array
    taught: Array
    scales: Array
    biases: Array
    words: Array
    nearness: Array
    share: Array
    alone: Array


@dataclass(frozen=True)
class Matcher:
    """A probability per label: that it applies, or, in a vocabulary of single labels, that it is the one.

    Args:
        encoder: plain MiniLM; reads labels, and texts for vocabularies far from films.
        tuned: MiniLM with ``learnt.changes``; reads texts for vocabularies of films.
        learnt: the rest of what was learnt.
    """

    encoder: Encoder
    tuned: Encoder
    learnt: Learnt
    _vocabularies: Vocabularies = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_vocabularies", Vocabularies(self.encoder, self.learnt))

    @property
    def name(self) -> str:
        """``embedded/`` and the name of what was learnt."""
        return f"embedded/{self.learnt.name}"

    @property
    def decode_rule(self) -> str:
        """How scores become labels, in words."""
        return f"probability of {THRESHOLD:g} or more, at most max_labels, the best one at least"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; labels come best first, with a probability for every label."""
        originals = [Text.of(text) for text in texts]
        source = Source(self.name, label_source(taxonomy))
        rows = iter(self._rows([sentence(text) for text in originals if not text.empty], taxonomy))
        nothing = Prediction((), source, problem=Problem("empty", "there is no text to label"))
        return [nothing if text.empty else _decode(next(rows), taxonomy, source) for text in originals]

    def alone(self, text: str | Text, labels: Sequence[Label]) -> list[float]:
        """Each label's probability as the only one of its vocabulary, in their order; the text is read once for all."""
        read, known = cut([sentence(Text.of(text))]), self._vocabularies.known(labels)
        tuned, plain, words = self.tuned.encode(read), self.encoder.encode(read), self.learnt.words.logits(read)
        with one_thread():
            centred = np.asarray((plain - self.learnt.centre) @ known.plain.T, np.float32)
            taught = _independent(self._taught(words, self.learnt.of_text(tuned), known))
            mixed = known.alone * taught + (1 - known.alone) * _independent(self._lone(centred))
        return [round(float(value), 4) for value in mixed[0]]

    def _rows(self, texts: Sequence[str], taxonomy: Taxonomy) -> list[list[float]]:
        if not texts:
            return []
        known, read = self._vocabularies.of(taxonomy), cut(texts)
        tuned, words = self.tuned.encode(read), self.learnt.words.logits(read)
        # Where one label is chosen, probabilities compete: all must be mixed alike to sum to 1.
        share = known.share if taxonomy.multi else known.share.mean()
        plain = self.encoder.encode(read) if share.min() < 1 else None
        with one_thread():
            tuned = self.learnt.of_text(tuned)
            found = share * _probabilities(self._taught(words, tuned, known), taxonomy)
            if plain is not None:
                found = found + (1 - share) * self._strange(plain @ known.plain.T, tuned, known, taxonomy)
        rows: list[list[float]] = found.tolist()
        return rows

    def _taught(self, words: Array, tuned: Array, known: Known) -> Array:
        """Logits of labels as training knew them, shape (texts, labels)."""
        numbers = self.learnt.numbers
        near = known.scales * (tuned @ known.taught.T) + known.biases + words @ known.words.T
        far = numbers["plain scale"] * tuned @ known.plain.T + numbers["plain bias"]
        return np.asarray(known.nearness * near + (1 - known.nearness) * far, np.float32)

    def _strange(self, cosines: Array, tuned: Array, known: Known, taxonomy: Taxonomy) -> Array:
        """Probabilities of labels that training did not know, shape (texts, labels): by how near each is to the text,
        and how much it stands out among the others for either encoder."""
        numbers = self.learnt.numbers
        # Some labels are near to whatever is written: what they have in common with all texts is taken off.
        centred = cosines - known.plain @ self.learnt.centre
        if len(known.plain) == 1:
            logits: Array = self._lone(centred)
        else:
            standing = (1 - _TUNED) * _standing(centred) + _TUNED * _standing(tuned @ known.plain.T)
            common = numbers["crowd"] * np.log(len(known.plain)) + numbers["far bias"]
            logits = np.float32(numbers["far scale"]) * centred + np.float32(numbers["standing"]) * standing + common
        probabilities = _probabilities(np.asarray(logits, np.float32), taxonomy)
        return np.where(cosines < _RELATED, 0.0, probabilities) if taxonomy.allow_none else probabilities

    def _lone(self, centred: Array) -> Array:
        """Logits by plain MiniLM where a label has no others to stand out among."""
        return np.asarray(self.learnt.numbers["lone scale"] * centred + self.learnt.numbers["lone bias"], np.float32)


def matcher(path: Path = SHIPPED, encoder: MiniLM | None = None) -> Matcher:
    """The matcher of a file of weights; the one that comes with the program by default.

    Args:
        path: what ``llm.learnt.save`` wrote.
        encoder: plain MiniLM, where one is there to be shared.
    """
    learnt = load(path)
    return Matcher(encoder or MiniLM(), MiniLM(learnt.changes, learnt.name, eight_bits=True), learnt)


class Vocabularies:
    """The vocabularies used last, so that labels are encoded once and not for every request."""

    def __init__(self, encoder: Encoder, learnt: Learnt) -> None:
        self._encoder, self._learnt = encoder, learnt
        self._kept: OrderedDict[str, Known] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, taxonomy: Taxonomy) -> Known:
        """The vocabulary's labels that may be answered."""
        with self._lock:
            known = self._kept.pop(taxonomy.digest, None)
        known = known or self.known(taxonomy.predictable)
        with self._lock:
            self._kept[taxonomy.digest] = known
            while len(self._kept) > _VOCABULARIES_KEPT:
                self._kept.popitem(last=False)
        return known

    def known(self, labels: Sequence[Label]) -> Known:
        """These labels as a vocabulary."""
        learnt, numbers = self._learnt, self._learnt.numbers
        names = self._encoder.encode([label.name for label in labels])
        plain = _unit(names + self._encoder.encode([described(label) for label in labels]))
        cosines = plain @ learnt.wordings.T
        nearest = cosines.max(axis=1)
        weights = np.exp(_EXACTNESS * (cosines - nearest[:, None]))
        shares = (
            weights @ (learnt.labels[:, None] == np.arange(len(learnt.biases))) / weights.sum(axis=1, keepdims=True)
        )
        nearness = _ramp(nearest, numbers["near from"], numbers["near to"])
        # A quarter of the labels may be odd ones; one genre among topics should not make them a vocabulary of films.
        typical = np.append(nearest, np.quantile(nearest, 0.25))
        *own, filmlike = _ramp(typical, numbers["film from"], numbers["film to"])
        most = _FILM + (1 - _FILM) * np.minimum(1, nearness / _SEEN)
        share, alone = most * filmlike, most * own
        return Known(
            plain, _unit(plain + shares @ learnt.offsets), shares @ learnt.scales, shares @ learnt.biases,
            shares[:, learnt.words.labels], nearness, share, alone,
        )  # fmt: skip


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _standing(cosines: Array) -> Array:
    """How many deviations each label lies above the mean of its row."""
    spread = cosines - cosines.mean(axis=1, keepdims=True)
    return np.asarray(spread / np.maximum(spread.std(axis=1, keepdims=True), 1e-6), np.float32)


def _ramp(value: Array | np.float32, start: float, end: float) -> Array:
    return np.asarray(np.clip((value - start) / (end - start), 0, 1), np.float32)


def _probabilities(logits: Array, taxonomy: Taxonomy) -> Array:
    if taxonomy.multi or logits.shape[1] == 1:
        return _independent(logits)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _independent(logits: Array) -> Array:
    from scipy.special import expit

    return np.asarray(expit(logits), np.float32)


def _decode(row: Sequence[float], taxonomy: Taxonomy, source: Source) -> Prediction:
    pairs = zip(taxonomy.names, (round(value, 4) for value in row), strict=True)
    scores = dict(sorted(pairs, key=lambda pair: -pair[1]))
    ranked = list(scores)
    chosen = [name for name in ranked if scores[name] >= THRESHOLD][: taxonomy.max_labels]
    if not chosen and not taxonomy.allow_none:
        chosen = ranked[:1]  # among many labels that score alike, none stands out
    score_type: ScoreType = "probability" if taxonomy.multi or len(scores) == 1 else "share"
    return Prediction(tuple(chosen), source, scores, score_type=score_type)
