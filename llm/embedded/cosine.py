"""Cosines between texts and labels by plain MiniLM, without training: a classifier, and out-of-scope detection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from llm.classifier import AnswerSource, Prediction, no_text
from llm.hierarchical import by_leaves
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text, checked_texts
from similarity.encoders.minilm import language_warnings
from similarity.encoders.tokens import cut
from similarity.lru import LRUCache

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

# Size of a cache. A label takes 3.5 KB in ``LabelEmbeddingCache``, so this is about 18,000 labels.
LABEL_CACHE_BYTES = 64 * 2**20
# Minimum z-score of a chosen label's similarity among the similarities of the text.
# On tmdb's validation split .7 gives micro-F1 .409 with 4.1 labels a text, 1.0 gives .398 with 3.0; chosen for brevity.
_MIN_Z_SCORE = 1.0
# Minimum cosine of a chosen label where "none" is an answer. The best label of unrelated texts mostly has .05 to .2, of
# related ones .2 to .7: a coarse guard.
_MIN_COSINE = 0.2
# General topics, written for this purpose; none is a label of the taxonomies that chose or confirm the constants.
COHORT = (
    """
tax returns; court rulings; criminal trial; marriage and divorce; immigration papers; national elections; army and
defence; foreign relations; local council; police report; house prices; mortgage loans; stock trading; oil and gas;
crop harvest; shipping freight; company mergers; job interviews; pay and pensions; retail stores; card payment; late
parcel; forgotten password; cancelled order; broken device; customer complaint; opening hours; booking a table;
hotel room; flight delay; plumbing repair; carpentry; roof and walls; electrical wiring; welding metal; sewing
clothes; painting and decorating; gardening; cleaning the house; car engine; bicycles; trains and buses; road
traffic; sailing boats; aeroplanes; spacecraft; mountains and hiking; beach holiday; museums; city guide; cooking
recipes; bread and cakes; wine and beer; tea and espresso; vegetarian food; restaurant review; diet and weight;
fitness training; football match; tennis; swimming; chess; horse racing; athletics; martial arts; card games; video
games; toys for children; dolls; birthday presents; classical music; rock band; singing; dance; theatre play; oil
painting; photography; poetry; detective novel; ghost story; love story; funny film; war story; fairy tale; science
fiction; western; documentary; biography; superheroes; cartoon; being afraid; being angry; happiness; mourning;
tenderness; astonishment; self-respect; boredom; envy; hope; praise; grumbling; apology; saying thank you; saying
hello; question; request; advice; warning; joke; algebra; geometry; statistics; particle physics; astronomy;
chemistry; geology; weather forecast; ocean life; climate change; birds; dogs and cats; insects; wild animals; farm
animals; trees and forests; flowers; fish; bacteria; evolution; human anatomy; heart disease; cancer treatment;
mental health; pregnancy; dentistry; vaccines; nursing care; surgery; medicines; programming language; database; web
page; computer network; software bug; neural networks; mobile phone; operating system; data security; spreadsheet;
robots; batteries; solar power; nuclear energy; bridges and roads; mining; textiles; plastics; paper and printing;
factory machines; schoolteacher; accountant; lawyer; engineer; nurse; farmer; driver; salesperson; soldier;
secretary; church and faith; philosophy; ancient history; language and grammar; psychology; economics; sociology;
archaeology; schooling; charity; a person; a place; a date; a number; a company; a definition; a reason; a method;
an event; a building; alarm clock; next song; volume; lights at home; calendar meeting; send email; shopping list;
social media; television news; radio; contract clause; liability; intellectual property; insurance policy;
confidentiality; termination; warranty; audit; license; payment terms; fashion; cosmetics; jewellery; furniture;
kitchen tools; baby care; hair; shoes; camping gear; office supplies
""".replace("\n", " ")
    .strip()
    .split("; ")
)
NONSENSE = ("asdf qwer jkl", "random letters", "12345 67890", "lorem ipsum dolor sit amet", "xyz abc", "test test test")
_RIVALS = 10  # highest differences that are averaged; 5 to 20 do alike
_NONSENSE_AT_LEAST = 0.08


class TextEncoder(Protocol):
    """Texts to unit vectors, shape (texts, dimension)."""

    name: str

    def encode(self, texts: Sequence[str]) -> Array: ...


@dataclass(frozen=True)
class CosineClassifier:
    """Zero-shot by the cosines between a text's vector and those of the labels' names and descriptions; no training.

    Scores are cosine similarities, not probabilities, best first. At least one label is chosen unless the taxonomy
    allows none. ``eval/RESULTS.md`` has its quality. Up to ``max_bytes`` of label vectors are cached.
    """

    encoder: TextEncoder
    max_bytes: int = LABEL_CACHE_BYTES
    _labels: LRUCache[str, Array] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_labels", LRUCache(self.max_bytes, lambda vectors: vectors.nbytes))

    @property
    def name(self) -> str:
        return f"embedded/{self.encoder.name}"

    @property
    def decode_rule(self) -> str:
        """How scores become labels, in words."""
        return f"{_MIN_Z_SCORE:g} standard deviation above the text's mean, at most max_labels, the best one at least"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; labels come best first, with a score for every label of the taxonomy."""
        if isinstance(taxonomy, Hierarchy):
            return by_leaves(self.classify, texts, taxonomy)
        originals = checked_texts(texts)
        readable = cut([text.joined for text in originals if not text.empty])
        source = AnswerSource(self.name, taxonomy.versioned_name)
        rows = (self.encoder.encode(readable) @ self.label_vectors(taxonomy).T).tolist() if readable else ()
        decoded = (
            _decode(row, taxonomy, source, language_warnings(text)) for row, text in zip(rows, readable, strict=True)
        )
        return [Prediction((), source, problem=no_text(text)) if text.empty else next(decoded) for text in originals]

    def label_vectors(self, taxonomy: Taxonomy) -> Array:
        """Vectors of the predictable labels, shape (labels, dimension)."""
        vectors = self._labels.get(taxonomy.digest)
        if vectors is None:
            vectors = self.encoder.encode([described(label) for label in taxonomy.predictable])
            self._labels.put(taxonomy.digest, vectors)
        return vectors


class Scope:
    """Out-of-scope detection: whether a text is about any label of a taxonomy that is new to the matcher's training.

    The cosine of a text to its best label is compared with a bound that is the text's own. Three things raise it:

    - the cohort: names of general topics that compete with the labels. A topic counts by how much nearer it is to the
      text than to the labels, so topics that resemble a label do not compete with it. The mean of the ten highest
      differences counts. This is the test normalisation of speaker verification (Auckenthaler et al. 2000,
      doi:10.1006/dspr.1999.0360) with a cohort that adapts to the taxonomy;
    - the text's cosine to nonsense, because random keys resemble every short label a little;
    - the number of labels, because the best of many unrelated labels is nearer than the best of few.

    Vectors are those of the general branch. Cosines of texts are of the vectors less the centre of texts; cosines of
    topics and labels are not centred. The constants are ``scope …`` of ``MatcherWeights.numbers``
    (``training/matcher/general_calibration.py``): 9 % of the texts of families that were left out of the training fall
    below the bound. ``python -m benchmarks.constants unseen-labels`` prints the results for
    whole taxonomies.

    The cohort is encoded on the first call. Up to ``max_bytes`` of cosines between topics and labels are cached.

    Args:
        encode: phrases to unit vectors of labels, shape (phrases, 384).
        centre: of texts, shape (384,).
        numbers: constants by their names.
        max_bytes: size of the cache.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], Array],
        centre: Array,
        numbers: Mapping[str, float],
        max_bytes: int = LABEL_CACHE_BYTES // 8,
    ) -> None:
        self._encode, self._centre, self._numbers = encode, centre, numbers
        self._to_labels: LRUCache[str, Array] = LRUCache(max_bytes, lambda row: row.nbytes)

    def contains(self, texts: Array, labels: Array, digest: str) -> NDArray[np.bool_]:
        """Return whether each text is about one of the labels, shape (texts,).

        Texts and the labels, two or more, are unit vectors of 384 numbers; ``digest`` is that of the taxonomy.
        """
        numbers = [self._numbers[f"scope {name}"] for name in ("nonsense", "rivals", "labels", "offset")]
        found = scope_features(texts - self._centre, labels, self._general, self._nearest(labels, digest))
        bound = found[:, 1:] @ np.array(numbers[:3], np.float32) + numbers[3]
        return np.asarray(found[:, 0] >= bound)

    def _nearest(self, labels: Array, digest: str) -> Array:
        """Cosine of each topic of the cohort to the label nearest to it, shape (topics,)."""
        found = self._to_labels.get(digest)
        if found is None:
            found = _to_nearest(labels, self._general)
            self._to_labels.put(digest, found)
        return found

    @cached_property
    def _general(self) -> Array:
        return self._encode([*COHORT, *NONSENSE])


def scope_features(texts: Array, labels: Array, cohort: Array, nearest: Array | None = None) -> Array:
    """What tells whether texts are about labels, shape (texts, 4).

    The columns: cosine to the best label, cosine to nonsense, mean of the highest differences of topics, and logarithm
    of the number of labels.

    Args:
        texts: vectors less their centre, shape (texts, 384).
        labels: unit vectors, shape (labels, 384).
        cohort: unit vectors of ``COHORT`` and ``NONSENSE``, shape (phrases, 384).
        nearest: cosine of each topic to the label nearest to it, if known, shape (topics,).
    """
    found = texts @ cohort.T
    nonsense = found[:, len(COHORT) :].max(axis=1).clip(_NONSENSE_AT_LEAST)
    nearest = _to_nearest(labels, cohort) if nearest is None else nearest
    rivals = np.partition(found[:, : len(COHORT)] - nearest, -_RIVALS)[:, -_RIVALS:].mean(axis=1)
    size = np.full(len(texts), np.log(len(labels)), np.float32)
    return np.asarray(np.stack([(texts @ labels.T).max(axis=1), nonsense, rivals, size], axis=1), np.float32)


def _to_nearest(labels: Array, cohort: Array) -> Array:
    return np.asarray((cohort[: len(COHORT)] @ labels.T).max(axis=1), np.float32)


def described(label: Label) -> str:
    """Name and description of a label as one string."""
    return f"{label.phrase}: {label.description}" if label.description else label.phrase


def _decode(
    similarities: Sequence[float], taxonomy: Taxonomy, source: AnswerSource, warnings: tuple[str, ...]
) -> Prediction:
    pairs = zip(taxonomy.names, (round(value, 4) for value in similarities), strict=True)
    scores = dict(sorted(pairs, key=lambda pair: -pair[1]))
    ranked = list(scores)
    mean = sum(scores.values()) / len(scores)
    deviation = (sum((value - mean) ** 2 for value in scores.values()) / len(scores)) ** 0.5
    chosen = [name for name in ranked if scores[name] - mean >= _MIN_Z_SCORE * deviation][: taxonomy.max_labels]
    chosen = chosen or ranked[:1]  # few labels with similar scores may all be below the minimum
    if taxonomy.allow_none:
        chosen = [name for name in chosen if scores[name] >= _MIN_COSINE]
    return Prediction(tuple(chosen), source, scores, score_type="similarity", warnings=warnings)
