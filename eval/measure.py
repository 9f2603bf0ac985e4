"""All that a run's rows say about how good it was: figures and their intervals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from eval.metrics.classification import ACCURACY, METRICS, Metric, single
from eval.metrics.ranking import RANKING
from eval.metrics.reliability import CALIBRATION
from eval.metrics.significance import (
    RESAMPLES,
    Interval,
    Sums,
    bootstrap,
    bootstrap_average_precision,
    interval,
    numbered,
)
from eval.results import RunResults

HEADLINES = ("micro-F1", "macro-F1", "samples-F1", "Jaccard", "subset accuracy", "AL-1", "AL-2")
SINGLE_HEADLINES = ("accuracy", "macro-F1")
# What asks about the texts' sets of labels says nothing new where every set has one.
_SINGLE = (
    "micro-F1", "macro-F1", "weighted-F1",
    "micro-precision", "macro-precision", "weighted-precision",
    "micro-recall", "macro-recall", "weighted-recall",
)  # fmt: skip


def figures(run: RunResults) -> dict[str, float]:
    """Every metric that applies, then counts.

    Figures are over the texts whose true labels are all known. The others are counted, and of their known labels the
    share that was answered is given: recall is the one figure that unknown labels leave well defined. Ranking metrics
    need a score for every label of every text, calibration metrics scores from 0 to 1.

    Raises:
        InvalidDataset: no text has all of its true labels known.
    """
    known = run.known()
    return {
        **{name: metric(known.true, known.predicted) for name, metric in applicable(known).items()},
        **_of_scores(known),
        "labels per text": float(known.predicted.sum(axis=1).mean()),
        "texts": len(known),
        "problems": int(known.problems.sum()),
        **_unscored(known),
        **_unknown(run),
    }


def applicable(run: RunResults) -> Mapping[str, Metric]:
    """The label-set metrics that say something about a run: where texts have one label each, accuracy comes first."""
    if not single(run.true, run.predicted):
        return METRICS
    return {**ACCURACY, **{name: METRICS[name] for name in _SINGLE}}


def headlines(*runs: RunResults) -> Mapping[str, Metric]:
    """The metrics that are told with intervals and compared between runs."""
    if all(single(run.true, run.predicted) for run in runs):
        return {name: {**METRICS, **ACCURACY}[name] for name in SINGLE_HEADLINES}
    return {name: METRICS[name] for name in HEADLINES}


def intervals(run: RunResults, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Interval]:
    """Every headline with its 95% interval by grouped bootstrap, and macro-AP where there are scores for it.

    Macro figures of a resample follow their definition: a label that is in no text of it counts as 0. Where labels
    are rare, the interval reaches low for that.

    Raises:
        InvalidDataset: no text has all of its true labels known.
    """
    known = run.known()
    groups = numbered(known.groups)
    sums = Sums.of(headlines(known), known.true, known.predicted, groups)
    drawn = dict(bootstrap(sums, resamples, seed))
    values = sums.totals()
    if known.scored:
        values["macro-AP"] = RANKING["macro-AP"](known.true, known.scores)
        drawn["macro-AP"] = bootstrap_average_precision(known.true, known.scores, groups, resamples, seed)
    return {name: interval(value, drawn[name]) for name, value in values.items()}


def _of_scores(run: RunResults) -> dict[str, float]:
    ranking = RANKING if run.scored and len(run.labels) > 1 else {}
    calibration = CALIBRATION if run.probable else {}
    return {name: metric(run.true, run.scores) for name, metric in (*ranking.items(), *calibration.items())}


def _unscored(run: RunResults) -> dict[str, float]:
    missing = int(np.isnan(run.scores).any(axis=1).sum())
    return {"texts without scores": missing} if 0 < missing < len(run) else {}


def _unknown(run: RunResults) -> dict[str, float]:
    """What can be said of the texts whose true labels are not all known."""
    true, predicted = run.true[~run.complete], run.predicted[~run.complete]
    if not len(true):
        return {}
    return {"left out, labels incomplete": len(true), "their micro-recall": METRICS["micro-recall"](true, predicted)}
