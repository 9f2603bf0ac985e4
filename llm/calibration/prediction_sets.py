"""Prediction sets: the labels that contain the right ones with a stated probability, and the file that stores them.

``fit_sets`` learns a rule from labelled texts, with the thresholds of ``llm.calibration.conformal``. A rule belongs to
one source of answers (model, strategy, prompt, taxonomy with its digest); answers of other sources have no set.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from llm.calibration.conformal import AdaptiveScore, Scores, fit_penalty, label_threshold, needed_texts, quantile
from llm.calibration.thresholds import LearnedStore
from llm.classifier import AnswerSource, Prediction
from prompts.errors import InvalidDataset
from prompts.files import digest_of
from prompts.taxonomy import Taxonomy

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SetRule:
    """From the scores of a text to its set of labels.

    Attributes:
        labels: labels that a set may have.
        coverage: probability that a right label is in the set, at least.
        texts: number of calibration texts that the thresholds come from.
        most: maximum number of labels of a set that is an answer; the classifier abstains on larger sets.
        multi: whether each label has a threshold; otherwise a set is adaptive (``AdaptiveScore``).
        limit: of an adaptive set, the greatest nonconformity score; None for no limit.
        penalty: of ``AdaptiveScore``.
        free: of ``AdaptiveScore``.
        least: per label, the least score in a set; None: the label is in every set.
        counts: per label, the number of calibration texts where it is right.
        pooled: labels with too few texts for a threshold of their own, which share one.
        taxonomy: name and digest of the taxonomy.
        state: digest of the settings that the scores depend on, beside the source.
        data: file of the calibration texts.
        made: ISO 8601 time in UTC.
    """

    labels: Sequence[str]
    coverage: float
    texts: int
    most: int
    multi: bool
    limit: float | None = None
    penalty: float = 0.0
    free: int = 1
    least: Mapping[str, float | None] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    pooled: Sequence[str] = ()
    taxonomy: str = ""
    state: str = ""
    data: str = ""
    made: str = ""

    def labels_of(self, scores: Scores) -> tuple[str, ...]:
        """The set of a text, best label first; labels without a score come last, in taxonomy order."""
        known = {name: scores[name] for name in self.labels if name in scores}
        ranked = [*sorted(known, key=lambda name: -known[name]), *(name for name in self.labels if name not in known)]
        if self.multi:
            return tuple(name for name in ranked if self._reaches(name, known.get(name)))
        limit = math.inf if self.limit is None else self.limit
        found = AdaptiveScore(self.penalty, self.free).of_labels(known)
        return tuple(name for name in ranked if found.get(name, math.inf) <= limit)

    def abstains(self, labels: Sequence[str]) -> bool:
        """Whether a set is no answer: it is empty, or has more than ``most`` labels."""
        return not 0 < len(labels) <= self.most

    def added(self, prediction: Prediction) -> Prediction:
        """The prediction with its set, where it has scores."""
        if prediction.problem or not prediction.scores:
            return prediction
        labels = self.labels_of(prediction.scores)
        return replace(prediction, set=labels, abstain=self.abstains(labels))

    def _reaches(self, name: str, score: float | None) -> bool:
        least = self.least.get(name)
        return least is None or (score is not None and score >= least)


def fit_sets(rows: Sequence[Scores], right: Sequence[Sequence[str]], taxonomy: Taxonomy, coverage: float) -> SetRule:
    """Learn a rule from texts that the classifier was not trained on.

    For a single label, the right label of a text is in its set with a probability of at least ``coverage``, over the
    texts to label and the calibration texts. For several labels this holds for each label by itself, over the texts
    where it is right (label-conditional, Vovk 2012). Labels with fewer than ``needed_texts`` texts share a threshold:
    all right ones of them are in the set with that probability, over the texts that have any. If these texts are too
    few as well, the threshold is that of all labels, and the guarantee is not that of these labels.

    Args:
        rows: per text, the score of each label; labels that were not scored are missing.
        right: per text, its right labels. Texts without a label are left out: the guarantee is about right labels.
        taxonomy: the labels.
        coverage: above 0 and below 1.

    Raises:
        InvalidDataset: there are too few texts with a label.
    """
    pairs = [(row, names) for row, names in zip(rows, right, strict=True) if names]
    if len(pairs) < (least := needed_texts(coverage)):
        raise InvalidDataset(
            f"{len(pairs)} texts with scores and a right label; a coverage of {coverage:g} needs {least} or more"
        )
    kept = [row for row, _ in pairs], [names for _, names in pairs]
    counts = {name: sum(name in names for names in kept[1]) for name in taxonomy.names}
    if taxonomy.multi:
        most = min(taxonomy.max_labels, max(map(len, kept[1])))
        thresholds, pooled = _label_thresholds(*kept, counts, coverage)
        return SetRule(taxonomy.names, coverage, len(pairs), most, True, least=thresholds, counts=counts, pooled=pooled)
    score, places = fit_penalty(*kept, coverage)
    limit = quantile([score.of_text(kept[0][place], kept[1][place]) for place in places], coverage)
    return SetRule(
        taxonomy.names, coverage, len(places), 1, False, _finite(limit), score.penalty, score.free, counts=counts
    )


def _label_thresholds(
    rows: Sequence[Scores], right: Sequence[Sequence[str]], counts: Mapping[str, int], coverage: float
) -> tuple[dict[str, float | None], list[str]]:
    """The least score of each label, and the labels that share one."""
    rare = [name for name, count in counts.items() if count < needed_texts(coverage)]
    least = {
        name: _threshold(rows, right, {name}, coverage) for name in counts if name not in rare
    }  # fmt: skip
    if rare:
        of_rare = sum(any(name in rare for name in names) for names in right)
        pool = set(rare) if of_rare >= needed_texts(coverage) else set(counts)
        least |= dict.fromkeys(rare, _threshold(rows, right, pool, coverage))
    return {name: least[name] for name in counts}, rare


def _threshold(rows: Sequence[Scores], right: Sequence[Sequence[str]], pool: set[str], coverage: float) -> float | None:
    """The least score of labels, from the lowest score of a right one among them in each text."""
    lowest = [
        min(row.get(name, -math.inf) for name in names if name in pool)
        for row, names in zip(rows, right, strict=True)
        if not pool.isdisjoint(names)
    ]
    return _finite(label_threshold(lowest, coverage))


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


class SetStore(LearnedStore[SetRule]):
    """Rules by the source of answers, in a JSON file.

    Args:
        path: the file, which need not exist.
        state: digest of the settings in force that scores depend on; rules of another state are not used.
        state_of: computes it again for ``refresh``; None: it does not change.
    """

    def __init__(self, path: Path | None = None, state: str = "", state_of: Callable[[], str] | None = None) -> None:
        super().__init__(SetRule, path)
        self.state, self._state_of = state, state_of
        self._reported: set[tuple[str, str]] = set()

    def refresh(self) -> bool:
        """See ``LearnedStore.refresh``; the settings that scores depend on are looked at again, too."""
        changed = super().refresh()
        state = self._state_of() if self._state_of and self._learned else self.state
        if changed or state != self.state:
            self.state, self._reported = state, set()
            return True
        return False

    @staticmethod
    def key(source: AnswerSource, learned: str = "") -> str:
        """Key of a rule; ``learned`` is the version of what ``main.py learn`` put in force."""
        parts = source.model, source.taxonomy, source.prompt, source.strategy, learned and f"learned {learned}"
        return " ".join(filter(None, parts))

    @property
    def rules(self) -> Mapping[str, SetRule]:
        """The rules for the settings in force, by their keys."""
        return {key: rule for key, rule in self._learned.items() if rule.state == self.state}

    def of_taxonomy(self, taxonomy: Taxonomy) -> Mapping[str, SetRule]:
        """The rules for the settings in force and a taxonomy, by their keys."""
        return {key: rule for key, rule in self.rules.items() if rule.taxonomy == taxonomy.versioned_name}

    def rule_of(self, key: str) -> SetRule | None:
        """The rule of a key for the settings in force."""
        rule = self._learned.get(key)
        return rule if rule is not None and rule.state == self.state else None

    def digest(self, taxonomy: Taxonomy) -> str:
        """Digest of the rules of a taxonomy; empty where there are none."""
        found = {key: asdict(rule) for key, rule in self.of_taxonomy(taxonomy).items()}
        return digest_of(json.dumps(found, sort_keys=True), 16) if found else ""

    def added(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """The predictions with their sets; those without a rule, or with a set already, as they are."""
        return [one if one.set is not None else self._added(one) for one in predictions]

    def _added(self, prediction: Prediction) -> Prediction:
        if rule := self.rule_of(self.key(prediction.source, prediction.learned)):
            return rule.added(prediction)
        if not prediction.problem:
            self._report(prediction)
        return prediction

    def _report(self, prediction: Prediction) -> None:
        """Log once that the sets of a taxonomy were calibrated for other answers."""
        source, name = prediction.source, prediction.source.taxonomy.partition("@")[0]
        known = {key for key, one in self._learned.items() if one.taxonomy.partition("@")[0] == name}
        if not known or (name, source.model) in self._reported:
            return
        self._reported.add((name, source.model))
        answered = self.key(source, prediction.learned)
        other = "other settings" if answered in known else ", ".join(sorted(known))
        log.warning(
            "no prediction sets for answers of %s: the calibration in %s is for %s; run `main.py calibrate --coverage` "
            "again", answered, self._path, other,
        )  # fmt: skip
