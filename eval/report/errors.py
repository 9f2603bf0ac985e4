"""Where systems err: F1 per label, by label frequency and text length, confusions, and the most confident errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from eval.metrics import METRICS, Labels, Numbers, confusion, f1
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
    ReportExample,
    ReportTable,
    Section,
    TableRow,
    Tag,
    decimal,
    heads,
    percent,
    shade,
)
from eval.report.evaluation import Evaluation, SystemResults

_WIDEST_MATRIX = 28
_CONFUSIONS = 5
_BANDS = ("frequent", "medium", "rare")
_EXAMPLES = 5
_EXCERPT = 320  # characters


def f1_by_label(system: SystemResults) -> Numbers:
    """F1 of each label, shape (labels,)."""
    return f1(*(count.sum(axis=0) for count in confusion(system.run.true, system.run.predicted)))


def labels_section(evaluation: Evaluation) -> Section:
    """F1 of every label and system, the most frequent label first."""
    systems, labels, support = evaluation.compared, evaluation.labels, evaluation.support
    values = np.array([f1_by_label(system) for system in systems])
    rows = []
    for label in sorted(range(len(labels)), key=lambda label: (-support[label], labels[label])):
        top = values[:, label].max()
        cells = [Cell.of(value, heat=True, best=len(systems) > 1 and 0 < value == top) for value in values[:, label]]
        rows.append(TableRow.of(labels[label], Cell.count(support[label]), *cells))
    weakest = sorted(evaluation.by_support, key=lambda label: values[0, label])[:3]
    named = ", ".join(f"{labels[label]} ({decimal(values[0, label])})" for label in weakest)
    lead = f"The lowest F1 of {systems[0].name}: {named}." if named else ""
    columns = heads("label", Head("texts", "Number of texts with the label."), *(system.name for system in systems))
    return Section("labels", "Per label", lead, (ReportTable("F1 by label and system", columns, tuple(rows), "heat"),))


def slices_section(evaluation: Evaluation) -> Section | None:
    """Mean F1 by label frequency, and micro-F1 by text length; None where neither can be divided."""
    parts = [part for part in (_by_frequency(evaluation), _by_length(evaluation)) if part]
    lead = "Mean F1 of frequent, medium and rare labels; micro-F1 by quartile of the text length."
    return Section("slices", "Slices", lead, tuple(parts)) if parts else None


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
    places = [0.08 + 0.84 * slot / (len(names) - 1) for slot in range(len(names))]
    frame = charts.Frame(380, 240, caption, x_ticks=tuple(zip(places, ticks, strict=True)), y="F1")
    lines, rows = [], []
    for system, own in zip(evaluation.compared, values, strict=True):
        series = evaluation.series(system)
        lines.append(charts.Line(system.name, series, list(zip(places, own, strict=True)), [3.5] * len(names)))
        cells = [Cell.of(value, heat=True) for value in own]
        rows.append(TableRow.of(Cell(system.name, series=series), *cells, kind="trivial" if system.trivial else ""))
    table = ReportTable(caption, heads("system", *names), tuple(rows), "heat")
    return Grid((Figure(charts.lines(frame, lines)), table), "pair")


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def errors_section(evaluation: Evaluation) -> Section:
    """Which labels are predicted where a label is missed."""
    folds = [
        Fold(system.name, tuple(_confusions(system)), open=place == 0, series=evaluation.series(system))
        for place, system in enumerate(evaluation.nontrivial)
    ]
    lead = (
        "Rows: missed labels (false negatives). Columns: wrongly predicted labels (false positives) of the same text. "
        "Values: percent of the row's misses."
    )
    return Section("errors", "Confusions", lead, tuple(folds))


def _confusions(system: SystemResults) -> list[Part]:
    missed, wrong = system.run.true & ~system.run.predicted, system.run.predicted & ~system.run.true
    if not missed.any() and not wrong.any():
        return [Note("No errors.")]
    together = missed.astype(int).T @ wrong.astype(int)
    return [_most_frequent(system, together, missed.sum(0)), _matrix(system, together, missed.sum(0))]


def _most_frequent(system: SystemResults, together: NDArray[np.int_], misses: NDArray[np.int_]) -> Part:
    pairs, labels = np.argwhere(together).tolist(), system.run.labels
    rows = []
    for missed, wrong in sorted(pairs, key=lambda pair: (-together[pair[0], pair[1]], pair))[:_CONFUSIONS]:
        count = int(together[missed, wrong])
        share = count / int(misses[missed])
        rows.append(TableRow.of(labels[missed], labels[wrong], Cell.count(count), Cell(percent(share), sort=share)))
    columns = heads("missed", "predicted instead", "texts", "share of misses", words=2)
    return ReportTable(f"Most frequent confusions of {system.name}", columns, tuple(rows))


def _matrix(system: SystemResults, together: NDArray[np.int_], misses: NDArray[np.int_]) -> Part:
    """Rows missed, columns wrongly predicted; of a large taxonomy the labels with most errors."""
    weight, labels = misses + together.sum(0), system.run.labels
    chosen = sorted(sorted(range(len(weight)), key=lambda label: -weight[label])[:_WIDEST_MATRIX])
    chosen = [label for label in chosen if weight[label]]
    rows = []
    for missed in chosen:
        shares = [float(together[missed, wrong] / max(misses[missed], 1)) for wrong in chosen]
        cells = [Cell(f"{100 * one:.0f}", sort=one, heat=shade(one / 0.6)) if one else Cell("") for one in shares]
        rows.append(TableRow.of(labels[missed], Cell.count(misses[missed]), *cells))
    columns = heads("missed ↓  predicted →", "misses", *(labels[one] for one in chosen))
    caption = f"Confusions of {system.name}, in % of the row’s misses"
    return ReportTable(caption, columns, tuple(rows), "matrix", twin=False, sortable=False)


def examples_section(evaluation: Evaluation, texts: Mapping[str, str] | None) -> Section:
    """The most confident errors of every system but dummy baselines, with excerpts of ``texts`` (by id)."""
    folds: list[Part] = [
        Fold(system.name, _examples(system, texts), open=place == 0, series=evaluation.series(system))
        for place, system in enumerate(evaluation.nontrivial)
    ]
    folds += _problems(evaluation)
    if texts is None:
        folds.append(Note("This report has no texts; `main.py report FOLDER --data FILE` adds excerpts."))
    lead = (
        "The most confident errors; without scores, the texts with most errors. They show whether the true labels are "
        "wrong or the text does not contain the information."
    )
    return Section("worst-errors", "Worst errors", lead, tuple(folds))


def worst_rows(system: SystemResults, count: int = _EXAMPLES) -> list[int]:
    """Rows with the most confident wrong decision; without scores, with most wrong decisions."""
    wrong = system.run.true ^ system.run.predicted
    if system.probable:
        confidence = np.where(system.run.predicted, system.run.scores, 1 - np.nan_to_num(system.run.scores))
        highest = np.where(wrong, np.nan_to_num(confidence), 0.0).max(axis=1, initial=0.0)
    else:
        highest = np.zeros(len(wrong))
    rows = system.run.rows
    erring = [place for place, row in enumerate(rows) if not row.problem and wrong[place].any()]
    order = sorted(erring, key=lambda k: (-round(float(highest[k]), 9), -int(wrong[k].sum()), rows[k].id))
    return order[:count]


def _examples(system: SystemResults, texts: Mapping[str, str] | None) -> tuple[Part, ...]:
    return tuple(_example(system, place, texts) for place in worst_rows(system)) or (Note("No errors."),)


def _example(system: SystemResults, place: int, texts: Mapping[str, str] | None) -> ReportExample:
    row = system.run.rows[place]

    def tags(names: Sequence[str], others: Sequence[str]) -> tuple[Tag, ...]:
        scores = {name: decimal(score) for name, score in row.scores.items()}
        return tuple(Tag(name, name not in others, scores.get(name, "")) for name in names)

    excerpt = None if texts is None else _excerpt(texts.get(row.id, ""))
    return ReportExample(row.id, tags(row.truth, row.labels), tags(row.labels, row.truth), excerpt)


def _excerpt(text: str) -> str:
    """The beginning of a text, cut between words."""
    flat = " ".join(text.split())
    return flat if len(flat) <= _EXCERPT else flat[:_EXCERPT].rsplit(" ", 1)[0] + " …"


def _problems(evaluation: Evaluation) -> list[Part]:
    """Number of texts without a prediction, by reason. Details of a problem may quote texts and are not shown."""
    rows = []
    for system in evaluation.compared:
        kinds = Counter(row.problem.kind for row in system.run.rows if row.problem)
        name = Cell(system.name, series=evaluation.series(system))
        rows += [TableRow.of(name, kind, Cell.count(kinds[kind])) for kind in sorted(kinds)]
    table = ReportTable("Problems by kind", heads("system", "problem", "texts", words=2), tuple(rows))
    return [Fold("Texts without a prediction", (table,))] if rows else []
