"""Where systems are good and where not: by label, by the labels' frequency, by the texts' length, by kind of error."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from eval.report import charts
from eval.report.document import Cell, Figure, Fold, Grid, Head, Legend, Note, Part, ReportTable, Section, TableRow
from eval.report.folder import Evaluation, Flags, Numbers, SystemResults
from eval.report.metric_columns import percent, share

WIDEST_MATRIX = 28
CONFUSIONS = 5


def f1_by_label(system: SystemResults, rows: Flags | None = None) -> Numbers:
    """F1 of each label, over all texts or those of ``rows``."""
    chosen = slice(None) if rows is None else rows
    true, given = system.run.true[chosen], system.run.predicted[chosen]
    return _f1((true & given).sum(0), (given & ~true).sum(0), (true & ~given).sum(0))


def micro_f1(system: SystemResults, rows: Flags) -> float:
    """F1 over all decisions about the texts of ``rows``."""
    true, given = system.run.true[rows], system.run.predicted[rows]
    return float(_f1((true & given).sum(), (given & ~true).sum(), (true & ~given).sum()))


def labels_section(evaluation: Evaluation) -> Section:
    """F1 of every label under every system, commonest label first."""
    systems = evaluation.compared
    support = evaluation.widest.run.true.sum(0)
    found = np.array([f1_by_label(system) for system in systems])
    order = sorted(range(len(evaluation.vocabulary)), key=lambda place: (-support[place], evaluation.vocabulary[place]))
    rows = []
    for label in order:
        top = found[:, label].max()
        cells = [
            Cell(share(value), sort=float(value), heat=_heat(value), best=len(systems) > 1 and 0 < value == top)
            for value in found[:, label]
        ]
        count = int(support[label])
        rows.append(TableRow((Cell(evaluation.vocabulary[label]), Cell(f"{count:,}", sort=count), *cells)))
    heads = [Head("label", numeric=False), Head("texts", "How many texts have the label."), *_heads(systems)]
    lead = _weakest(evaluation, found[0], order) if len(order) else ""
    return Section(
        "labels", "Label by label", lead, (ReportTable("F1 by label and system", tuple(heads), tuple(rows), "heat"),)
    )


def slices_section(evaluation: Evaluation) -> Section | None:
    """Mean F1 of rare, middling and common labels, and micro-F1 of short and long texts; None where neither can be."""
    said = {
        "A system that lives on the common labels falls towards the rare ones.": _by_frequency(evaluation),
        "One that needs much to read rises with the length of the text.": _by_length(evaluation),
    }
    parts = {words: part for words, part in said.items() if part}
    return Section("slices", "Rare labels, long texts", " ".join(parts), tuple(parts.values())) if parts else None


def errors_section(evaluation: Evaluation) -> Section:
    """Which label is given where which is missed."""
    systems = [system for system in evaluation.compared if not system.trivial] or list(evaluation.compared)
    folds = [
        Fold(system.name, tuple(_errors(system)), open=place == 0, series=evaluation.place(system))
        for place, system in enumerate(systems)
    ]
    lead = (
        "A row is a label that was missed, a column one that was given although it is not true; the number is the "
        "share of the row’s misses that the column’s error goes with."
    )
    return Section("errors", "Confusions", lead, tuple(folds))


def legend(evaluation: Evaluation, figures: Sequence[str] = (), title: str = "") -> Legend:
    """Names of the systems beside their colours, each with a figure where there are figures."""
    said = list(figures) or [""] * len(evaluation.compared)
    entries = [
        (evaluation.place(system), system.name, figure)
        for system, figure in zip(evaluation.compared, said, strict=True)
    ]
    return Legend(tuple(entries), title)


def _weakest(evaluation: Evaluation, found: Numbers, order: Sequence[int]) -> str:
    worst = [
        place for place in sorted(order, key=lambda place: found[place]) if evaluation.widest.run.true[:, place].any()
    ]
    named = ", ".join(f"{evaluation.vocabulary[place]} {share(found[place])}" for place in worst[:3])
    return f"{evaluation.compared[0].name} is weakest on {named}." if named else ""


def _by_frequency(evaluation: Evaluation) -> Part | None:
    support = evaluation.widest.run.true.sum(0)
    order = [place for place in np.argsort(-support, kind="stable") if support[place]]
    if len(order) < 3:
        return None
    bands = np.array_split(np.array(order), 3)
    names = [
        f"{kind}: {len(band)} labels, {_span(support[band].min(), support[band].max())} texts each"
        for kind, band in zip(("common", "middling", "rare"), bands, strict=True)
    ]
    values = np.array([[f1_by_label(system)[band].mean() for band in bands] for system in evaluation.compared])
    return _sliced(
        evaluation, "Mean F1 of labels by how common they are", names, values, ("common", "middling", "rare")
    )


def _by_length(evaluation: Evaluation) -> Part | None:
    lengths = [np.array([np.nan if a.chars is None else a.chars for a in s.run.rows]) for s in evaluation.compared]
    every = np.concatenate(lengths)
    every = every[np.isfinite(every)]
    if len(np.unique(every)) < 4:
        return None
    edges = np.unique(np.quantile(every, [0.25, 0.5, 0.75]).astype(int))
    values = np.array(
        [
            [micro_f1(system, _band(of, edges) == band) for band in range(len(edges) + 1)]
            for system, of in zip(evaluation.compared, lengths, strict=True)
        ]
    )
    first = [f"up to {edges[0]:,} characters"]
    middle = [f"{low + 1:,}–{high:,}" for low, high in pairwise(edges.tolist())]
    names = [*first, *middle, f"more than {edges[-1]:,}"]
    brief = [f"≤{edge:,}" for edge in edges] + [f">{edges[-1]:,}"]
    return _sliced(evaluation, "Micro-F1 by length of the text, in quarters", names, values, brief)


def _band(lengths: Numbers, edges: NDArray[np.int_]) -> NDArray[np.int_]:
    """Number of the band of each length; -1 where the length is unknown."""
    return np.where(np.isfinite(lengths), np.searchsorted(edges, lengths), -1)


def _sliced(evaluation: Evaluation, caption: str, names: Sequence[str], values: Numbers, brief: Sequence[str]) -> Part:
    """The slices drawn and tabled."""
    systems, count = evaluation.compared, len(names)
    places = [0.08 + 0.84 * slot / (count - 1) for slot in range(count)]
    frame = charts.Frame(380, 240, caption, x_ticks=tuple(zip(places, brief, strict=True)), y="F1")
    drawn = [
        charts.Line(system.name, evaluation.place(system), list(zip(places, row, strict=True)), [3.5] * count)
        for system, row in zip(systems, values, strict=True)
    ]
    rows = [
        TableRow(
            (
                Cell(system.name, series=evaluation.place(system)),
                *(Cell(share(value), sort=float(value), heat=_heat(value)) for value in row),
            ),
            "trivial" if system.trivial else "",
        )
        for system, row in zip(systems, values, strict=True)
    ]
    heads = (Head("system", numeric=False), *(Head(name) for name in names))
    return Grid((Figure(charts.lines(frame, drawn)), ReportTable(caption, heads, tuple(rows), "heat")), "pair")


def _errors(system: SystemResults) -> list[Part]:
    missed, wrong = system.run.true & ~system.run.predicted, system.run.predicted & ~system.run.true
    if not missed.any() and not wrong.any():
        return [Note("No error at all.")]
    together = missed.astype(int).T @ wrong.astype(int)
    return [_commonest(system, together, missed.sum(0)), _matrix(system, together, missed.sum(0))]


def _commonest(system: SystemResults, together: NDArray[np.int_], misses: NDArray[np.int_]) -> Part:
    pairs = np.argwhere(together)
    order = sorted(pairs.tolist(), key=lambda pair: (-together[pair[0], pair[1]], pair))[:CONFUSIONS]
    rows = [
        TableRow(
            (
                Cell(system.run.labels[lost]),
                Cell(system.run.labels[got]),
                Cell(f"{together[lost, got]:,}", sort=float(together[lost, got])),
                Cell(percent(together[lost, got] / misses[lost]), sort=float(together[lost, got] / misses[lost])),
            )
        )
        for lost, got in order
    ]
    heads = (
        Head("missed", numeric=False),
        Head("given instead", numeric=False),
        Head("texts"),
        Head("share of misses"),
    )
    return ReportTable(f"Commonest errors of {system.name}", heads, tuple(rows))


def _matrix(system: SystemResults, together: NDArray[np.int_], misses: NDArray[np.int_]) -> Part:
    """Rows missed, columns wrongly given; of a large taxonomy the labels with most errors."""
    weight = misses + together.sum(0)
    kept = sorted(sorted(range(len(weight)), key=lambda place: -weight[place])[:WIDEST_MATRIX])
    kept = [place for place in kept if weight[place]]
    rows = []
    for lost in kept:
        shares = [together[lost, got] / max(misses[lost], 1) for got in kept]
        cells = [
            Cell(f"{100 * part:.0f}" if part else "", sort=float(part), heat=_heat(part / 0.6) if part else None)
            for part in shares
        ]
        rows.append(
            TableRow((Cell(system.run.labels[lost]), Cell(f"{misses[lost]:,}", sort=int(misses[lost])), *cells))
        )
    heads = [Head("missed ↓  given →", numeric=False), Head("misses"), *(Head(system.run.labels[got]) for got in kept)]
    caption = f"Errors of {system.name} that go together, in % of the row’s misses"
    return ReportTable(caption, tuple(heads), tuple(rows), "matrix", twin=False, sortable=False)


def _heads(systems: Sequence[SystemResults]) -> list[Head]:
    return [Head(system.name) for system in systems]


def _heat(value: float) -> int:
    return round(10 * min(max(float(value), 0.0), 1.0))


def _f1(hits: NDArray[np.int_], wrong: NDArray[np.int_], missed: NDArray[np.int_]) -> Numbers:
    """2·TP / (2·TP + FP + FN), 0 where nothing is true and nothing given."""
    below = 2 * hits + wrong + missed
    return np.where(below > 0, 2 * hits / np.maximum(below, 1), 0.0)


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
