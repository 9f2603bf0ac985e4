"""Report of a distillation: agreement of student and teacher, quality against true labels, and cost per text."""

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
_MULTI_LABEL = ("micro-F1", "macro-F1", "Jaccard", "subset accuracy")
_COSTS = ("prompt tokens per 1,000", "cached tokens per 1,000", "written tokens per 1,000", "USD per 1,000")
_SPEED = ("p50 ms", "texts/s")
Metrics = Mapping[str, float | None]


@dataclass(frozen=True)
class Answers:
    """Labels of one system for the test texts, and their cost.

    Attributes:
        labels: by the id of the text.
        cost: latency, throughput, tokens and money.
    """

    labels: Mapping[str, Sequence[str]]
    cost: Metrics

    @classmethod
    def of(cls, folder: Path) -> Answers:
        """The answers of a finished run."""
        run = RunResults.read(folder)
        return cls({row.id: row.labels for row in run.rows}, costs(run.rows, run.manifest))


def costs(rows: Sequence[RunRow], manifest: Mapping[str, Any]) -> dict[str, float | None]:
    """Cost of the answers of a run; tokens and money are 0 without a language model."""
    found = speed_and_cost(rows, manifest)
    has_calls = any(not row.cached for row in rows)
    return {name: found.get(name) for name in _SPEED} | {
        name: found.get(name, 0.0 if has_calls else None) for name in _COSTS
    }


def agreement(
    truth: Mapping[str, Sequence[str]], predicted: Mapping[str, Sequence[str]], taxonomy: Taxonomy
) -> dict[str, float]:
    """Metrics of predicted labels over the texts of ``truth``."""
    both = [indicator([labels[id] for id in truth], taxonomy) for labels in (truth, predicted)]
    single = {**ACCURACY, "macro-F1": METRICS["macro-F1"]}
    metrics = {name: METRICS[name] for name in _MULTI_LABEL} if taxonomy.multi else single
    return {name: round(float(metric(*both)), 4) for name, metric in metrics.items()}


def compared(
    teacher: Answers, others: Mapping[str, Answers], gold: Sequence[Example], taxonomy: Taxonomy
) -> dict[str, Any]:
    """All metrics of a distillation.

    Args:
        teacher: answers for the test texts, with the cost of all its texts.
        others: answers of the student and of other systems for the same texts, by name.
        gold: the test texts with known true labels.
        taxonomy: the taxonomy.
    """
    found: dict[str, Any] = {
        "test texts": len(teacher.labels),
        "agreement with the teacher": {
            name: agreement(teacher.labels, one.labels, taxonomy) for name, one in others.items()
        },
        "cost": {"teacher": teacher.cost, **{name: one.cost for name, one in others.items()}},
    }
    if gold:
        truth = {one.id: one.labels for one in gold}
        systems = {"teacher": teacher, **others}
        metrics = {name: agreement(truth, one.labels, taxonomy) for name, one in systems.items()}
        found["against the table's own labels"] = {"texts": len(gold), **metrics}
        found["kept"] = _kept(metrics)
    return found


def _kept(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The student's metrics as shares of the teacher's."""
    teacher, student = metrics["teacher"], metrics["student"]
    return {name: round(student[name] / best, 4) for name, best in teacher.items() if best}


def write(folder: Path, found: Mapping[str, Any]) -> list[Path]:
    """Write the metrics as JSON and as a Markdown page; returns the paths."""
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
# Distillation of {{ found.teacher.name }} into {{ found.student.kind }}

{{ found.teacher.name }} labelled {{ found.texts.answered }} of {{ found.texts.table }} texts of `{{ found.data }}` \
with the taxonomy {{ found.taxonomy }}{% if found.teacher.strategy %} and the strategy \
`{{ found.teacher.strategy }}`{% endif %}. The student was trained on {{ found.texts.train }} texts and tuned on \
{{ found.texts.validation }}. The metrics below are over {{ found["test texts"] }} other texts. \
Soft labels of the teacher: {{ found.teacher.doubt }}.
{% if found.texts.unanswered %}

Texts without an answer:
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

{{ table(found["agreement with the teacher"], "system") }}
{% if found.kept is defined %}
## Against the table's own labels

Over {{ found["against the table's own labels"].texts }} of the test texts.

{% set gold = found["against the table's own labels"] %}
{% set rows = dict(gold) %}
{% set _ = rows.pop("texts") %}
{{ table(rows, "system") }}
Student in percent of the teacher: \
{% for name, share in found.kept.items() %}{{ "%.0f%%" | format(100 * share) }} of {{ name }}\
{{ "" if loop.last else ", " }}{% endfor %}.

{% endif %}
## Cost per text

{{ table(found.cost, "system") }}
p50: latency of single texts; texts/s: throughput in batches; tokens and US dollars: per 1,000 texts. Cached answers \
do not count.
"""
