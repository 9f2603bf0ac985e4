"""Fit a classifier to a table without splits, and measure it beside the zero-shot classifier by cross-validation.

Every figure is of texts that neither the models nor the weights and thresholds behind it have seen.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.baselines.few_examples import CrossValidated, FewExamplesSettings, fit_cross_validated, folds_of
from eval.baselines.registry import kind_of
from eval.baselines.thresholds import Decoding, tune
from eval.baselines.trained import Probabilities, Split, Track, Trained, untracked
from eval.baselines.training import TrainingPlan, clear, manifest_head
from eval.datasets import Example
from eval.datasets.split import normal
from eval.metrics import ACCURACY, METRICS, Labels, Metric
from eval.significance import Interval, Sums, bootstrap, group_numbers, interval
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Taxonomy

KIND = "few-examples"
ENOUGH = 8  # examples of a label; the smallest number that was measured (eval/RESULTS.md)
_MACRO = "macro-F1"
_SHOWN = 5  # names or pairs of rows in a warning

Measured = Mapping[str, Interval]


@dataclass(frozen=True, repr=False)
class FittedTable:
    """A classifier that was fitted to a table, and its quality.

    Attributes:
        classifier: what was fitted.
        fitted: its metrics by cross-validation, with 95% intervals.
        zero_shot: those of the embedded classifier on the same texts.
        difference: of the two.
        warnings: what is doubtful about the table.
    """

    classifier: Trained
    fitted: Measured
    zero_shot: Measured
    difference: Measured
    warnings: tuple[str, ...]

    @property
    def taxonomy(self) -> Taxonomy:
        """The labels that it answers."""
        return self.classifier.taxonomy

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The metrics as a table: names of the columns first."""
        sides = {"fitted": self.fitted, "embedded, zero-shot": self.zero_shot, "difference": self.difference}
        cells = [(name, *map(_cell, values.values())) for name, values in sides.items()]
        return [("cross-validated", *self.fitted), *cells]

    def save(self, folder: Path | str) -> None:
        """Write the classifier; an earlier training in the folder is overwritten."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        clear(folder)
        self.classifier.save(folder)

    def __repr__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in self.rows]
        return "\n".join([*lines, *self.warnings])


def fit_table(
    plan: TrainingPlan, taxonomy: Taxonomy, examples: Sequence[Example], track: Track = untracked
) -> FittedTable:
    """Fit to all examples of a table; thresholds are tuned on probabilities of texts that the models have not seen.

    Raises:
        InvalidSetting: a wrong setting, or a taxonomy with labels above others.
        InvalidDataset: fewer than two different texts, none with a label or a word, or one with several labels where
            the taxonomy gives one.
    """
    settings: FewExamplesSettings = plan.parsed_settings(kind_of(plan.kind))
    _check(examples, taxonomy)
    start = time.perf_counter()
    split = Split.of(examples, taxonomy)
    found = fit_cross_validated(split, taxonomy, folds_of(examples, settings, plan.seed), track)
    decoding = _decoding(plan, taxonomy, split, found.probabilities)
    seconds = round(time.perf_counter() - start, 1)
    fitted = _unseen(plan, taxonomy, split, found)
    rows, groups = split.complete, group_numbers([one.group or one.id for one in examples])
    measured = _compared(taxonomy, split.truth[rows], fitted[rows], found.zero_shot[rows], groups[rows])
    manifest = manifest_head(plan, taxonomy, split, Split.of((), taxonomy)) | {
        "settings": asdict(settings),
        "notes": found.head.train_info(),
        "decoding": decoding.as_json(),
        "validation": _all_metrics(split, fitted),
        "cross_validation": {"parts": len(set(found.folds.tolist())), **_as_json(measured)},
        "seconds": seconds,
    }
    classifier = Trained(plan.kind, taxonomy, found.head, decoding, manifest)
    return FittedTable(classifier, *measured, tuple(doubts(examples, taxonomy)))


def _check(examples: Sequence[Example], taxonomy: Taxonomy) -> None:
    if isinstance(taxonomy, Hierarchy):
        raise InvalidSetting(f"taxonomy {taxonomy.name!r} has labels with parents; give one whose labels have none")
    several = [one for one in examples if len(one.labels) > 1]
    if several and not taxonomy.multi:
        raise InvalidDataset(
            f"row {several[0].id} has the labels {', '.join(several[0].labels)}, and taxonomy {taxonomy.name!r} gives "
            "one label per text; keep one of them, or set multi to true in the taxonomy"
        )


def doubts(examples: Sequence[Example], taxonomy: Taxonomy) -> list[str]:
    """Warnings about a table: labels with few examples or none, and equal texts with different labels."""
    counts = Counter(label for example in examples for label in example.labels)
    none = [name for name in taxonomy.names if not counts[name]]
    few = [f"{name} ({counts[name]})" for name in taxonomy.names if 0 < counts[name] < ENOUGH]
    found = []
    if none:
        found.append(f"{_count(none, 'label')} without examples: {_some(none)}; the zero-shot score answers for them")
    if few:
        found.append(f"{_count(few, 'label')} with fewer than {ENOUGH} examples: {_some(few)}; add some if you can")
    if pairs := _contradictions(examples):
        found.append(f"{_count(pairs, 'text')} with different labels in different rows: {_some(pairs)}; correct them")
    return found


def _contradictions(examples: Sequence[Example]) -> list[str]:
    """The ids of the rows of every text that has different labels."""
    rows: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        rows[normal(f"{example.text.title} {example.text.body}")].append(example)
    different = [same for same in rows.values() if len({one.labels for one in same}) > 1]
    return [f"rows {' and '.join(one.id for one in same)}" for same in different]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _count(items: Sequence[str], what: str) -> str:
    return f"{len(items)} {what}{'s' if len(items) != 1 else ''}"


def _decoding(plan: TrainingPlan, taxonomy: Taxonomy, split: Split, probabilities: Probabilities) -> Decoding:
    if not taxonomy.multi:
        return Decoding("best")
    rows, rule = split.complete, plan.decode or "per-label"
    limits = taxonomy.max_labels, bool(taxonomy.allow_none)
    return tune(probabilities[rows], split.truth[rows], rule, plan.objective, *limits)


def _unseen(plan: TrainingPlan, taxonomy: Taxonomy, split: Split, found: CrossValidated) -> Labels:
    """The labels of every text by models, weights and thresholds that have not seen it."""
    labels = np.zeros(split.truth.shape, bool)
    for fold in np.unique(found.folds):
        rows, others = found.folds == fold, np.flatnonzero(found.folds != fold)
        decoding = _decoding(plan, taxonomy, split.take(others), found.probabilities[others])
        labels[rows] = decoding.choose(found.probabilities[rows], taxonomy.max_labels, bool(taxonomy.allow_none))
    return labels


def _compared(
    taxonomy: Taxonomy, truth: Labels, fitted: Labels, zero_shot: Labels, groups: NDArray[np.intp]
) -> tuple[Measured, Measured, Measured]:
    """Metrics of both, and their difference, with intervals over the same resamples."""
    numbers = np.unique(groups, return_inverse=True)[1]
    first: Mapping[str, Metric] = {"micro-F1": METRICS["micro-F1"]} if taxonomy.multi else ACCURACY
    columns = {**dict.fromkeys(first, slice(None)), _MACRO: truth.any(axis=0)}  # F1 of a label without examples is 0
    fits, others, differences = dict[str, Interval](), dict[str, Interval](), dict[str, Interval]()
    for name, metric in {**first, _MACRO: METRICS[_MACRO]}.items():
        pair = [
            Sums.of({name: metric}, truth[:, columns[name]], one[:, columns[name]], numbers)
            for one in (fitted, zero_shot)
        ]
        values, drawn = [sums.totals()[name] for sums in pair], [bootstrap(sums)[name] for sums in pair]
        fits[name], others[name] = (interval(*one) for one in zip(values, drawn, strict=True))
        differences[name] = interval(values[0] - values[1], drawn[0] - drawn[1])
    return fits, others, differences


def _as_json(measured: Sequence[Measured]) -> dict[str, Any]:
    names = ("fitted", "zero-shot", "difference")
    return {
        name: {metric: {key: round(value, 4) for key, value in asdict(one).items()} for metric, one in values.items()}
        for name, values in zip(names, measured, strict=True)
    }


def _cell(one: Interval) -> str:
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


def _all_metrics(split: Split, predicted: Labels) -> dict[str, float]:
    rows = split.complete
    return {name: round(float(metric(split.truth[rows], predicted[rows])), 4) for name, metric in METRICS.items()}
