"""Uses the tuning that is beside a taxonomy's file (``taxonomies tune``) in the answers of the embedded classifier."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.classifier import Prediction
from llm.embedded.cosine import TextEncoder
from llm.embedded.label_tuning import LabelTuning, MadeFrom, load, tuned_path
from llm.embedded.matcher import DIGITS, SHARE_OF_BEST, THRESHOLD, Matcher
from prompts.errors import InvalidSetting
from prompts.files import digest_of, file_state
from prompts.taxonomy import Taxonomy
from prompts.taxonomy_places import Place, place_of
from prompts.text import Text
from similarity.encoders.tokens import cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llm.embedded.weights import MatcherWeights

log = logging.getLogger(__name__)

SMALLEST = 0.5 * 10**-DIGITS  # what a score of 0 counts as: it is a rounded one


def made_from(taxonomy: Taxonomy, place: Place, weights: MatcherWeights) -> MadeFrom:
    """What a tuning of this taxonomy, of a file at this place, is made from for a classifier with these weights."""
    numbers = json.dumps(sorted(weights.numbers.items())).encode()
    learned = b"".join(part.tobytes() for part in (weights.offsets, weights.biases, weights.general.centre))
    version = f"{weights.name}@{digest_of(numbers + learned, 12)}"
    return MadeFrom(taxonomy.labels_digest, place.descriptions, version)


class TuningFiles:
    """The tunings beside the files of taxonomies for one classifier; a changed file is read again. Thread-safe."""

    def __init__(self, weights: MatcherWeights) -> None:
        self._weights = weights
        self._read: dict[Path, tuple[object, LabelTuning | None]] = {}
        self._lock = threading.Lock()

    def of(self, taxonomy: Taxonomy) -> LabelTuning | None:
        """The tuning of a taxonomy; None where there is none, or where it is outdated, which is logged once."""
        place = place_of(taxonomy)
        file = file_state(tuned_path(place.path)) if place else None
        if place is None or file is None:
            return None
        state = *file, taxonomy.labels_digest, place.descriptions
        with self._lock:
            known, found = self._read.get(place.path, (None, None))
            if known != state:
                found = _opened(place, made_from(taxonomy, place, self._weights))
                self._read[place.path] = state, found
        return found


def _opened(place: Place, now: MadeFrom) -> LabelTuning | None:
    path = tuned_path(place.path)
    try:
        found = load(path)
    except InvalidSetting as error:
        log.warning("ignored: %s", error)
        return None
    if changed := found.made_from.changes(now):
        log.warning(
            "ignored: %s was made before %s changed; run: main.py taxonomies tune %s", path, changed, place.path
        )
        return None
    return found


class Tunings:
    """Adds the tunings beside the files of taxonomies to the scores of a ``Matcher`` with this plain MiniLM.

    The tuning adds log-odds to those of the ``Matcher``, from the texts' plain MiniLM vectors. A text that the
    ``Matcher`` finds out of scope stays without labels. The model's name in an answer has the digest of the tuning.
    """

    def __init__(self, encoder: TextEncoder, weights: MatcherWeights) -> None:
        self._encoder, self._files = encoder, TuningFiles(weights)

    def suffix(self, taxonomy: Taxonomy) -> str:
        """What the model's name in an answer ends with: the version of the tuning; empty without one."""
        tuning = self._files.of(taxonomy)
        return _suffix(tuning) if tuning else ""

    def predictions(self, texts: Sequence[Text], before: list[Prediction], taxonomy: Taxonomy) -> list[Prediction]:
        """The predictions with the tuning of the taxonomy, if there is one."""
        tuning = self._files.of(taxonomy)
        return before if tuning is None else self.adjusted(texts, before, taxonomy, tuning)

    def of_pairs(self, pairs: Sequence[tuple[Text, Taxonomy]], before: list[Prediction]) -> list[Prediction]:
        """The same for pairs of a text and a taxonomy."""
        after = list(before)
        for taxonomy in dict.fromkeys(taxonomy for _, taxonomy in pairs):
            places = [at for at, (_, one) in enumerate(pairs) if one == taxonomy]
            new = self.predictions([pairs[at][0] for at in places], [before[at] for at in places], taxonomy)
            for at, one in zip(places, new, strict=True):
                after[at] = one
        return after

    def scores(self, texts: Sequence[str], before: NDArray[np.float64], taxonomy: Taxonomy) -> NDArray[np.float64]:
        """The same for scores, shape (texts, labels)."""
        tuning = self._files.of(taxonomy)
        return before if tuning is None or not len(texts) else _adjusted(before, self._added(texts, tuning), taxonomy)

    def adjusted(
        self, texts: Sequence[Text], before: list[Prediction], taxonomy: Taxonomy, tuning: LabelTuning
    ) -> list[Prediction]:
        """The predictions with the log-odds of a tuning added."""
        places = [at for at, one in enumerate(before) if one.problem is None]
        if not places:
            return before
        scores = np.array([[before[at].scores[name] for name in taxonomy.names] for at in places], np.float64)
        rows = _adjusted(scores, self._added([texts[at].joined for at in places], tuning), taxonomy)
        after = list(before)
        for at, row in zip(places, rows.tolist(), strict=True):
            after[at] = _decoded(row, before[at], taxonomy, tuning)
        return after

    def _added(self, texts: Sequence[str], tuning: LabelTuning) -> NDArray[np.float32]:
        return tuning.log_odds(self._encoder.encode(cut(texts)))


def with_tunings(classifier: Matcher) -> Matcher:
    """The same classifier, which also uses tunings beside the files of taxonomies."""
    return replace(classifier, tunings=Tunings(classifier.encoder, classifier.weights))


def _adjusted(scores: NDArray[Any], added: NDArray[Any], taxonomy: Taxonomy) -> NDArray[np.float64]:
    """Scores with log-odds added; shares of one probability keep their sum."""
    logits = _log_odds(scores, taxonomy).astype(np.float64) + added
    if not taxonomy.exclusive:
        return np.asarray(1 / (1 + np.exp(-logits)), np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True) * scores.sum(axis=1, keepdims=True), np.float64)


def _log_odds(scores: NDArray[Any], taxonomy: Taxonomy) -> NDArray[np.float32]:
    bounded = np.clip(scores, SMALLEST, 1 - SMALLEST)
    rest = 1.0 if taxonomy.exclusive else 1 - bounded  # of shares, a constant per text does not matter
    return np.asarray(np.log(bounded / rest), np.float32)


def _decoded(row: Sequence[float], before: Prediction, taxonomy: Taxonomy, tuning: LabelTuning) -> Prediction:
    pairs = zip(taxonomy.names, (round(value, DIGITS) for value in row), strict=True)
    scores = dict(sorted(pairs, key=lambda pair: -pair[1]))
    best = next(iter(scores.values()))
    floor = min(THRESHOLD, SHARE_OF_BEST * best)
    # No labels before means that the text is out of scope.
    chosen = [name for name, value in scores.items() if value >= floor][: taxonomy.max_labels] if before.labels else []
    source = replace(before.source, model=f"{before.source.model}{_suffix(tuning)}")
    return replace(before, labels=tuple(chosen), scores=scores, source=source)


def _suffix(tuning: LabelTuning) -> str:
    return f"+tuned.{tuning.digest}"
