"""Metrics of a run, from its rows and manifest alone (quality, failures, speed and cost), and tables of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, get_args

import numpy as np

from eval.hierarchy import F1, hierarchical_metrics
from eval.metrics import ACCURACY, CALIBRATION, METRICS, RANKING, Metric, Numbers, single
from eval.results import RunResults, run_folders
from eval.rows import RunRow
from eval.significance import RESAMPLES, Interval, Sums, bootstrap, bootstrap_average_precision, group_numbers, interval
from llm.classifier import EvidenceKind, Usage
from llm.spending.costs import cost
from llm.wrappers.fusion import JOIN

METRICS_FILE = "metrics.json"
RunMetrics = Mapping[str, float | None]
_EVIDENCE = frozenset(get_args(EvidenceKind))

TABLE_COLUMNS = ("micro-F1", "macro-F1", "Jaccard", "p50 ms", "texts/s", "USD per 1,000")
_MAIN = (
    "accuracy", "micro-F1", "macro-F1", F1, "Jaccard", "p50 ms", "texts/s", "USD per 1,000", "texts"
)  # fmt: skip
_MAIN_COLUMNS = 6
HEADLINES = ("micro-F1", "macro-F1", "samples-F1", "Jaccard", "subset accuracy", "AL-1", "AL-2")
SINGLE_HEADLINES = ("accuracy", "macro-F1")
# Metrics of label sets add nothing where every text has one label.
_SINGLE = [
    f"{average}-{ratio}" for ratio in ("F1", "precision", "recall") for average in ("micro", "macro", "weighted")
]


@dataclass(frozen=True)
class ResultsTable:
    """A table for terminals (``str``) and notebooks (HTML); the first column identifies the row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, found: Mapping[str, RunMetrics], names: Sequence[str] = TABLE_COLUMNS) -> ResultsTable:
        """One row per system with the metrics of these names."""
        rows = tuple((spec, *(metrics.get(name) for name in names)) for spec, metrics in found.items())
        return cls(("system", *names), rows)

    def frame(self) -> Any:
        """A pandas DataFrame where pandas is installed, else the table itself."""
        try:
            import pandas
        except ImportError:
            return self
        return pandas.DataFrame(list(self.rows), columns=list(self.columns)).set_index(self.columns[0])

    def __str__(self) -> str:
        cells = [self.columns, *(tuple(map(format_value, row)) for row in self.rows)]
        first, *others = [max(map(len, column)) for column in zip(*cells, strict=True)]
        layout = "  ".join([f"{{:{first}}}", *(f"{{:>{max(9, width)}}}" for width in others)])
        return "\n".join(layout.format(*row) for row in cells)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        rows = ("".join(f"<td>{escape(format_value(cell))}</td>" for cell in row) for row in self.rows)
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def main_columns(found: Mapping[str, RunMetrics]) -> tuple[str, ...]:
    """The names of at most six main metrics that some of these runs have."""
    single_label = all("accuracy" in metrics for metrics in found.values())
    needless = ("micro-F1", "Jaccard") if single_label else ("accuracy",)
    known = {name for metrics in found.values() for name, value in metrics.items() if value is not None}
    return tuple([name for name in _MAIN if name in known and name not in needless][:_MAIN_COLUMNS])


def format_value(value: Any) -> str:
    """A value for people: about four digits, a dash for None."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1_000 else f"{value:,.0f}"


def write_metrics(run: RunResults) -> RunMetrics:
    """Compute a run's metrics and write its ``metrics.json``; the same rows and manifest give the same bytes."""
    metrics = {**quality(run), **speed_and_cost(run.rows, run.manifest)}
    (run.folder / METRICS_FILE).write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return metrics


def rescore(folder: Path) -> dict[str, RunMetrics]:
    """``write_metrics`` for a run, or for every run in a folder, by the systems' specs; ``InvalidDataset`` if none."""
    return {run.system: write_metrics(run) for run in map(RunResults.read, run_folders(folder))}


def quality(run: RunResults) -> dict[str, float]:
    """Every metric that applies, and counts.

    Metrics are over the texts whose true labels are all known. Of the other texts, the number and the recall of their
    known labels are given: unknown labels leave only recall well defined. Ranking metrics need a score for every label
    of every text, calibration metrics scores from 0 to 1.

    Raises:
        InvalidDataset: no text has all of its true labels known.
    """
    known = run.known()
    return {
        **{name: metric(known.true, known.predicted) for name, metric in _applicable(known).items()},
        **_score_metrics(known),
        "labels per text": float(known.predicted.sum(axis=1).mean()),
        "texts": len(known),
        "problems": sum(row.problem is not None for row in known.rows),
        **_unscored(known),
        **_incomplete(run),
    }


def headlines(*runs: RunResults) -> Mapping[str, Metric]:
    """The metrics that are reported with intervals and compared between runs."""
    names = SINGLE_HEADLINES if all(single(run.true, run.predicted) for run in runs) else HEADLINES
    hierarchical = hierarchical_metrics(runs[0].labels)
    more = {F1: hierarchical[F1]} if hierarchical else {}
    return {name: {**METRICS, **ACCURACY}[name] for name in names} | more


def intervals(run: RunResults, resamples: int = RESAMPLES, seed: int = 0, ranking: bool = True) -> dict[str, Interval]:
    """Every headline with its 95% interval by grouped bootstrap, and macro-AP where all labels have scores.

    ``ranking`` = False leaves out macro-AP, which takes most of the time.

    In a resample without a text of some label, that label's F1 is 0. Rare labels therefore lower the interval.

    Raises:
        InvalidDataset: no text has all of its true labels known.
    """
    found = resampled_metrics(run, headlines(run.known()), seed, ranking, resamples)
    return {name: interval(value, draws) for name, (value, draws) in found.items()}


def resampled_metrics(
    run: RunResults, metrics: Mapping[str, Metric], seed: int = 0, ranking: bool = True, resamples: int = RESAMPLES
) -> dict[str, tuple[float, Numbers]]:
    """Metrics of label sets, and macro-AP where all labels have scores: value and resampled values.

    ``intervals`` explains the arguments. Resampled values have the shape (resamples,).
    """
    known = run.known()
    groups = group_numbers(known.groups)
    sums = Sums.of(metrics, known.true, known.predicted, groups)
    resampled, values = bootstrap(sums, resamples, seed), sums.totals()
    if ranking and known.scored:
        values["macro-AP"] = RANKING["macro-AP"](known.true, known.scores)
        resampled["macro-AP"] = bootstrap_average_precision(known.true, known.scores, groups, resamples, seed)
    return {name: (value, resampled[name]) for name, value in values.items()}


def speed_and_cost(rows: Sequence[RunRow], manifest: Mapping[str, Any]) -> RunMetrics:
    """Failures, latency, throughput, memory, tokens and money; None where a value is unknown.

    Cached predictions do not count in time and tokens.
    """
    fresh = [row for row in rows if not row.cached]
    models = Counter(row.source.model for row in rows)
    return {
        "invalid": sum(row.problem is not None for row in rows) / len(rows),
        "abstentions": sum(not row.labels and row.problem is None for row in rows) / len(rows),
        "dropped": sum(len(row.dropped) for row in rows),
        "cached": sum(row.cached for row in rows),
        **_speed(fresh),
        "peak MB": manifest.get("peak_mb"),
        **_cost(fresh),
        **_evidence(rows),
        **({f"by {model}": count for model, count in models.items()} if len(models) > 1 else {}),
    }


def _applicable(run: RunResults) -> Mapping[str, Metric]:
    one_label = {**ACCURACY, **{name: METRICS[name] for name in _SINGLE}}
    found = one_label if single(run.true, run.predicted) else METRICS
    return {**found, **hierarchical_metrics(run.labels)}


def _score_metrics(run: RunResults) -> dict[str, float]:
    ranking = RANKING if run.scored and len(run.labels) > 1 else {}
    calibration = CALIBRATION if run.probable else {}
    return {name: metric(run.true, run.scores) for name, metric in (*ranking.items(), *calibration.items())}


def _unscored(run: RunResults) -> dict[str, float]:
    missing = int(np.isnan(run.scores).any(axis=1).sum())
    return {"texts without scores": missing} if 0 < missing < len(run) else {}


def _incomplete(run: RunResults) -> dict[str, float]:
    """Number and recall of the texts whose true labels are not all known."""
    true, predicted = run.true[~run.complete], run.predicted[~run.complete]
    if not len(true):
        return {}
    return {"incomplete texts": len(true), "micro-recall of incomplete texts": METRICS["micro-recall"](true, predicted)}


def _speed(rows: Sequence[RunRow]) -> RunMetrics:
    """Latency of texts classified one at a time, throughput of batches."""
    single_ms = [1000 * row.seconds for row in rows if row.alone]
    batched = [row.seconds for row in rows if not row.alone]
    return {
        "p50 ms": float(np.percentile(single_ms, 50)) if single_ms else None,
        "p95 ms": float(np.percentile(single_ms, 95)) if single_ms else None,
        "texts/s": len(batched) / sum(batched) if sum(batched) else None,
    }


def _evidence(rows: Sequence[RunRow]) -> RunMetrics:
    """Shares of answers and labels with evidence, and of quotes that the text contains; empty without evidence.

    Quotes of a fusion are not counted: a label whose quote was rejected has other evidence there.
    """
    explained = [list(row.explained.values()) for row in rows if row.explained]
    if not explained:
        return {}
    from llm.evidence.quotes import REJECTED

    has = [[reason.partition(",")[0] in _EVIDENCE for reason in reasons] for reasons in explained]
    alone = [row.explained.values() for row in rows if row.explained and JOIN not in row.source.model]
    verified, rejected = (sum(one in kind for reasons in alone for one in reasons) for kind in ({"quote"}, REJECTED))
    return {
        "answers with evidence": sum(map(any, has)) / len(has),
        "labels with evidence": sum(map(sum, has)) / sum(map(len, has)),
        **({"verified quotes": verified / (verified + rejected)} if verified + rejected else {}),
    }


def _cost(rows: Sequence[RunRow]) -> RunMetrics:
    """Tokens and US dollars per 1,000 texts; empty where no language model was called."""
    used = [row.usage for row in rows]
    if not any(usage.prompt_tokens for usage in used):
        return {}
    costs = [cost(row.source.model, usage) for row, usage in zip(rows, used, strict=True) if usage != Usage()]
    thousand = 1000 / len(rows)
    return {
        "prompt tokens per 1,000": thousand * sum(usage.prompt_tokens for usage in used),
        "cached tokens per 1,000": thousand * sum(usage.cached_tokens for usage in used),
        "written tokens per 1,000": thousand * sum(usage.completion_tokens for usage in used),
        "USD per 1,000": None if None in costs else thousand * sum(filter(None, costs)),
    }
