"""Comparisons of language models: prompts and strategies, order of the labels, memorisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from eval.input_variants import VARIANTS
from eval.metrics import Numbers
from eval.report.document import (
    MISSING,
    Cell,
    Head,
    Note,
    Part,
    ReportTable,
    Section,
    TableRow,
    decimal,
    heads,
    percent,
)
from eval.report.evaluation import Evaluation, SystemResults
from eval.report.overview import Column, available

_MOST_PAIRS = 6


def llm_section(evaluation: Evaluation) -> Section | None:
    """The section of language models; None where there is nothing to compare."""
    parts = [*_prompts(evaluation), *_order(evaluation), *_memorisation(evaluation)]
    lead = "How results depend on the prompt and strategy, on the order of the labels, and on memorised texts."
    return Section("language-model", "Language model", lead, tuple(parts)) if parts else None


def _prompts(evaluation: Evaluation) -> Iterator[Part]:
    """For each model with several prompts or strategies: a column each, and a table of pairs."""
    models: dict[str, list[SystemResults]] = {}
    for system in evaluation.compared:
        if system.prompted:
            models.setdefault(system.run.rows[0].source.model, []).append(system)
    for model, found in models.items():
        systems = sorted(found, key=lambda system: system.name)
        if len(systems) > 1:
            yield _side_by_side(evaluation, model, systems)
            yield _pairs(systems)
            yield Note("`main.py compare` tests whether such a difference is significant.")


def _side_by_side(evaluation: Evaluation, model: str, systems: Sequence[SystemResults]) -> ReportTable:
    """A row for each property and metric; of two systems also the difference."""
    pair = len(systems) == 2
    rows = [
        TableRow.of(name, *(_sources(system, name) for system in systems), *[""] * pair)
        for name in ("prompt", "strategy")
    ]
    rows += [_metric_row(column, systems, pair) for column in available(systems, evaluation.single)]
    names = [f"{_letter(place)}: {system.name}" for place, system in enumerate(systems)]
    columns = heads("", *names, *["B − A"] * pair)
    return ReportTable(f"{model}: prompts and strategies", columns, tuple(rows), sortable=False)


def _metric_row(column: Column, systems: Sequence[SystemResults], pair: bool) -> TableRow:
    values, best = [system.metric(column.name) for system in systems], column.best(systems)
    cells = [column.cell(system, best) for system in systems]
    return TableRow.of(column.name, *cells, *[_difference(values[-1], values[0], column.show)] * pair)


def _difference(value: float | None, other: float | None, show: Callable[[float], str]) -> str:
    if value is None or other is None:
        return MISSING
    return f"{'−' if value < other else '+'}{show(abs(value - other))}" if value != other else "0"


def _sources(system: SystemResults, name: str) -> str:
    """The prompts or strategies of a system's rows."""
    return ", ".join(sorted({value for row in system.run.rows if (value := getattr(row.source, name))})) or MISSING


def _pairs(systems: Sequence[SystemResults]) -> ReportTable:
    """Over the texts of both: how often they agree, and which has the higher Jaccard."""
    pairs = list(combinations(enumerate(systems), 2))[:_MOST_PAIRS]
    rows = [row for (i, a), (j, b) in pairs for row in _pair(f"{_letter(i)} and {_letter(j)}", a, b)]
    first = Head("first better", "Texts on which the first has the higher Jaccard.")
    second = Head("second better", "Texts on which the second has the higher Jaccard.")
    columns = heads("", "texts", "same labels", first, second)
    return ReportTable("Agreement of pairs", columns, tuple(rows), sortable=False)


def _pair(name: str, first: SystemResults, second: SystemResults) -> Iterator[TableRow]:
    place = {row.id: number for number, row in enumerate(second.run.rows)}
    a = np.array([number for number, row in enumerate(first.run.rows) if row.id in place], dtype=int)
    b = np.array([place[first.run.rows[number].id] for number in a], dtype=int)
    if not len(a):
        return
    same = (first.run.predicted[a] == second.run.predicted[b]).all(axis=1)
    ahead = _jaccard(first, a) - _jaccard(second, b)
    better = [f"{int(count):,}" for count in ((ahead > 0).sum(), (ahead < 0).sum())]
    yield TableRow.of(name, f"{len(a):,}", percent(float(same.mean())), *better)


def _jaccard(system: SystemResults, places: NDArray[np.int_]) -> Numbers:
    true, predicted = system.run.true[places], system.run.predicted[places]
    return np.asarray((true & predicted).sum(axis=1) / np.maximum((true | predicted).sum(axis=1), 1), dtype=float)


def _order(evaluation: Evaluation) -> Iterator[Part]:
    rows = []
    for system in evaluation.systems:
        if order := system.order:
            counts = [f"{order[name]:,}" if name in order else MISSING for name in ("orders", "decisions")]
            shares = [percent(order[name]) if name in order else MISSING for name in ("ever", "minority")]
            rows.append(TableRow.of(system.name, *counts, *shares))
    columns = heads(
        "system",
        Head("orders", "Random orders of the labels."),
        Head("decisions", "Pairs of text and label."),
        Head("ever changed", "Share of decisions that are not equal in all orders."),
        Head("against the majority", "Mean share of orders that differ from the majority of their decision."),
    )
    if rows:
        yield ReportTable("Order sensitivity", columns, tuple(rows))


def _memorisation(evaluation: Evaluation) -> Iterator[Part]:
    """The same texts as title and plot, plot, masked plot and title alone."""
    rows = []
    for base in sorted({system.base for system in evaluation.systems if system.variant}):
        own = {system.variant: system for system in evaluation.systems if system.base == base and system.variant}
        plot = own["plot"].metric("micro-F1") if "plot" in own else None
        for variant in (name for name in VARIANTS if name in own):
            rows.append(TableRow.of(base, INPUTS[variant], *_variant(own[variant], plot)))
    if rows:
        apart = Head("against the plot", "Difference of micro-F1 to the plot alone.")
        columns = heads("system", "input", "texts", "micro-F1", "macro-F1", "Jaccard", apart, words=2)
        yield ReportTable("Memorisation", columns, tuple(rows), sortable=False)
        yield Note(
            "A title alone says little about a film: a score above the dummy baselines comes from memory. A large loss "
            "with masked names means that the film was recognised."
        )


def _variant(system: SystemResults, plot: float | None) -> list[Cell | str]:
    cells = [Cell.of(system.metric(name)) for name in ("micro-F1", "macro-F1", "Jaccard")]
    apart = "" if system.variant == "plot" else _difference(system.metric("micro-F1"), plot, decimal)
    return [f"{len(system.run.rows):,}", *cells, apart]


def _letter(place: int) -> str:
    return chr(ord("A") + place)


INPUTS = {"title+plot": "title and plot", "plot": "plot", "masked": "plot, names masked", "title": "title alone"}
