"""Texts with the most confident errors, and texts without a prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from eval.report.document import (
    Cell,
    Fold,
    Head,
    Note,
    Part,
    ReportExample,
    ReportTable,
    Section,
    TableRow,
    Tag,
    decimal,
)
from eval.report.evaluation import Evaluation, SystemResults

_EXAMPLES = 5
_EXCERPT = 320


def examples_section(evaluation: Evaluation, texts: Mapping[str, str] | None) -> Section:
    """The most confident errors of every system but dummy baselines, with excerpts of ``texts`` (by id)."""
    folds: list[Part] = [
        Fold(system.name, _errors(system, texts), open=place == 0, series=evaluation.series(system))
        for place, system in enumerate(evaluation.nontrivial)
    ]
    folds += _problems(evaluation)
    if texts is None:
        folds.append(Note("This report has no texts; `main.py report FOLDER --data FILE` adds excerpts."))
    lead = (
        "The most confident errors; without scores, the texts with most errors. They show whether the true labels are "
        "wrong or the text does not contain the information."
    )
    return Section("examples", "Examples", lead, tuple(folds))


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


def _errors(system: SystemResults, texts: Mapping[str, str] | None) -> tuple[Part, ...]:
    return tuple(_example(system, place, texts) for place in worst_rows(system)) or (Note("No errors."),)


def _example(system: SystemResults, place: int, texts: Mapping[str, str] | None) -> ReportExample:
    row = system.run.rows[place]

    def tag(name: str, wrong: bool) -> Tag:
        return Tag(name, wrong, decimal(row.scores[name]) if name in row.scores else "")

    truth = tuple(tag(name, name not in row.labels) for name in row.truth)
    predicted = tuple(tag(name, name not in row.truth) for name in row.labels)
    return ReportExample(row.id, truth, predicted, None if texts is None else _excerpt(texts.get(row.id, "")))


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
        rows += [TableRow((name, Cell(kind), Cell(f"{kinds[kind]:,}", sort=kinds[kind]))) for kind in sorted(kinds)]
    heads = (Head("system", numeric=False), Head("problem", numeric=False), Head("texts"))
    table = ReportTable("Problems by kind", heads, tuple(rows))
    return [Fold("Texts without a prediction", (table,))] if rows else []
