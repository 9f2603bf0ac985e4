"""The texts that systems got most confidently wrong, and what went wrong before an answer could be given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from eval.report.document import Cell, Fold, Head, Note, Part, ReportExample, ReportTable, Section, TableRow, Tag
from eval.report.folder import Evaluation, SystemResults
from eval.report.metric_columns import share

WORST = 5
EXCERPT = 320


def section(evaluation: Evaluation, texts: Mapping[str, str] | None) -> Section:
    """The worst examples of every system but the trivial ones; with excerpts where texts are given."""
    systems = [system for system in evaluation.compared if not system.trivial] or list(evaluation.compared)
    folds: list[Part] = [
        Fold(system.name, _worst(system, texts), open=place == 0, series=evaluation.place(system))
        for place, system in enumerate(systems)
    ]
    folds += _problems(evaluation)
    if texts is None:
        folds.append(Note("Texts are left out unless asked for: `main.py report FOLDER --data FILE` shows excerpts."))
    lead = (
        "Read these before believing any figure above: at times the truth is wrong, at times the text says nothing. "
        "Of a system without scores they are the texts with most wrong labels."
    )
    return Section("examples", "Most confidently wrong", lead, tuple(folds))


def worst_rows(system: SystemResults, count: int = WORST) -> list[int]:
    """Places of the texts with the surest wrong decisions; without scores, of those with most wrong decisions."""
    wrong = system.run.true ^ system.run.predicted
    if system.probable:
        sure = np.where(system.run.predicted, system.run.scores, 1 - np.nan_to_num(system.run.scores))
        surest = np.where(wrong, np.nan_to_num(sure), 0.0).max(axis=1, initial=0.0)
    else:
        surest = np.zeros(len(wrong))
    answered = [place for place, answer in enumerate(system.run.rows) if not answer.problem and wrong[place].any()]
    order = sorted(answered, key=lambda k: (-round(float(surest[k]), 9), -int(wrong[k].sum()), system.run.rows[k].id))
    return order[:count]


def _worst(system: SystemResults, texts: Mapping[str, str] | None) -> tuple[Part, ...]:
    found = tuple(_example(system, place, texts) for place in worst_rows(system))
    return found or (Note("No error at all."),)


def _example(system: SystemResults, place: int, texts: Mapping[str, str] | None) -> ReportExample:
    answer = system.run.rows[place]

    def score(name: str) -> str:
        return share(answer.scores[name]) if name in answer.scores else ""

    truth = tuple(Tag(name, name not in answer.labels, score(name)) for name in answer.truth)
    given = tuple(Tag(name, name not in answer.truth, score(name)) for name in answer.labels)
    return ReportExample(answer.id, truth, given, None if texts is None else _excerpt(texts.get(answer.id, "")))


def _excerpt(text: str) -> str:
    """The beginning of a text, cut between words."""
    flat = " ".join(text.split())
    return flat if len(flat) <= EXCERPT else flat[:EXCERPT].rsplit(" ", 1)[0] + " …"


def _problems(evaluation: Evaluation) -> list[Part]:
    """How many texts got no answer, and why; the problems' details may quote texts and stay in the rows."""
    counts = [(s, Counter(row.problem.kind for row in s.run.rows if row.problem)) for s in evaluation.compared]
    rows = [
        TableRow((Cell(system.name, series=evaluation.place(system)), Cell(kind), Cell(f"{count:,}", sort=count)))
        for system, found in counts
        for kind, count in sorted(found.items())
    ]
    heads = (Head("system", numeric=False), Head("problem", numeric=False), Head("texts"))
    return [Fold("Texts without an answer", (ReportTable("Problems by kind", heads, tuple(rows)),))] if rows else []
