"""How much of a teacher a student kept, and what a text costs before and after: figures, and a page of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment

from eval.datasets import Example
from eval.metrics.classification import ACCURACY, METRICS, indicator
from eval.results import RunResults
from eval.rows import RunRow
from eval.run_metrics import speed_and_cost
from prompts.taxonomy import Taxonomy

JSON, PAGE = "report.json", "report.md"
_SEVERAL = ("micro-F1", "macro-F1", "Jaccard", "subset accuracy")
_COSTS = ("prompt tokens per 1,000", "cached tokens per 1,000", "written tokens per 1,000", "USD per 1,000")
_SPEED = ("p50 ms", "texts/s")
Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class Answers:
    """What one system said of the texts that were held back, and what asking took.

    Attributes:
        labels: by the id of the text.
        cost: seconds, tokens and money.
    """

    labels: Mapping[str, Sequence[str]]
    cost: Figures

    @classmethod
    def of(cls, folder: Path) -> Answers:
        """The answers of a run."""
        run = RunResults.read(folder)
        return cls({row.id: row.labels for row in run.rows}, costs(run.rows, run.manifest))


def costs(rows: Sequence[RunRow], manifest: Mapping[str, Any]) -> dict[str, float | None]:
    """What a system's answers took; where no language model was asked, tokens and money are 0."""
    told = speed_and_cost(rows, manifest)
    asked = any(not row.cached for row in rows)
    return {name: told.get(name) for name in _SPEED} | {name: told.get(name, 0.0 if asked else None) for name in _COSTS}


def agreement(
    truth: Mapping[str, Sequence[str]], said: Mapping[str, Sequence[str]], taxonomy: Taxonomy
) -> dict[str, float]:
    """How well what was said agrees with what counts as true, over the texts of ``truth``."""
    both = [indicator([labels[one] for one in truth], taxonomy) for labels in (truth, said)]
    metrics = {name: METRICS[name] for name in _SEVERAL} if taxonomy.multi else {**ACCURACY, **_macro()}
    return {name: round(float(metric(*both)), 4) for name, metric in metrics.items()}


def _macro() -> dict[str, Any]:
    return {"macro-F1": METRICS["macro-F1"]}


def compared(
    teacher: Answers, others: Mapping[str, Answers], gold: Sequence[Example], taxonomy: Taxonomy
) -> dict[str, Any]:
    """All figures of a distillation.

    Args:
        teacher: over the texts that were held back, with the cost of all that it was asked about.
        others: the student, and what it is held against, by name; over the same texts.
        gold: of these texts, those whose true labels are known, with them.
        taxonomy: the taxonomy.
    """
    found: dict[str, Any] = {
        "held back": len(teacher.labels),
        "agreement with the teacher": {
            name: agreement(teacher.labels, one.labels, taxonomy) for name, one in others.items()
        },
        "cost": {"teacher": teacher.cost, **{name: one.cost for name, one in others.items()}},
    }
    if gold:
        truth = {one.id: one.labels for one in gold}
        everybody = {"teacher": teacher, **others}
        figures = {name: agreement(truth, one.labels, taxonomy) for name, one in everybody.items()}
        found["against the table's own labels"] = {"texts": len(gold), **figures}
        found["kept"] = _kept(figures)
    return found


def _kept(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The student's figures as shares of the teacher's, where the teacher's are above 0."""
    teacher, student = figures["teacher"], figures["student"]
    return {name: round(student[name] / best, 4) for name, best in teacher.items() if best}


def write(folder: Path, found: Mapping[str, Any]) -> list[Path]:
    """Write the figures as JSON and as a page in Markdown; returns their paths."""
    (folder / JSON).write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    page = _environment().from_string(_TEMPLATE).render(found=found)
    (folder / PAGE).write_text(page, encoding="utf-8")
    return [folder / PAGE, folder / JSON]


def _environment() -> Environment:
    made = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    made.filters["figure"] = _figure
    return made


def _figure(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"


_TEMPLATE = """\
# {{ found.teacher.name }} taught {{ found.student.kind }}

{{ found.texts.answered }} of {{ found.texts.table }} texts of `{{ found.data }}` were labelled from \
{{ found.taxonomy }} by {{ found.teacher.name }}{% if found.teacher.strategy %}, read as \
{{ found.teacher.strategy }}{% endif %}. The student learnt from {{ found.texts.train }}, was tuned on \
{{ found.texts.validation }}, and the figures below are over {{ found["held back"] }} texts that it never saw. \
What it learnt of the teacher's doubt: {{ found.teacher.doubt }}.
{% if found.texts.unanswered %}

Without an answer:
{%- for kind, count in found.texts.unanswered.items() %} {{ count }} {{ kind }}{{ "," if not loop.last }}{% endfor %}.
{% endif %}

{% macro table(rows, first) %}
{% set names = (rows.values() | first).keys() %}
| {{ first }} | {{ names | join(" | ") }} |
|---|{% for name in names %}---:|{% endfor %}

{% for name, figures in rows.items() %}
| {{ name }} | {% for value in figures.values() %}{{ value | figure }}{{ "" if loop.last else " | " }}{% endfor %} |
{% endfor %}
{% endmacro %}
## Agreement with the teacher

{{ table(found["agreement with the teacher"], "answers of") }}
{% if found.kept is defined %}
## Against the table's own labels

Over {{ found["against the table's own labels"].texts }} of the texts that were held back.

{% set gold = found["against the table's own labels"] %}
{% set rows = dict(gold) %}
{% set _ = rows.pop("texts") %}
{{ table(rows, "answers of") }}
Kept of the teacher: {% for name, share in found.kept.items() %}{{ "%.0f%%" | format(100 * share) }} of {{ name }}\
{{ "" if loop.last else ", " }}{% endfor %}.

{% endif %}
## What a text costs

{{ table(found.cost, "who") }}
p50: of texts asked about alone; texts/s: in batches; tokens and US dollars: of 1,000 texts. Remembered answers do not \
count.
"""
