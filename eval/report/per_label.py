"""Where systems err: F1 per label, by label frequency and text length, and which labels are confused."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from eval.metrics.classification import METRICS, Labels, Numbers, f1
from eval.report import charts
from eval.report.document import (
    Cell,
    Figure,
    Fold,
    Grid,
    Head,
    Legend,
    Note,
    Part,
    ReportTable,
    Section,
    TableRow,
    decimal,
    percent,
    shade,
)
from eval.report.evaluation import Evaluation, SystemResults

_WIDEST_MATRIX = 28
_CONFUSIONS = 5
_BANDS = ("frequent", "medium", "rare")


def f1_by_label(system: SystemResults) -> Numbers:
    """F1 of each label, shape (labels,)."""
    true, predicted = system.run.true, system.run.predicted
    counts = [(true & predicted).sum(0), (predicted & ~true).sum(0), (true & ~predicted).sum(0)]
    tp, fp, fn = (count.astype(float) for count in counts)
    return f1(tp, fp, fn)


def labels_section(evaluation: Evaluation) -> Section:
    """F1 of every label and system, the most frequent label first."""
    systems, labels, support = evaluation.compared, evaluation.labels, evaluation.support
    values = np.array([f1_by_label(system) for system in systems])
    order = sorted(range(len(labels)), key=lambda label: (-support[label], labels[label]))
    rows = []
    for label in order:
        top, count = values[:, label].max(), int(support[label])
        cells = [Cell.of(value, heat=True, best=len(systems) > 1 and 0 < value == top) for value in values[:, label]]
        rows.append(TableRow((Cell(labels[label]), Cell(f"{count:,}", sort=count), *cells)))
    heads = [Head("label", numeric=False), Head("texts", "Number of texts with the label."), *_heads(systems)]
    weakest = sorted(evaluation.by_support, key=lambda label: values[0, label])[:3]
    named = ", ".join(f"{labels[label]} ({decimal(values[0, label])})" for label in weakest)
    lead = f"The lowest F1 of {systems[0].name}: {named}." if named else ""
    table = ReportTable("F1 by label and system", tuple(heads), tuple(rows), "heat")
    return Section("labels", "Per label", lead, (table,))


def slices_section(evaluation: Evaluation) -> Section | None:
    """Mean F1 by label frequency, and micro-F1 by text length; None where neither can be divided."""
    parts = [part for part in (_by_frequency(evaluation), _by_length(evaluation)) if part]
    lead = "Mean F1 of frequent, medium and rare labels; micro-F1 by quartile of the text length."
    return Section("slices", "Label frequency and text length", lead, tuple(parts)) if parts else None


def errors_section(evaluation: Evaluation) -> Section:
    """Which labels are predicted where a label is missed."""
    folds = [
        Fold(system.name, tuple(_errors(system)), open=place == 0, series=evaluation.series(system))
        for place, system in enumerate(evaluation.nontrivial)
    ]
    lead = (
        "Rows: missed labels (false negatives). Columns: wrongly predicted labels (false positives) of the same text. "
        "Values: percent of the row's misses."
    )
    return Section("errors", "Confusions", lead, tuple(folds))


def legend(evaluation: Evaluation, values: Sequence[str] = (), title: str = "") -> Legend:
    """Names of the systems beside their colours, each with an optional value."""
    pairs = zip(evaluation.compared, values or [""] * len(evaluation.compared), strict=True)
    return Legend(tuple((evaluation.series(system), system.name, value) for system, value in pairs), title)


def _by_frequency(evaluation: Evaluation) -> Part | None:
    support, order = evaluation.support, evaluation.by_support
    if len(order) < len(_BANDS):
        return None
    bands = np.array_split(np.array(order), len(_BANDS))
    names = [
        f"{kind}: {len(band)} labels, {_span(support[band].min(), support[band].max())} texts each"
        for kind, band in zip(_BANDS, bands, strict=True)
    ]
    values = np.array([[f1_by_label(system)[band].mean() for band in bands] for system in evaluation.compared])
    return _sliced(evaluation, "Mean F1 by label frequency", names, values, _BANDS)


def _by_length(evaluation: Evaluation) -> Part | None:
    lengths = [
        np.array([np.nan if row.chars is None else row.chars for row in system.run.rows], dtype=float)
        for system in evaluation.compared
    ]
    known = np.concatenate(lengths)
    known = known[np.isfinite(known)]
    if len(np.unique(known)) < 4:
        return None
    edges = np.unique(np.quantile(known, [0.25, 0.5, 0.75]).astype(int))
    values = np.array(
        [
            [_micro_f1(system, _band(own, edges) == band) for band in range(len(edges) + 1)]
            for system, own in zip(evaluation.compared, lengths, strict=True)
        ]
    )
    middle = [f"{low + 1:,}–{high:,}" for low, high in pairwise(edges.tolist())]
    names = [f"up to {edges[0]:,} characters", *middle, f"more than {edges[-1]:,}"]
    ticks = [f"≤{edge:,}" for edge in edges] + [f">{edges[-1]:,}"]
    return _sliced(evaluation, "Micro-F1 by text length, in quartiles", names, values, ticks)


def _micro_f1(system: SystemResults, rows: Labels) -> float:
    return METRICS["micro-F1"](system.run.true[rows], system.run.predicted[rows])


def _band(lengths: Numbers, edges: NDArray[np.int_]) -> NDArray[np.int_]:
    """Number of the band of each length; -1 where the length is unknown."""
    return np.where(np.isfinite(lengths), np.searchsorted(edges, lengths), -1)


def _sliced(evaluation: Evaluation, caption: str, names: Sequence[str], values: Numbers, ticks: Sequence[str]) -> Part:
    """Values of shape (systems, slices) as a chart and a table."""
    systems, count = evaluation.compared, len(names)
    places = [0.08 + 0.84 * slot / (count - 1) for slot in range(count)]
    frame = charts.Frame(380, 240, caption, x_ticks=tuple(zip(places, ticks, strict=True)), y="F1")
    lines, rows = [], []
    for system, own in zip(systems, values, strict=True):
        series = evaluation.series(system)
        lines.append(charts.Line(system.name, series, list(zip(places, own, strict=True)), [3.5] * count))
        cells = (Cell(system.name, series=series), *(Cell.of(value, heat=True) for value in own))
        rows.append(TableRow(cells, "trivial" if system.trivial else ""))
    heads = (Head("system", numeric=False), *(Head(name) for name in names))
    return Grid((Figure(charts.lines(frame, lines)), ReportTable(caption, heads, tuple(rows), "heat")), "pair")


def _errors(system: SystemResults) -> list[Part]:
    missed, wrong = system.run.true & ~system.run.predicted, system.run.predicted & ~system.run.true
    if not missed.any() and not wrong.any():
        return [Note("No errors.")]
    together = missed.astype(int).T @ wrong.astype(int)
    return [_most_frequent(system, together, missed.sum(0)), _matrix(system, together, missed.sum(0))]


def _most_frequent(system: SystemResults, together: NDArray[np.int_], misses: NDArray[np.int_]) -> Part:
    pairs = np.argwhere(together).tolist()
    rows = []
    for missed, wrong in sorted(pairs, key=lambda pair: (-together[pair[0], pair[1]], pair))[:_CONFUSIONS]:
        count, labels = int(together[missed, wrong]), system.run.labels
        share = count / int(misses[missed])
        numbers = (Cell(f"{count:,}", sort=count), Cell(percent(share), sort=share))
        rows.append(TableRow((Cell(labels[missed]), Cell(labels[wrong]), *numbers)))
    heads = (
        Head("missed", numeric=False),
        Head("predicted instead", numeric=False),
        Head("texts"),
        Head("share of misses"),
    )
    return ReportTable(f"Most frequent confusions of {system.name}", heads, tuple(rows))


def _matrix(system: SystemResults, together: NDArray[np.int_], misses: NDArray[np.int_]) -> Part:
    """Rows missed, columns wrongly predicted; of a large taxonomy the labels with most errors."""
    weight, labels = misses + together.sum(0), system.run.labels
    chosen = sorted(sorted(range(len(weight)), key=lambda label: -weight[label])[:_WIDEST_MATRIX])
    chosen = [label for label in chosen if weight[label]]
    rows = []
    for missed in chosen:
        shares = [together[missed, wrong] / max(misses[missed], 1) for wrong in chosen]
        cells = [
            Cell(f"{100 * one:.0f}", sort=float(one), heat=shade(one / 0.6)) if one else Cell("") for one in shares
        ]
        rows.append(TableRow((Cell(labels[missed]), Cell(f"{misses[missed]:,}", sort=int(misses[missed])), *cells)))
    heads = [Head("missed ↓  predicted →", numeric=False), Head("misses"), *(Head(labels[one]) for one in chosen)]
    caption = f"Confusions of {system.name}, in % of the row’s misses"
    return ReportTable(caption, tuple(heads), tuple(rows), "matrix", twin=False, sortable=False)


def _percent_cell(share: float) -> Cell:
    return Cell(f"{100 * share:.0f}", sort=share, heat=shade(share / 0.6)) if share else Cell("", sort=share)


def _heads(systems: Sequence[SystemResults]) -> list[Head]:
    return [Head(system.name) for system in systems]


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
