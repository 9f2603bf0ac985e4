"""What scores are worth: precision against recall, and how often what is given a score comes true."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from eval.metrics import scores as calibration
from eval.report import charts
from eval.report.by_label import legend
from eval.report.document import Cell, Figure, Fold, Grid, Head, Note, Part, ReportTable, Section, TableRow
from eval.report.folder import Evaluation, Numbers, SystemResults
from eval.report.metric_columns import MISSING, share

POINTS = 60
MOST_LABELS = 40
TENTHS = tuple((place / 5, "0" if place == 0 else "1" if place == 5 else f".{2 * place}") for place in range(6))


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Precision at each recall, and the area under it (average precision, as scikit-learn defines it)."""

    recall: Numbers
    precision: Numbers
    area: float


def precision_recall(system: SystemResults, label: int | None = None) -> PrecisionRecallCurve | None:
    """The curve over all decisions, or those about one label; None where nothing is true or nothing has a score.

    What has no score cannot be reached by lowering the threshold: the curve then ends short of full recall.
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
    # scikit-learn counts recall downwards and ends with a point that no threshold gives.
    area = reached * float(average_precision_score(true[usable], scores[usable]))
    return PrecisionRecallCurve(reached * recall[-2::-1], precision[-2::-1], area)


def reliability(system: SystemResults) -> calibration.ReliabilityCurve:
    """The reliability curve over all decisions that have a score from 0 to 1, in the bins of the ECE."""
    usable = np.isfinite(system.run.scores)
    return calibration.reliability_curve(system.run.true[usable], system.run.scores[usable])


def precision_section(evaluation: Evaluation) -> Section | None:
    """Precision–recall curves, over all decisions and by label; None where no system gives scores."""
    systems = evaluation.compared
    found = [precision_recall(system) for system in systems]
    if not any(found):
        return None
    areas = [share(curve.area) if curve else MISSING for curve in found]
    frame = charts.Frame(
        460, 350, "Precision against recall over all decisions", "recall", "precision", TENTHS, TENTHS, bottom=36
    )
    drawn = [_line(evaluation, s, curve) for s, curve in zip(systems, found, strict=True) if curve]
    whole = Grid((Figure(charts.lines(frame, drawn)), legend(evaluation, areas, "Average precision (micro)")), "chart")
    parts: list[Part] = [whole, *_without_scores(systems), *_by_label(evaluation)]
    lead = (
        "Every threshold at once: the further to the upper right, the better the ranking, whatever the "
        "decode rule made of it."
    )
    return Section("curves", "Precision and recall", lead, tuple(parts))


def reliability_section(evaluation: Evaluation) -> Section | None:
    """A reliability curve a system; None where no system gives scores from 0 to 1."""
    systems = [system for system in evaluation.compared if system.probable]
    if not systems:
        return None
    figures = [Figure(_reliable(evaluation, system), _ece(system), small=True) for system in systems]
    parts: list[Part] = [Grid(tuple(figures), "many"), _bins_table(evaluation, systems)]
    odd = [system.name for system in evaluation.compared if system.scored and not system.probable]
    if odd:
        parts.append(Note(f"Not drawn, for its scores do not lie between 0 and 1: {', '.join(odd)}."))
    lead = (
        "On the diagonal a score of .7 comes true seven times in ten. Below it a system is too sure of "
        "itself, above it too modest; every dot holds about as many decisions (bins of equal mass, as for the ECE)."
    )
    return Section("reliability", "Calibration", lead, tuple(parts))


def _line(evaluation: Evaluation, system: SystemResults, curve: PrecisionRecallCurve) -> charts.Line:
    """At most ``POINTS`` points, evenly spread over recall; both ends stay."""
    wanted = np.searchsorted(curve.recall, np.linspace(curve.recall[0], curve.recall[-1], POINTS))
    kept = np.unique(np.minimum(wanted, len(curve.recall) - 1))
    points = [(float(curve.recall[k]), float(curve.precision[k])) for k in kept]
    return charts.Line(system.name, evaluation.place(system), points)


def _without_scores(systems: Sequence[SystemResults]) -> list[Part]:
    silent = [system.name for system in systems if not system.scored]
    return [Note(f"Without scores, so without a curve: {', '.join(silent)}.")] if silent else []


def _by_label(evaluation: Evaluation) -> list[Part]:
    systems, support = evaluation.compared, evaluation.widest.run.true.sum(0)
    order = [place for place in np.argsort(-support, kind="stable") if support[place]][:MOST_LABELS]
    if len(order) < 2:
        return []
    figures, rows = [], []
    for label in order:
        name = evaluation.vocabulary[label]
        curves = [precision_recall(system, label) for system in systems]
        frame = charts.Frame(190, 150, f"Precision against recall for {name}", left=22, bottom=18, right=8)
        drawn = [_line(evaluation, system, c) for system, c in zip(systems, curves, strict=True) if c]
        figures.append(Figure(charts.lines(frame, drawn), f"{name} · {int(support[label]):,}", small=True))
        areas = [Cell(share(c.area), sort=c.area, heat=round(10 * c.area)) if c else Cell(MISSING) for c in curves]
        rows.append(TableRow((Cell(name), *areas)))
    heads = (Head("label", numeric=False), *(Head(system.name) for system in systems))
    table = ReportTable("Average precision by label", heads, tuple(rows), "heat")
    return [Fold("Curves of each label", (Grid((legend(evaluation), *figures), "many"),), open=True),
            Fold("Average precision of each label", (table,))]  # fmt: skip


def _reliable(evaluation: Evaluation, system: SystemResults) -> Markup:
    found = reliability(system)
    frame = charts.Frame(240, 214, f"Reliability of {system.name}", "score", "share true", diagonal=True, bottom=34)
    points = list(zip(found.scores.tolist(), found.shares.tolist(), strict=True))
    sizes = [2 + 2 * (count / found.counts.max()) ** 0.5 for count in found.counts.tolist()]
    titles = [
        f"score {share(said)}: {share(came)} true of {count:,}"
        for (said, came), count in zip(points, found.counts.tolist(), strict=True)
    ]
    return charts.lines(frame, [charts.Line(system.name, evaluation.place(system), points, sizes, titles)])


def _ece(system: SystemResults) -> str:
    found = system.figure("ECE")
    return system.name if found is None else f"{system.name} · ECE {share(found)}"


def _bins_table(evaluation: Evaluation, systems: Sequence[SystemResults]) -> Part:
    rows = [
        TableRow(
            (
                Cell(system.name, series=evaluation.place(system)),
                Cell(share(said), sort=said),
                Cell(share(came), sort=came),
                Cell(f"{count:,}", sort=count),
            )
        )
        for system in systems
        for said, came, count in _bins(reliability(system))
    ]
    heads = (Head("system", numeric=False), Head("mean score"), Head("share true"), Head("decisions"))
    title = f"Reliability in {calibration.BINS} bins of equal mass"
    return Fold("The same in numbers", (ReportTable(title, heads, tuple(rows)),))


def _bins(curve: calibration.ReliabilityCurve) -> Iterator[tuple[float, float, int]]:
    return zip(curve.scores.tolist(), curve.shares.tolist(), curve.counts.tolist(), strict=True)
