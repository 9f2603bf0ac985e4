"""Prediction sets from labelled texts, and how often they contain the right labels of other texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from eval.datasets import Example
from llm.calibration.conformal import needed_texts, rank_of
from llm.calibration.prediction_sets import SetRule, SetStore, fit_sets
from llm.classifier import Classifier, Prediction
from prompts.errors import InvalidDataset
from prompts.taxonomy import Taxonomy

_LEVEL = 0.025  # of the bound below which a share is lower than chance explains


@dataclass(frozen=True)
class CalibratedSets:
    """The rules of a classifier's answers, by their keys, and why some answers have none.

    Attributes:
        rules: by ``SetStore.key``.
        without: number of texts by the key of their answers, where these are too few.
        failed: number of texts without an answer or without scores.
        unlabelled: number of texts without a right label, which are left out.
    """

    rules: Mapping[str, SetRule]
    without: Mapping[str, int]
    failed: int
    unlabelled: int


def calibrate_sets(
    classifier: Classifier, taxonomy: Taxonomy, examples: Sequence[Example], coverage: float
) -> CalibratedSets:
    """Learn the rules of a classifier from labelled texts that it was not trained on.

    Each source of answers (the two models of a cascade, two prompts) has a rule of its own, from its own texts.

    Args:
        classifier: with the wrappers that answer later.
        taxonomy: the labels.
        examples: texts with their right labels.
        coverage: probability that a right label is in the set.

    Raises:
        InvalidDataset: no source of answers has enough texts; the message says how many there are.
    """
    predictions = classifier.classify([one.text for one in examples], taxonomy)
    usable = [(one, two) for one, two in zip(predictions, examples, strict=True) if one.scores and not one.problem]
    if not usable:
        raise InvalidDataset(_no_scores(predictions, classifier.name))
    groups: dict[str, list[tuple[Prediction, Example]]] = {}
    for one, example in usable:
        if example.labels:
            groups.setdefault(SetStore.key(one.source, one.learned), []).append((one, example))
    needed = needed_texts(coverage)
    enough = {key: pairs for key, pairs in groups.items() if len(pairs) >= needed}
    if not enough:
        counts = "; ".join(f"{len(pairs)} answered by {key}" for key, pairs in groups.items()) or "0"
        raise InvalidDataset(
            f"too few texts with a right label: {counts}; a coverage of {coverage:g} needs {needed} or more"
        )
    rules = {key: _rule(pairs, taxonomy, coverage) for key, pairs in enough.items()}
    without = {key: len(pairs) for key, pairs in groups.items() if key not in enough}
    return CalibratedSets(rules, without, len(examples) - len(usable), sum(not two.labels for _, two in usable))


def _rule(pairs: Sequence[tuple[Prediction, Example]], taxonomy: Taxonomy, coverage: float) -> SetRule:
    rule = fit_sets([one.scores for one, _ in pairs], [two.labels for _, two in pairs], taxonomy, coverage)
    return replace(rule, taxonomy=pairs[0][0].source.taxonomy)


def _no_scores(predictions: Sequence[Prediction], name: str) -> str:
    if problem := next((one.problem for one in predictions if one.problem), None):
        return f"no text has an answer with scores: {problem.detail}"
    return (
        f"{name} gives no scores, and sets are made of scores; take a strategy with scores, such as "
        "--strategy label_tokens"
    )


@dataclass(frozen=True)
class CoverageShare:
    """In how many of ``count`` cases the right label was in the set, and the bound on it.

    ``lowest`` is the number of covered cases that the guarantee falls below with a probability of 2.5% or less
    (beta-binomial: the randomness of both the calibration texts and these texts; Vovk 2012, arXiv 1209.2673).
    """

    covered: int
    count: int
    lowest: int

    @property
    def share(self) -> float:
        """The coverage, from 0 to 1."""
        return self.covered / self.count if self.count else 1.0

    @property
    def is_low(self) -> bool:
        """Whether the coverage is lower than chance explains."""
        return self.covered < self.lowest

    @classmethod
    def of(cls, hits: Sequence[bool], texts: int, coverage: float) -> CoverageShare:
        """The share of ``hits`` under thresholds from ``texts`` calibration texts."""
        return cls(sum(hits), len(hits), lowest_covered(len(hits), texts, coverage))


def lowest_covered(count: int, texts: int, coverage: float) -> int:
    """The 2.5% quantile of the covered ones among ``count`` cases, for thresholds from ``texts`` texts."""
    from scipy.stats import betabinom

    rank = rank_of(texts, coverage)
    return count if rank > texts else int(betabinom.ppf(_LEVEL, count, rank, texts + 1 - rank)) if count else 0


@dataclass(frozen=True)
class MeasuredCoverage:
    """What sets are worth on texts with right labels.

    Attributes:
        texts: number of texts with a set and a right label.
        overall: of a single label, over the texts; of several labels, over the pairs of a text and a right label.
        labels: of several labels, of each label with a threshold of its own that occurs.
        size: mean number of labels of a set.
        abstained: share of texts on which the classifier abstains.
        accuracy: share of all texts whose labels are exactly right.
        kept_accuracy: the same over the texts without abstention; None where there are none.
    """

    texts: int
    overall: CoverageShare
    labels: Mapping[str, CoverageShare]
    size: float
    abstained: float
    accuracy: float
    kept_accuracy: float | None


def measure_coverage(predictions: Sequence[Prediction], examples: Sequence[Example], rule: SetRule) -> MeasuredCoverage:
    """Measure the sets of a rule on texts that it was not learned from.

    Raises:
        InvalidDataset: no text has a set and a right label.
    """
    pairs = [
        (one, set(one.set), set(two.labels))
        for one, two in zip(predictions, examples, strict=True)
        if one.set is not None and two.labels
    ]
    if not pairs:
        raise InvalidDataset("no text of the check has a set and a right label; check its labels and its split")
    exact = [set(one.labels) == right for one, _, right in pairs]
    kept = [hit for hit, (one, _, _) in zip(exact, pairs, strict=True) if not one.abstain]
    hits = [name in found for _, found, right in pairs for name in sorted(right)]
    # Over the labels of a text there is no single threshold, and so no bound.
    overall = (
        CoverageShare(sum(hits), len(hits), 0) if rule.multi else CoverageShare.of(hits, rule.texts, rule.coverage)
    )
    return MeasuredCoverage(
        len(pairs),
        overall,
        {name: share for name in rule.least if (share := _of_label(name, pairs, rule)) is not None},
        sum(len(found) for _, found, _ in pairs) / len(pairs),
        sum(bool(one.abstain) for one, _, _ in pairs) / len(pairs),
        sum(exact) / len(exact),
        sum(kept) / len(kept) if kept else None,
    )


def _of_label(name: str, pairs: Sequence[tuple[Prediction, set[str], set[str]]], rule: SetRule) -> CoverageShare | None:
    hits = [name in found for _, found, right in pairs if name in right]
    if name in rule.pooled or not hits:
        return None
    return CoverageShare.of(hits, rule.counts[name], rule.coverage)
