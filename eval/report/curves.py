"""Curves of scores: precision against recall, and reliability (calibration)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from eval.metrics import BINS, Numbers, ReliabilityCurve, reliability_curve
from eval.report import charts
from eval.report.document import (
    MISSING,
    Cell,
    Figure,
    Fold,
    Grid,
    Note,
    Part,
    ReportTable,
    Section,
    TableRow,
    decimal,
    heads,
)
from eval.report.errors import legend
from eval.report.evaluation import Evaluation, SystemResults

_POINTS = 60
_MOST_LABELS = 40
_TICKS = tuple((place / 5, f"{place / 5:.1g}") for place in range(6))


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Precision at each recall, and the area below it (average precision, as in scikit-learn)."""

    recall: Numbers
    precision: Numbers
    area: float


def precision_recall(system: SystemResults, label: int | None = None) -> PrecisionRecallCurve | None:
    """The curve over all decisions, or over those of one label; None where nothing is true or nothing has a score.

    No threshold reaches a decision without a score, so the curve may end below full recall.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    columns = slice(None) if label is None else slice(label, label + 1)
    true, scores = system.run.true[:, columns], system.run.scores[:, columns]
    usable, positives = np.isfinite(scores), int(true.sum())
    if not positives or not usable.any():
        return None
    reached = float(true[usable].sum() / positives)
    if not reached:
        return PrecisionRecallCurve(np.zeros(1), np.zeros(1), 0.0)
    precision, recall, _ = precision_recall_curve(true[usable], scores[usable])
    # scikit-learn lists recall in descending order and ends with a point of no threshold.
    area = reached * float(average_precision_score(true[usable], scores[usable]))
    return PrecisionRecallCurve(reached * recall[-2::-1], precision[-2::-1], area)


def reliability(system: SystemResults) -> ReliabilityCurve:
    """The reliability curve over all decisions with a score, in the bins of the ECE."""
    usable = np.isfinite(system.run.scores)
    return reliability_curve(system.run.true[usable], system.run.scores[usable])


def precision_section(evaluation: Evaluation) -> Section | None:
    """Precision–recall curves, over all decisions and by label; None where no system has scores."""
    curves = [precision_recall(system) for system in evaluation.compared]
    if not any(curves):
        return None
    areas = [decimal(curve.area) if curve else MISSING for curve in curves]
    title = "Precision against recall over all decisions"
    frame = charts.Frame(460, 350, title, "recall", "precision", _TICKS, _TICKS, bottom=36)
    figure = Figure(charts.lines(frame, _lines(evaluation, curves)))
    parts: list[Part] = [Grid((figure, legend(evaluation, areas, "Average precision (micro)")), "chart")]
    if unscored := [system.name for system in evaluation.compared if not system.scored]:
        parts.append(Note(f"No scores, so no curve: {', '.join(unscored)}."))
    lead = "All thresholds: the closer to the upper right, the better the ranking, independent of the decode rule."
    return Section("curves", "Precision and recall", lead, (*parts, *_by_label(evaluation)))


def reliability_section(evaluation: Evaluation) -> Section | None:
    """A reliability curve per system; None where no system has scores from 0 to 1."""
    systems = [system for system in evaluation.compared if system.probable]
    if not systems:
        return None
    figures = []
    for system in systems:
        ece = system.metric("ECE")
        caption = system.name if ece is None else f"{system.name} · ECE {decimal(ece)}"
        figures.append(Figure(_reliability_chart(evaluation, system), caption, small=True))
    parts: list[Part] = [Grid(tuple(figures), "many"), _bins_table(evaluation, systems)]
    if other := [system.name for system in evaluation.compared if system.scored and not system.probable]:
        parts.append(Note(f"No curve, because the scores are not from 0 to 1: {', '.join(other)}."))
    lead = (
        "On the diagonal, 70 % of the decisions with score 0.7 are true. Below it a system is overconfident, above it "
        "underconfident. Each dot has about the same number of decisions (bins of equal mass, as for the ECE)."
    )
    return Section("reliability", "Calibration", lead, tuple(parts))


def _lines(evaluation: Evaluation, curves: Sequence[PrecisionRecallCurve | None]) -> list[charts.Line]:
    pairs = zip(evaluation.compared, curves, strict=True)
    return [charts.Line(system.name, evaluation.series(system), _points(curve)) for system, curve in pairs if curve]


def _points(curve: PrecisionRecallCurve) -> list[tuple[float, float]]:
    """At most ``_POINTS`` points, evenly spread over recall, with both ends."""
    wanted = np.searchsorted(curve.recall, np.linspace(curve.recall[0], curve.recall[-1], _POINTS))
    chosen = np.unique(np.minimum(wanted, len(curve.recall) - 1))
    return [(float(curve.recall[place]), float(curve.precision[place])) for place in chosen]


def _by_label(evaluation: Evaluation) -> list[Part]:
    order = evaluation.by_support[:_MOST_LABELS]
    if len(order) < 2:
        return []
    figures, rows = [], []
    for label in order:
        name = evaluation.labels[label]
        curves = [precision_recall(system, label) for system in evaluation.compared]
        frame = charts.Frame(190, 150, f"Precision against recall for {name}", left=26, bottom=18, right=8)
        drawing = charts.lines(frame, _lines(evaluation, curves))
        figures.append(Figure(drawing, f"{name} · {int(evaluation.support[label]):,}", small=True))
        rows.append(TableRow.of(name, *(Cell.of(curve.area if curve else None, heat=True) for curve in curves)))
    columns = heads("label", *(system.name for system in evaluation.compared))
    table = ReportTable("Average precision by label", columns, tuple(rows), "heat")
    return [
        Fold("Curves of each label", (Grid((legend(evaluation), *figures), "many"),), open=True),
        Fold("Average precision of each label", (table,)),
    ]


def _reliability_chart(evaluation: Evaluation, system: SystemResults) -> Markup:
    curve = reliability(system)
    frame = charts.Frame(240, 214, f"Reliability of {system.name}", "score", "share true", diagonal=True, bottom=34)
    bins = list(_bins(curve))
    points = [(score, share) for score, share, _ in bins]
    sizes = [2 + 2 * (count / curve.counts.max()) ** 0.5 for _, _, count in bins]
    titles = [f"score {decimal(score)}: {decimal(share)} true of {count:,}" for score, share, count in bins]
    return charts.lines(frame, [charts.Line(system.name, evaluation.series(system), points, sizes, titles)])


def _bins_table(evaluation: Evaluation, systems: Sequence[SystemResults]) -> Part:
    rows = []
    for system in systems:
        name = Cell(system.name, series=evaluation.series(system))
        for score, share, count in _bins(reliability(system)):
            rows.append(TableRow.of(name, Cell.of(score), Cell.of(share), Cell.count(count)))
    columns = heads("system", "mean score", "share true", "decisions")
    return Fold("Values", (ReportTable(f"Reliability in {BINS} bins of equal mass", columns, tuple(rows)),))


def _bins(curve: ReliabilityCurve) -> Iterator[tuple[float, float, int]]:
    return zip(curve.scores.tolist(), curve.shares.tolist(), curve.counts.tolist(), strict=True)
