"""The matcher: MiniLM fine-tuned to match texts and labels, zero-shot for any taxonomy.

The score of a label is a weighted mean of two branches, each with an encoder of its own. The film branch compares the
text's vector with the label's vector, and adds word features and the parameters of similar training labels (genres,
sub-genres, sentiment). The general branch was trained on label sets of many fields; it uses cosines and their z-scores
among the labels. Labels of the film branch's training use the first, taxonomies far from films the second, new labels
of films both. A text is encoded once for each branch that its taxonomy uses.
``eval/RESULTS.md`` has its quality, ``weights/matcher.v2.md`` the training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from llm.classifier import AnswerSource, Prediction, ScoreType, no_text
from llm.embedded.cosine import Scope, TextEncoder
from llm.embedded.weights import LabelEmbeddingCache, LabelEmbeddings, MatcherWeights, joined, load
from llm.hierarchical import by_leaves
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import OUT_OF_SCOPE, Taxonomy
from prompts.taxonomy_places import PLACES
from prompts.text import Text, checked_texts
from similarity.encoders.minilm import MiniLM, language_warnings
from similarity.encoders.tokens import Cut, cut
from similarity.native import one_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

SHIPPED = Path(__file__).parent / "weights" / "matcher.v2.safetensors"
# Minimum probability of a chosen label. For calibrated probabilities the best threshold of F1 is half the best F1
# (arXiv 1402.1892): half of .64, the value on films.
THRESHOLD = 0.32
# With labels that are not in the training data, probabilities fall with the number of labels. There a label is also
# chosen from this share of the best probability on. Micro-F1 over whole taxonomies outside the training data, mean of
# the nine families that chose the value and of eleven others: .433 and .390 for the threshold alone, .503 and .462 with
# the best label at least, .509 and .464 with the share (of .5 to .9; ``benchmarks/constants.py``).
SHARE_OF_BEST = 0.7
# Weight of the film branch in the z-scores of new labels of films; chosen on sub-genres that are not in its training.
_FILM_SHARE = 0.3
DIGITS = 4  # of scores
_STEP = 10**-DIGITS


class TuningsProtocol(Protocol):
    """What ``llm.embedded.tunings.Tunings`` does for a ``Matcher``."""

    def predictions(self, texts: Sequence[Text], before: list[Prediction], taxonomy: Taxonomy) -> list[Prediction]: ...
    def of_pairs(self, pairs: Sequence[tuple[Text, Taxonomy]], before: list[Prediction]) -> list[Prediction]: ...
    def scores(self, texts: Sequence[str], before: NDArray[np.float64], taxonomy: Taxonomy) -> NDArray[np.float64]: ...
    def suffix(self, taxonomy: Taxonomy) -> str: ...


@dataclass(frozen=True)
class Matcher:
    """A probability per label: that it applies, or, in a taxonomy of single labels, that it is the one."""

    encoder: TextEncoder  # plain MiniLM; encodes labels
    tuned: TextEncoder  # MiniLM with ``weights.changes``; encodes texts for taxonomies of films
    general: TextEncoder  # MiniLM with ``weights.general.changes``; encodes texts for other taxonomies
    weights: MatcherWeights
    tunings: TuningsProtocol | None = field(default=None, repr=False, compare=False)  # ``llm.embedded.tunings``
    _labels: LabelEmbeddingCache = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_labels", LabelEmbeddingCache(self.encoder, self.weights))

    @cached_property
    def _scope(self) -> Scope:
        return Scope(self._general_labels, self.weights.general.centre, self.weights.numbers)

    @property
    def name(self) -> str:
        return f"embedded/{self.weights.name}"

    @property
    def decode_rule(self) -> str:
        """How scores become labels, in words."""
        return (
            f"probability of {THRESHOLD:g} or more, at most max_labels, the best one at least; labels unknown to "
            f"training: also from {SHARE_OF_BEST:g} of the best on, none where the text is out of scope"
        )

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; labels come best first, with a probability for every label."""
        if isinstance(taxonomy, Hierarchy):
            return by_leaves(self.classify, texts, taxonomy)
        originals = checked_texts(texts)
        source = AnswerSource(self.name, taxonomy.versioned_name)
        read = cut([text.joined for text in originals if not text.empty])
        scored = zip(self._scored(read, taxonomy), map(language_warnings, read), strict=True)
        decoded = (_decode(one, taxonomy, source, warnings) for one, warnings in scored)
        found = [Prediction((), source, problem=no_text(text)) if text.empty else next(decoded) for text in originals]
        used = self.tunings if taxonomy.labels_version in PLACES else None
        return used.predictions(originals, found, taxonomy) if used else found

    def predict(self, pairs: Sequence[tuple[Text, Taxonomy]]) -> list[Prediction]:
        """One prediction per pair of a text, which is not empty, and a taxonomy, in order, as from ``classify``.

        Each text and each label is encoded once, however many pairs it is in.
        """
        known = self._labels.of_each([taxonomy for _, taxonomy in pairs])
        places: dict[Text, list[int]] = {}
        for place, (text, _) in enumerate(pairs):
            places.setdefault(text, []).append(place)
        read = cut([text.joined for text in places])
        rows: dict[int, _Scored] = {}
        vectors = self._vectors(read, known, any(taxonomy.allow_none == OUT_OF_SCOPE for _, taxonomy in pairs))
        with one_thread():
            for at, same in enumerate(places.values()):
                of_text = vectors.row(at)
                single = [place for place in same if len(known[place].plain) == 1 and not pairs[place][1].allow_none]
                if single:
                    alone = self._alone(of_text, joined([known[place] for place in single]))
                    rows |= {
                        place: _Scored(row, THRESHOLD, True)
                        for place, row in zip(single, alone.T.tolist(), strict=True)
                    }
                for place in set(same) - set(single):
                    (rows[place],) = self._labelled(of_text, known[place], pairs[place][1])
        sources = [AnswerSource(self.name, taxonomy.versioned_name) for _, taxonomy in pairs]
        warnings = dict(zip(places, map(language_warnings, read), strict=True))
        decoded = [_decode(rows[place], pair[1], sources[place], warnings[pair[0]]) for place, pair in enumerate(pairs)]
        used = self.tunings if any(taxonomy.labels_version in PLACES for _, taxonomy in pairs) else None
        return used.of_pairs(pairs, decoded) if used else decoded

    def unrounded(self, texts: Sequence[str], taxonomy: Taxonomy) -> NDArray[np.float64]:
        """Scores before they are rounded, shape (texts, labels)."""
        scores = [one.scores for one in self._scored(texts, taxonomy)]
        found = np.array(scores, np.float64).reshape(-1, len(taxonomy.names))
        return self.tunings.scores(texts, found, taxonomy) if self.tunings else found

    def word_weights(self, taxonomy: Taxonomy) -> Array:
        """Weight of each column of the word features in the log-odds of the trained branch, shape (labels, columns).

        They are multiplied by the branch's share of the score: 0 for labels that are far from those of the training.
        """
        known = self._labels.of(taxonomy)
        share = known.share if taxonomy.multi else known.share.mean()
        return np.asarray((share * known.nearness)[:, None] * known.words, np.float32)

    def _scored(self, texts: Sequence[str], taxonomy: Taxonomy) -> list[_Scored]:
        if not texts:
            return []
        known, read = self._labels.of(taxonomy), cut(texts)
        vectors = self._vectors(read, [known], taxonomy.allow_none == OUT_OF_SCOPE)
        with one_thread():
            return self._labelled(vectors, known, taxonomy)

    def _vectors(self, read: Sequence[Cut], labels: Sequence[LabelEmbeddings], scoped: bool) -> _TextVectors:
        """Encode texts for the branches that these labels use; the scope of a text is seen by the general branch."""
        film = any(known.share.max() > 0 for known in labels)
        general = scoped or any(known.share.min() < 1 for known in labels)
        words, tuned = (self.weights.words.logits(read), self.tuned.encode(read)) if film else (None, None)
        found = self.general.encode(read) if general else None
        with one_thread():
            tuned = None if tuned is None else self.weights.of_text(tuned)
        return _TextVectors(len(read), words, tuned, found)

    def _labelled(self, texts: _TextVectors, known: LabelEmbeddings, taxonomy: Taxonomy) -> list[_Scored]:
        found = self._mixed(texts, known, taxonomy)
        trained = known.share.min() == 1
        if len(known.plain) == 1 or (trained and taxonomy.allow_none != OUT_OF_SCOPE):
            return [_Scored(row, THRESHOLD, not taxonomy.allow_none) for row in found.tolist()]
        related = np.ones(len(found), bool)
        if taxonomy.allow_none:
            related = self._scope.contains(texts.general, known.general, taxonomy.digest)
        if trained:  # a probability above the threshold is reliable there, whatever the scope
            pairs = zip(found.tolist(), related.tolist(), strict=True)
            return [_Scored(row, THRESHOLD, one) for row, one in pairs]
        floors = np.minimum(THRESHOLD, SHARE_OF_BEST * found.max(axis=1)).clip(_STEP)
        rows = zip(found.tolist(), floors.tolist(), related.tolist(), strict=True)
        return [_Scored(row, floor if one else math.inf, one) for row, floor, one in rows]

    def _mixed(self, texts: _TextVectors, known: LabelEmbeddings, taxonomy: Taxonomy) -> Array:
        """Probabilities of a taxonomy's labels, shape (texts, labels)."""
        # Where one label is chosen, probabilities compete: all must be mixed alike to sum to 1.
        share = known.share if taxonomy.multi else known.share.mean()
        found = np.zeros((texts.count, len(known.plain)), np.float32)
        if known.share.max() > 0:
            found += share * _probabilities(self._trained(texts, known), taxonomy)
        if known.share.min() < 1:
            found += (1 - share) * self._zero_shot(texts, known, taxonomy)
        return found

    def _alone(self, texts: _TextVectors, known: LabelEmbeddings) -> Array:
        """Probabilities of labels, each as the only one of its taxonomy, shape (texts, labels)."""
        found = np.zeros((texts.count, len(known.plain)), np.float32)
        if known.alone.max() > 0:
            found += known.alone * _independent(self._trained(texts, known))
        if known.alone.min() < 1:
            found += (1 - known.alone) * _independent(self._lone(self._centred(texts, known)))
        return found

    def _centred(self, texts: _TextVectors, known: LabelEmbeddings) -> Array:
        """Cosines minus each label's cosine to the centre of texts, because some labels are near every text."""
        return np.asarray((texts.general - self.weights.general.centre) @ known.general.T, np.float32)

    def _trained(self, texts: _TextVectors, known: LabelEmbeddings) -> Array:
        """Logits of the film branch, shape (texts, labels)."""
        numbers = self.weights.numbers
        near = known.scales * (texts.film @ known.trained.T) + known.biases + texts.words @ known.words.T
        far = numbers["plain scale"] * texts.film @ known.plain.T + numbers["plain bias"]
        return np.asarray(known.nearness * near + (1 - known.nearness) * far, np.float32)

    def _zero_shot(self, texts: _TextVectors, known: LabelEmbeddings, taxonomy: Taxonomy) -> Array:
        """Probabilities from each label's similarity to the text and its z-score among the labels."""
        centred, numbers = self._centred(texts, known), self.weights.numbers
        if len(known.plain) == 1:
            return _independent(self._lone(centred))
        z_scores, size = _z_scores(centred), math.log(len(known.plain))
        if known.share.max() > 0:
            z_scores = (1 - _FILM_SHARE) * z_scores + _FILM_SHARE * _z_scores(texts.film @ known.plain.T)
        if taxonomy.multi:
            common = numbers["several crowd"] * size + numbers["several bias"]
            logits = numbers["several scale"] * centred + numbers["several standing"] * z_scores + common
        else:
            logits = (numbers["one scale"] + numbers["one crowd"] * size) * centred + numbers["one standing"] * z_scores
        return _probabilities(np.asarray(logits, np.float32), taxonomy)

    def _lone(self, centred: Array) -> Array:
        """Logits of the only label of a taxonomy."""
        return np.asarray(self.weights.numbers["lone scale"] * centred + self.weights.numbers["lone bias"], np.float32)

    def _general_labels(self, phrases: Sequence[str]) -> Array:
        """Vectors of phrases as labels of the general branch, shape (phrases, 384)."""
        return self.weights.general.of_labels(self.encoder.encode(phrases))


@dataclass(frozen=True)
class _TextVectors:
    """Encoded texts; a branch that is not used has None."""

    count: int
    words: Any  # logits of the word features of the film branch, shape (texts, columns)
    film: Any  # unit vectors of the film branch, shape (texts, 384)
    general: Any  # unit vectors of the general branch, shape (texts, 384)

    def row(self, at: int) -> _TextVectors:
        """One of the texts."""
        parts = (self.words, self.film, self.general)
        return _TextVectors(1, *(None if part is None else part[at : at + 1] for part in parts))


def matcher(path: Path = SHIPPED, encoder: MiniLM | None = None) -> Matcher:
    """The matcher with the weights of a file (``saved_weights.save``), and plain MiniLM if already loaded."""
    weights = load(path)
    tuned = MiniLM(weights.changes, weights.name, eight_bits=True)
    general = MiniLM(weights.general.changes, f"{weights.name}-general", eight_bits=True)
    return Matcher(encoder or MiniLM(), tuned, general, weights)


def _z_scores(cosines: Array) -> Array:
    spread = cosines - cosines.mean(axis=1, keepdims=True)
    return np.asarray(spread / np.maximum(spread.std(axis=1, keepdims=True), 1e-6), np.float32)


def _probabilities(logits: Array, taxonomy: Taxonomy) -> Array:
    if taxonomy.multi or logits.shape[1] == 1:
        return _independent(logits)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _independent(logits: Array) -> Array:
    with np.errstate(over="ignore"):  # of logits below -88, whose probability is 0
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


@dataclass(frozen=True)
class _Scored:
    """One text: a score per label, the minimum score of a chosen label, and whether the best one is always chosen."""

    scores: Sequence[float]
    floor: float
    always_best: bool


def _decode(one: _Scored, taxonomy: Taxonomy, source: AnswerSource, warnings: tuple[str, ...]) -> Prediction:
    pairs = zip(taxonomy.names, (round(value, DIGITS) for value in one.scores), strict=True)
    scores = dict(sorted(pairs, key=lambda pair: -pair[1]))
    ranked = list(scores)
    chosen = [name for name in ranked if scores[name] >= one.floor][: taxonomy.max_labels]
    if not chosen and one.always_best:
        chosen = ranked[:1]  # many labels with similar scores may all be below the minimum
    score_type: ScoreType = "probability" if taxonomy.multi or len(scores) == 1 else "share"
    return Prediction(tuple(chosen), source, scores, score_type=score_type, warnings=warnings)
