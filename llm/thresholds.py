"""How scores become labels: a threshold per strategy and taxonomy, set by hand or learnt, and a correction of bias.

Learnt from labelled texts (``fit``) where there are any, else from the scores of unlabelled ones
(``batch_calibration``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from prompts.errors import InvalidSetting
from prompts.files import digest_of, locked, read_json, write_text_atomically
from prompts.taxonomy import Taxonomy

# Where nothing was learnt: a label that competes is given from a tenth of the probability on, one that stands for
# itself from even odds on.
_COMPETING, _INDEPENDENT = 0.1, 0.5
_LEAST = 1e-6  # probabilities are kept this far from 0 and 1 before logarithms
NONE = ""
"""Under which name shifts hold "none of these labels"; no label has an empty name."""


@dataclass(frozen=True)
class LabelThreshold:
    """From scores to labels.

    Attributes:
        threshold: a label is given from this score on.
        shifts: added to each label's log-odds (or log-probability, where labels compete) before; absent is 0. ``NONE``
            is the share that competing labels leave to "none".
    """

    threshold: float
    shifts: Mapping[str, float] = field(default_factory=dict)

    def adjusted(self, scores: Mapping[str, float], mutually_exclusive: bool) -> dict[str, float]:
        """The scores after the shifts, best first; where labels compete, they and what "none" has still sum to 1."""
        if self.shifts:
            scores = _shift_competing(scores, self.shifts) if mutually_exclusive else _shift_each(scores, self.shifts)
        return dict(sorted(scores.items(), key=lambda pair: -pair[1]))

    def choose(
        self, scores: Mapping[str, float], taxonomy: Taxonomy, mutually_exclusive: bool = False
    ) -> tuple[str, ...]:
        """The labels above the threshold, best first, at most ``max_labels``.

        The best label is always among them, unless the taxonomy allows none. Where labels compete with "none", they are
        returned only if the best has at least the share of "none".
        """
        ranked = sorted(scores, key=lambda name: -scores[name])
        if mutually_exclusive and taxonomy.allow_none and scores[ranked[0]] < none_share(scores):
            return ()
        chosen = [name for name in ranked if scores[name] >= self.threshold][: taxonomy.max_labels]
        return tuple(chosen or ([] if taxonomy.allow_none else ranked[:1]))

    def rule(self, taxonomy: Taxonomy, mutually_exclusive: bool = False) -> str:
        """The same in words; two decisions that may choose differently have different words."""
        least = "" if taxonomy.allow_none else ", the best one at least"
        least = ', none where "none" scores highest' if taxonomy.allow_none and mutually_exclusive else least
        digest = digest_of(json.dumps(dict(self.shifts), sort_keys=True), 8)
        shifted = f", {len(self.shifts)} labels corrected ({digest})" if self.shifts else ""
        return f"score from {self.threshold!r} on, at most {taxonomy.max_labels}{least}{shifted}"


def default(mutually_exclusive: bool) -> LabelThreshold:
    """The decision where nothing was learnt or set."""
    return LabelThreshold(_COMPETING if mutually_exclusive else _INDEPENDENT)


def none_share(scores: Mapping[str, float]) -> float:
    """What competing labels leave to "none of these labels"."""
    return max(0.0, 1 - sum(scores.values()))


def fit(
    scores: Sequence[Mapping[str, float]],
    truth: Sequence[Sequence[str]],
    taxonomy: Taxonomy,
    mutually_exclusive: bool = False,
) -> LabelThreshold:
    """The threshold with the best micro-F1 on labelled texts; give it a validation split, never the test split.

    Args:
        scores: one mapping per text, from label to score.
        truth: the true labels of each text.
        taxonomy: decides as the answer will, with its ``max_labels`` and ``allow_none``.
        mutually_exclusive: whether the scores of a text and the share of "none" sum to 1.
    """
    steps = sorted({round(score, 3) for some in scores for score in some.values()})
    tried = steps[:: max(1, len(steps) // 200)] or [_INDEPENDENT]
    best = max(tried, key=lambda value: _micro_f1(LabelThreshold(value), scores, truth, taxonomy, mutually_exclusive))
    return LabelThreshold(best)


def batch_calibration(
    scores: Sequence[Mapping[str, float]], mutually_exclusive: bool, threshold: float
) -> LabelThreshold:
    """Takes away what the model prefers whatever the text is, estimated from its scores over a batch of texts.

    Where labels compete, each label's mean probability is divided out (batch calibration, arXiv 2309.17249). Where each
    stands for itself, only the differences between labels are: dividing out the whole would say Yes to every label on
    half of all texts.

    Args:
        scores: one mapping per text, unlabelled; some hundred texts make the estimate steady.
        mutually_exclusive: whether the scores of a text and the share of "none" sum to 1.
        threshold: stays as it is.
    """
    names = list(scores[0])
    if mutually_exclusive:
        means = {name: sum(some[name] for some in scores) / len(scores) for name in names}
        if (none := sum(map(none_share, scores)) / len(scores)) > _LEAST:
            means[NONE] = none
        return LabelThreshold(threshold, {name: -math.log(max(_LEAST, mean)) for name, mean in means.items()})
    means = {name: sum(_log_odds(some[name]) for some in scores) / len(scores) for name in names}
    overall = sum(means.values()) / len(means)
    return LabelThreshold(threshold, {name: overall - mean for name, mean in means.items()})


class ThresholdStore:
    """Learnt decisions, kept in one JSON file, by model, strategy, prompt and taxonomy.

    Args:
        path: the file; it need not exist.
        threshold: set by hand; goes before what was learnt.
    """

    def __init__(self, path: Path | None = None, threshold: float | None = None) -> None:
        self._path, self._threshold = path, threshold
        self._learnt = self._read()

    def of(self, key: str, mutually_exclusive: bool) -> LabelThreshold:
        """The decision in force under a key."""
        learnt = self._learnt.get(key) or default(mutually_exclusive)
        return learnt if self._threshold is None else LabelThreshold(self._threshold, learnt.shifts)

    def keep(self, key: str, decision: LabelThreshold) -> None:
        """Store a decision; other processes may store theirs at the same time, and a reader sees a whole file."""
        if self._path is None:
            raise InvalidSetting("there is no file to keep decisions in; set MARQUEE_THRESHOLDS_PATH")
        with locked(self._path.with_suffix(".lock")):
            self._learnt = self._read() | {key: decision}
            entries = {key: asdict(one) for key, one in self._learnt.items()}
            write_text_atomically(self._path, json.dumps(entries, indent=2))

    def _read(self) -> dict[str, LabelThreshold]:
        if self._path is None or not self._path.exists():
            return {}
        try:
            kept = read_json(self._path, InvalidSetting)
            return {key: LabelThreshold(**one) for key, one in kept.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidSetting(f"{self._path} holds no decisions ({error}); delete it and calibrate again") from None


def _shift_each(scores: Mapping[str, float], shifts: Mapping[str, float]) -> dict[str, float]:
    shifted = {name: _log_odds(score) + shifts.get(name, 0.0) for name, score in scores.items()}
    return {name: 1 / (1 + math.exp(-odds)) for name, odds in shifted.items()}


def _shift_competing(scores: Mapping[str, float], shifts: Mapping[str, float]) -> dict[str, float]:
    shared = {**scores, NONE: none_share(scores)}
    weighed = {name: score * math.exp(shifts.get(name, 0.0)) for name, score in shared.items()}
    total = sum(weighed.values())
    return {name: weighed[name] / total for name in scores} if total else dict(scores)


def _log_odds(probability: float) -> float:
    kept = min(max(probability, _LEAST), 1 - _LEAST)
    return math.log(kept / (1 - kept))


def _micro_f1(
    decision: LabelThreshold,
    scores: Sequence[Mapping[str, float]],
    truth: Sequence[Sequence[str]],
    taxonomy: Taxonomy,
    mutually_exclusive: bool,
) -> float:
    found = [decision.choose(some, taxonomy, mutually_exclusive) for some in scores]
    hits = sum(len(set(some) & set(names)) for some, names in zip(found, truth, strict=True))
    return 2 * hits / max(1, sum(map(len, found)) + sum(map(len, truth)))
