"""Thresholds from scores to labels, with a line per label in the log-odds, and the file that stores learned ones.

``fit`` learns a threshold from labelled texts, ``batch_calibration`` offsets from the scores of unlabelled ones, and
``llm.calibration.label_calibration`` slopes and offsets from labelled ones.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from prompts.errors import InvalidSetting
from prompts.files import digest_of, file_state, locked, read_json, write_text_atomically
from prompts.taxonomy import OUT_OF_SCOPE, Taxonomy

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

log = logging.getLogger(__name__)

# Default thresholds: of labels that share one probability, and of labels with a probability each.
_SHARE, _PROBABILITY = 0.05, 0.5
# A text whose best label is less probable than this is clearly about none of the labels (``Taxonomy.allow_none``).
_CLEARLY_NONE = 0.1
Value = TypeVar("Value", bound="DataclassInstance")
_EPSILON = 1e-6  # minimum distance of probabilities from 0 and 1 before logarithms
_MOST = 500.0  # largest exponent
NONE = ""
"""Key of "none of these labels" in ``logit_offsets``; no label has an empty name."""


@dataclass(frozen=True)
class LabelThreshold:
    """From scores to labels: the minimum score of a label, after a line in its log-odds.

    Each label's log-odds (or log-probability, where labels are mutually exclusive) is multiplied by its slope, and its
    offset is added. ``NONE`` is the key of "none" among mutually exclusive labels.

    Attributes:
        threshold: minimum score of a label.
        logit_offsets: offset of each label; 0 for missing labels.
        slopes: slope of each label; 1 for missing labels.
        separate: whether mutually exclusive scores become a probability per label, which need not sum to 1.
    """

    threshold: float
    logit_offsets: Mapping[str, float] = field(default_factory=dict)
    slopes: Mapping[str, float] = field(default_factory=dict)
    separate: bool = False

    def adjusted(self, scores: Mapping[str, float], mutually_exclusive: bool) -> dict[str, float]:
        """The scores after slopes and offsets, best first.

        Mutually exclusive ones and "none" still sum to 1, unless they become ``separate``.
        """
        if self.logit_offsets or self.slopes:
            adjust = self._adjusted_shares if mutually_exclusive and not self.separate else self._adjusted_each
            scores = adjust(scores)
        return dict(sorted(scores.items(), key=lambda pair: -pair[1]))

    def choose(
        self, scores: Mapping[str, float], taxonomy: Taxonomy, mutually_exclusive: bool = False
    ) -> tuple[str, ...]:
        """The labels at or above the threshold, best first, at most ``max_labels``.

        The best label is always chosen, unless the taxonomy allows none. Of mutually exclusive labels none is chosen if
        "none" has a higher share than the best one. With ``"out_of_scope"``, of other labels none is chosen if the best
        one has less than .1 and is below the threshold.
        """
        ranked = sorted(scores, key=lambda name: -scores[name])
        competing = mutually_exclusive and not self.separate
        if competing and taxonomy.allow_none and scores[ranked[0]] < none_probability(scores):
            return ()
        chosen = [name for name in ranked if scores[name] >= self.threshold][: taxonomy.max_labels]
        none = taxonomy.allow_none
        if none == OUT_OF_SCOPE:
            none = not competing and scores[ranked[0]] < _CLEARLY_NONE
        return tuple(chosen or ([] if none else ranked[:1]))

    def rule(self, taxonomy: Taxonomy, mutually_exclusive: bool = False) -> str:
        """The rule in words; rules that may choose differently have different words."""
        competing = mutually_exclusive and not self.separate
        least = "" if taxonomy.allow_none else ", the best one at least"
        if taxonomy.allow_none and competing:
            least = ', none where "none" scores highest'
        if taxonomy.allow_none == OUT_OF_SCOPE:
            least += f"{'' if competing else f', none below {_CLEARLY_NONE}'}, else the best one at least"
        digest = digest_of(json.dumps([dict(self.logit_offsets), dict(self.slopes), self.separate], sort_keys=True), 8)
        verb = "calibrated" if self.slopes else "corrected"
        changed = f", {len(self.logit_offsets)} labels {verb} ({digest})" if self.logit_offsets else ""
        return f"score from {self.threshold!r} on, at most {taxonomy.max_labels}{least}{changed}"

    @property
    def parts(self) -> dict[str, Any]:
        """What answers depend on, for fingerprints; parts that are not learned are left out."""
        return {name: value for name, value in asdict(self).items() if value or name in ("threshold", "logit_offsets")}

    def _adjusted_each(self, scores: Mapping[str, float]) -> dict[str, float]:
        logits = {name: self._line(name, log_odds(score)) for name, score in scores.items()}
        return {name: 1 / (1 + math.exp(min(-logit, _MOST))) for name, logit in logits.items()}

    def _adjusted_shares(self, scores: Mapping[str, float]) -> dict[str, float]:
        shares = {**scores, NONE: none_probability(scores)}
        if self.slopes:  # learned from clipped shares
            shares = {name: max(_EPSILON, share) for name, share in shares.items() if name or NONE in self.slopes}
        weights = {
            name: share ** self.slopes.get(name, 1.0) * math.exp(self.logit_offsets.get(name, 0.0))
            for name, share in shares.items()
        }
        total = sum(weights.values())
        return {name: weights[name] / total for name in scores} if total else dict(scores)

    def _line(self, name: str, logit: float) -> float:
        return self.slopes.get(name, 1.0) * logit + self.logit_offsets.get(name, 0.0)


def default(mutually_exclusive: bool) -> LabelThreshold:
    """The threshold where none is learned or set."""
    return LabelThreshold(_SHARE if mutually_exclusive else _PROBABILITY)


def none_probability(scores: Mapping[str, float]) -> float:
    """The probability of "none of these labels" among mutually exclusive labels."""
    return max(0.0, 1 - sum(scores.values()))


def fit(
    scores: Sequence[Mapping[str, float]],
    truth: Sequence[Sequence[str]],
    taxonomy: Taxonomy,
    mutually_exclusive: bool = False,
) -> LabelThreshold:
    """The threshold with the best micro-F1 on a validation split: per text, a score by label and the true labels."""
    steps = sorted({round(score, 3) for row in scores for score in row.values()})
    candidates = steps[:: max(1, len(steps) // 200)] or [_PROBABILITY]

    def quality(threshold: float) -> float:
        chosen = [LabelThreshold(threshold).choose(row, taxonomy, mutually_exclusive) for row in scores]
        return micro_f1(chosen, truth)

    return LabelThreshold(max(candidates, key=quality))


def micro_f1(found: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> float:
    """Micro-averaged F1 of the labels that were found for each text."""
    hits = sum(len(set(labels) & set(names)) for labels, names in zip(found, truth, strict=True))
    return 2 * hits / max(1, sum(map(len, found)) + sum(map(len, truth)))


def batch_calibration(
    scores: Sequence[Mapping[str, float]], mutually_exclusive: bool, threshold: float
) -> LabelThreshold:
    """Offsets against the model's bias towards labels, from its mean scores over a batch of texts.

    Mutually exclusive labels: divides by each label's mean probability (batch calibration, arXiv 2309.17249). Other
    labels: removes only the differences between labels; removing the whole mean would give every label to half of all
    texts. Some hundred unlabelled texts make a stable estimate.
    """
    names = list(scores[0])
    if mutually_exclusive:
        means = {name: sum(row[name] for row in scores) / len(scores) for name in names}
        if (none := sum(map(none_probability, scores)) / len(scores)) > _EPSILON:
            means[NONE] = none
        return LabelThreshold(threshold, {name: -math.log(max(_EPSILON, mean)) for name, mean in means.items()})
    means = {name: sum(log_odds(row[name]) for row in scores) / len(scores) for name in names}
    overall = sum(means.values()) / len(means)
    return LabelThreshold(threshold, {name: overall - mean for name, mean in means.items()})


class LearnedStore(Generic[Value]):
    """What was learned by model, strategy, prompt and taxonomy, in one JSON file, which need not exist.

    The file is read once, so that a run over many texts has one rule; a service calls ``refresh``. Thread-safe.

    Args:
        kind: dataclass of a value.
        path: the file; without one nothing can be stored.
    """

    def __init__(self, kind: type[Value], path: Path | None) -> None:
        self._kind, self._path = kind, path
        self._state = file_state(path) if path else None
        self._learned = self._read()

    def refresh(self) -> bool:
        """Read the file again if it has changed, and return whether it had; it costs a ``stat`` otherwise.

        A damaged file is logged once, and what was read before stays in use. Answers that another thread is computing
        meanwhile have the old values or the new ones.
        """
        state = file_state(self._path) if self._path else None
        if state == self._state:
            return False
        try:
            self._learned = self._read()
            log.info("read again: %s", self._path)
        except InvalidSetting as error:
            log.error("not used, and the values before it stay in use: %s", error)
        self._state = state  # of before the reading: a change during it is found by the next call
        return True

    def get(self, key: str) -> Value | None:
        return self._learned.get(key)

    def put(self, values: Mapping[str, Value]) -> None:
        """Store values; safe for concurrent processes.

        Raises:
            InvalidSetting: the store has no file.
        """
        if self._path is None:
            raise InvalidSetting("there is no file for thresholds; set MARQUEE_THRESHOLDS_PATH")
        with locked(self._path.with_suffix(".lock")):
            self._learned = self._read() | dict(values)
            entries = {name: asdict(entry) for name, entry in self._learned.items()}
            write_text_atomically(self._path, json.dumps(entries, indent=2))
            self._state = file_state(self._path)

    def _read(self) -> dict[str, Value]:
        if self._path is None or not self._path.exists():
            return {}
        try:
            entries = read_json(self._path, InvalidSetting)
            return {key: self._kind(**entry) for key, entry in entries.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidSetting(
                f"{self._path} holds no {self._kind.__name__} ({error}); delete it and calibrate again"
            ) from None


class ThresholdStore:
    """Learned thresholds by model, strategy, prompt and taxonomy (``LanguageModel.threshold_key``).

    A ``threshold`` set by hand takes precedence over learned ones.
    """

    def __init__(self, path: Path | None = None, threshold: float | None = None) -> None:
        self._threshold, self._learned = threshold, LearnedStore(LabelThreshold, path)

    def get(self, key: str, mutually_exclusive: bool) -> LabelThreshold:
        learned = self._learned.get(key) or default(mutually_exclusive)
        return learned if self._threshold is None else replace(learned, threshold=self._threshold)

    def refresh(self) -> bool:
        """See ``LearnedStore.refresh``."""
        return self._learned.refresh()

    def put(self, key: str, threshold: LabelThreshold) -> None:
        """Store a threshold; see ``LearnedStore.put``."""
        self._learned.put({key: threshold})


def log_odds(probability: float, least: float = _EPSILON) -> float:
    """Log-odds of a probability that is first clipped to [least, 1 - least]."""
    clipped = min(max(probability, least), 1 - least)
    return math.log(clipped / (1 - clipped))
