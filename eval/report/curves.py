"""What scores are worth: precision against recall, and how often what is given a score comes true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from eval.report import svg
from eval.report.by_label import legend
from eval.report.columns import MISSING, share
from eval.report.document import Cell, Figure, Fold, Grid, Head, Note, Part, Row, Section, Table
from eval.report.folder import Evaluation, Numbers, System

POINTS = 60
BINS = 10
MOST_LABELS = 40
TENTHS = tuple((place / 5, "0" if place == 0 else "1" if place == 5 else f".{2 * place}") for place in range(6))


@dataclass(frozen=True)
class Curve:
    """Precision at each recall, and the area under it (average precision, as scikit-learn defines it)."""

    recall: Numbers
    precision: Numbers
    area: float


def precision_recall(system: System, label: int | None = None) -> Curve | None:
    """The curve over all decisions, or those about one label; None where nothing is true or nothing has a score.

    What has no score cannot be reached by lowering the threshold: the curve then ends short of full recall.
    """
    columns = slice(None) if label is None else slice(label, label + 1)
    true, scores = system.truth[:, columns], system.scores[:, columns]
    usable, positives = np.isfinite(scores), int(true.sum())
    if not positives or not usable.any():
        return None
    order = np.argsort(-scores[usable], kind="stable")
    sorted_scores, hits = scores[usable][order], np.cumsum(true[usable][order])
    last = np.r_[np.flatnonzero(np.diff(sorted_scores)), len(order) - 1]  # equal scores pass a threshold together
    recall, precision = hits[last] / positives, hits[last] / (last + 1)
    return Curve(recall, precision, float(np.sum(np.diff(np.r_[0.0, recall]) * precision)))


@dataclass(frozen=True)
class Bin:
    """Decisions of about the same score: their mean score, the share that is true, and how many they are."""

    score: float
    true: float
    count: int


def reliability(system: System) -> list[Bin]:
    """Bins of equal width over all decisions that have a score from 0 to 1."""
    usable = np.isfinite(system.scores)
    scores, true = system.scores[usable], system.truth[usable]
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    chosen = [place == number for number in range(BINS)]
    return [Bin(float(scores[own].mean()), float(true[own].mean()), int(own.sum())) for own in chosen if own.any()]


def precision_section(evaluation: Evaluation) -> Section | None:
    """Precision–recall curves, over all decisions and by label; None where no system gives scores."""
    systems = evaluation.compared
    found = [precision_recall(system) for system in systems]
    if not any(found):
        return None
    areas = [share(curve.area) if curve else MISSING for curve in found]
    frame = svg.Frame(
        460, 350, "Precision against recall over all decisions", "recall", "precision", TENTHS, TENTHS, bottom=36
    )
    drawn = [_line(evaluation, s, curve) for s, curve in zip(systems, found, strict=True) if curve]
    whole = Grid((Figure(svg.lines(frame, drawn)), legend(evaluation, areas, "Average precision (micro)")), "chart")
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
        "itself, above it too modest; a dot’s area is the number of decisions."
    )
    return Section("reliability", "Can its scores be believed", lead, tuple(parts))


def _line(evaluation: Evaluation, system: System, curve: Curve) -> svg.Line:
    """At most ``POINTS`` points, evenly spread over recall; both ends stay."""
    wanted = np.searchsorted(curve.recall, np.linspace(curve.recall[0], curve.recall[-1], POINTS))
    kept = np.unique(np.minimum(wanted, len(curve.recall) - 1))
    points = [(float(curve.recall[k]), float(curve.precision[k])) for k in kept]
    return svg.Line(system.name, evaluation.place(system), points)


def _without_scores(systems: Sequence[System]) -> list[Part]:
    silent = [system.name for system in systems if not system.scored]
    return [Note(f"Without scores, so without a curve: {', '.join(silent)}.")] if silent else []


def _by_label(evaluation: Evaluation) -> list[Part]:
    systems, support = evaluation.compared, evaluation.widest.truth.sum(0)
    order = [place for place in np.argsort(-support, kind="stable") if support[place]][:MOST_LABELS]
    if len(order) < 2:
        return []
    figures, rows = [], []
    for label in order:
        name = evaluation.vocabulary[label]
        curves = [precision_recall(system, label) for system in systems]
        frame = svg.Frame(190, 150, f"Precision against recall for {name}", left=22, bottom=18, right=8)
        drawn = [_line(evaluation, system, c) for system, c in zip(systems, curves, strict=True) if c]
        figures.append(Figure(svg.lines(frame, drawn), f"{name} · {int(support[label]):,}", small=True))
        areas = [Cell(share(c.area), sort=c.area, heat=round(10 * c.area)) if c else Cell(MISSING) for c in curves]
        rows.append(Row((Cell(name), *areas)))
    heads = (Head("label", numeric=False), *(Head(system.name) for system in systems))
    table = Table("Average precision by label", heads, tuple(rows), "heat")
    return [Fold("Curves of each label", (Grid((legend(evaluation), *figures), "many"),), open=True),
            Fold("Average precision of each label", (table,))]  # fmt: skip


def _reliable(evaluation: Evaluation, system: System) -> Markup:
    bins = reliability(system)
    most = max(one.count for one in bins)
    frame = svg.Frame(240, 214, f"Reliability of {system.name}", "score", "share true", diagonal=True, bottom=34)
    sizes = [2 + 6 * (one.count / most) ** 0.5 for one in bins]
    titles = [f"score {share(one.score)}: {share(one.true)} true of {one.count:,}" for one in bins]
    points = [(one.score, one.true) for one in bins]
    return svg.lines(frame, [svg.Line(system.name, evaluation.place(system), points, sizes, titles)])


def _ece(system: System) -> str:
    found = system.figure("ECE", "expected calibration error")
    return system.name if found is None else f"{system.name} · ECE {share(found)}"


def _bins_table(evaluation: Evaluation, systems: Sequence[System]) -> Part:
    rows = [
        Row(
            (
                Cell(system.name, series=evaluation.place(system)),
                Cell(share(one.score), sort=one.score),
                Cell(share(one.true), sort=one.true),
                Cell(f"{one.count:,}", sort=one.count),
            )
        )
        for system in systems
        for one in reliability(system)
    ]
    heads = (Head("system", numeric=False), Head("mean score"), Head("share true"), Head("decisions"))
    return Fold("The same in numbers", (Table("Reliability in ten bins of equal width", heads, tuple(rows)),))
