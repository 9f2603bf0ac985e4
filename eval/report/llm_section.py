"""What is asked of language models alone: one prompt against another, the order of labels, knowledge by heart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from eval.report.document import Cell, Head, Note, Part, ReportTable, Section, TableRow
from eval.report.folder import VARIANTS, Evaluation, Numbers, SystemResults
from eval.report.metric_columns import MISSING, Column, best, percent, share, shown

MOST_PAIRS = 6


def section(evaluation: Evaluation) -> Section | None:
    """The chapter of the language model; None where there is nothing to compare."""
    parts = [*_prompts(evaluation), *_order(evaluation), *_contamination(evaluation)]
    lead = (
        "How much of an answer is the model’s, how much the prompt’s, and how much was known before the text was read."
    )
    return Section("language-model", "The language model", lead, tuple(parts)) if parts else None


def _prompts(evaluation: Evaluation) -> Iterator[Part]:
    """For each model that was asked in several ways: the ways side by side, and pair by pair."""
    models: dict[str, list[SystemResults]] = {}
    for system in evaluation.compared:
        if system.prompted:
            models.setdefault(system.run.rows[0].source.model, []).append(system)
    for model, asked in models.items():
        systems = sorted(asked, key=lambda system: system.name)
        if len(systems) > 1:
            yield _side_by_side(evaluation, model, systems)
            yield _pairs(evaluation, systems)
            yield Note("`main.py compare` tells whether such a difference is more than chance.")


def _side_by_side(evaluation: Evaluation, model: str, systems: Sequence[SystemResults]) -> ReportTable:
    pair = len(systems) == 2
    heads = [Head("", numeric=False), *(Head(f"{_letter(place)}: {s.name}") for place, s in enumerate(systems))]
    rows = [
        TableRow((Cell(name), *(Cell(_said(system, name)) for system in systems), *([Cell("")] if pair else [])))
        for name in ("prompt", "strategy")
    ]
    rows += [_compared(column, systems, pair) for column in shown(systems, evaluation.single)]
    return ReportTable(
        f"{model}: the same texts, asked in different ways",
        (*heads, *([Head("B − A")] if pair else [])),
        tuple(rows),
        sortable=False,
    )


def _compared(column: Column, systems: Sequence[SystemResults], pair: bool) -> TableRow:
    values = [column.read(system) for system in systems]
    top = best(column, values)
    cells = [
        Cell(MISSING) if value is None else Cell(column.show(value), sort=value, best=value == top) for value in values
    ]
    if pair:
        first, second = values
        cells.append(Cell(MISSING if first is None or second is None else _signed(column, second - first)))
    return TableRow((Cell(column.name), *cells))


def _signed(column: Column, value: float) -> str:
    return f"{'−' if value < 0 else '+'}{column.show(abs(value))}" if value else "0"


def _said(system: SystemResults, name: str) -> str:
    """The prompts or strategies that a system's rows name."""
    found = sorted({value for row in system.run.rows if (value := getattr(row.source, name))})
    return ", ".join(found) or MISSING


def _pairs(evaluation: Evaluation, systems: Sequence[SystemResults]) -> ReportTable:
    """Over the texts that both answered: how often they agree, and who is nearer to the truth where they do not."""
    pairs = list(combinations(enumerate(systems), 2))[:MOST_PAIRS]
    rows = [row for (i, a), (j, b) in pairs for row in _pair(f"{_letter(i)} and {_letter(j)}", a, b)]
    heads = (
        Head("", numeric=False), Head("texts"), Head("same labels"),
        Head("first nearer", "Texts on which the first has the higher Jaccard."),
        Head("second nearer", "Texts on which the second has the higher Jaccard."),
    )  # fmt: skip
    return ReportTable("Text by text", heads, tuple(rows), sortable=False)


def _pair(name: str, first: SystemResults, second: SystemResults) -> Iterator[TableRow]:
    theirs = {answer.id: place for place, answer in enumerate(second.run.rows)}
    a = np.array([place for place, answer in enumerate(first.run.rows) if answer.id in theirs], dtype=int)
    b = np.array([theirs[first.run.rows[place].id] for place in a], dtype=int)
    if not len(a):
        return
    same = (first.run.predicted[a] == second.run.predicted[b]).all(axis=1)
    ahead = _jaccard(first, a) - _jaccard(second, b)
    nearer = (int((ahead > 0).sum()), int((ahead < 0).sum()))
    yield TableRow(
        tuple(map(Cell, (name, f"{len(a):,}", percent(float(same.mean())), *(f"{count:,}" for count in nearer))))
    )


def _jaccard(system: SystemResults, places: NDArray[np.int_]) -> Numbers:
    true, given = system.run.true[places], system.run.predicted[places]
    return np.asarray((true & given).sum(axis=1) / np.maximum((true | given).sum(axis=1), 1), dtype=float)


def _order(evaluation: Evaluation) -> Iterator[Part]:
    asked = [system for system in evaluation.systems if system.order]
    if not asked:
        return
    rows = []
    for system in asked:
        found = system.order or {}
        counts = [f"{found[name]:,}" if name in found else MISSING for name in ("orders", "decisions")]
        shares = [percent(found[name]) if name in found else MISSING for name in ("ever", "minority")]
        rows.append(TableRow((Cell(system.name), *map(Cell, (*counts, *shares)))))
    heads = (
        Head("system", numeric=False), Head("orders", "Random orders of the taxonomy."),
        Head("decisions", "Decisions about a text and a label."),
        Head("ever flipped", "Share of decisions that are not the same under every order."),
        Head("against the majority", "Share of answers that go against the majority of their decision."),
    )  # fmt: skip
    yield ReportTable("How much hangs on the order in which the labels are shown", heads, tuple(rows))


def _contamination(evaluation: Evaluation) -> Iterator[Part]:
    """The same films by title and plot, plot, masked plot and title alone, one block of columns a system."""
    bases = sorted({system.base for system in evaluation.systems if system.variant})
    if not bases:
        return
    rows = []
    for base in bases:
        own = {system.variant: system for system in evaluation.systems if system.base == base and system.variant}
        plot = own["plot"].figure("micro-F1") if "plot" in own else None
        for variant in (name for name in VARIANTS if name in own):
            rows.append(TableRow((Cell(base), Cell(SHOWN[variant]), *_variant(own[variant], plot))))
    heads = (
        Head("system", numeric=False), Head("shown", numeric=False), Head("texts"), Head("micro-F1"), Head("macro-F1"),
        Head("Jaccard"), Head("against the plot", "Difference in micro-F1 to the plot alone."),
    )  # fmt: skip
    yield ReportTable("What the model knows by heart", heads, tuple(rows), sortable=False)
    yield Note(
        "A title alone tells little to one who has not seen the film: what it reaches beyond the trivial rules is "
        "memory. Where masked names cost much, the plot was recognised rather than read."
    )


def _variant(system: SystemResults, plot: float | None) -> list[Cell]:
    micro = system.figure("micro-F1")
    apart = MISSING if micro is None or plot is None else _signed(shown([system], False)[0], micro - plot)
    figures = [system.figure(name) for name in ("micro-F1", "macro-F1", "Jaccard")]
    told = [Cell(MISSING if value is None else share(value), sort=value) for value in figures]
    return [Cell(f"{len(system.run.rows):,}"), *told, Cell("" if system.variant == "plot" else apart)]


def _letter(place: int) -> str:
    return chr(ord("A") + place)


SHOWN = {"title+plot": "title and plot", "plot": "plot", "masked": "plot, names masked", "title": "title alone"}
