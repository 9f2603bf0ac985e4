"""Knowledge distillation: training data from a teacher's answers, and the report that compares the student with it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment

from eval.datasets import Example
from eval.datasets.split import assign
from eval.metrics import ACCURACY, METRICS, indicator
from eval.results import RunResults
from eval.rows import RunRow
from eval.run_metrics import speed_and_cost
from llm.classifier import ProblemKind
from llm.strategies import STRATEGIES
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Taxonomy

_TEST = "test"
_SHARES: Mapping[str, float] = {"train": 0.8, "validation": 0.1, _TEST: 0.1}
_MIN_TEXTS = 20  # with fewer, a split of a tenth would be almost empty
_MULTI_LABEL = ("micro-F1", "macro-F1", "Jaccard", "subset accuracy")
_COSTS = ("prompt tokens per 1,000", "cached tokens per 1,000", "written tokens per 1,000", "USD per 1,000")
_SPEED = ("p50 ms", "texts/s")
Metrics = Mapping[str, float | None]


@dataclass(frozen=True)
class TeacherLabels:
    """The labels of a teacher.

    Attributes:
        examples: the answered texts with its labels.
        soft: its probability of each label in taxonomy order, by the id of the text.
        doubt: source of these probabilities, in words.
        unanswered: number of texts without an answer, by the kind of their problem.
    """

    examples: tuple[Example, ...]
    soft: Mapping[str, list[float]]
    doubt: str
    unanswered: Mapping[ProblemKind, int]


def labels_of_teacher(
    examples: Sequence[Example], rows: Sequence[RunRow], taxonomy: Taxonomy, partial: bool = False
) -> TeacherLabels:
    """Convert a teacher's rows to labels; ``partial`` continues without texts whose failure is temporary.

    Raises:
        InvalidSetting: texts failed temporarily.
        InvalidDataset: fewer than twenty texts were answered.
    """
    row_of = {row.id: row for row in rows}
    waiting = sum(row.retryable for row in rows)
    if waiting and not partial:
        raise InvalidSetting(
            f"{waiting} of {len(rows)} texts failed temporarily; run the same command again to retry them, or continue "
            "without them with --partial"
        )
    answered = [one for one in examples if row_of[one.id].problem is None]
    failed = Counter(row.problem.kind for row in rows if row.problem)
    if len(answered) < _MIN_TEXTS:
        reasons = ", ".join(f"{count} {kind}" for kind, count in failed.items()) or "the table has no more texts"
        raise InvalidDataset(
            f"{len(answered)} texts were answered, and a student needs at least {_MIN_TEXTS}: {reasons}"
        )
    labelled = tuple(replace(one, labels=taxonomy.in_order(row_of[one.id].labels), complete=True) for one in answered)
    soft = {one.id: _soft(row_of[one.id], taxonomy) for one in answered}
    return TeacherLabels(labelled, soft, _doubt(row_of[answered[0].id], taxonomy), failed)


def split_by_film(examples: Sequence[Example], seed: int) -> dict[str, list[Example]]:
    """Training, validation and test texts; all texts of a film are in one split.

    A test split of the table is kept, and other texts of its films are excluded. Without one, a tenth of the texts is
    for testing. The split is stratified by the teacher's labels.

    Raises:
        InvalidDataset: a split would be empty.
    """
    test = [one for one in examples if one.split == _TEST]
    tested = {one.group for one in test}
    free = [one for one in examples if one.group not in tested]
    shares = {name: share for name, share in _SHARES.items() if not (tested and name == _TEST)}
    split_of = assign(free, {name: share / sum(shares.values()) for name, share in shares.items()}, seed)
    found = {name: [one for one in free if split_of[one.id] == name] for name in shares}
    found |= {_TEST: test} if test else {}
    if empty := next((name for name, split in found.items() if not split), None):
        raise InvalidDataset(f"{len(examples)} answered texts leave none for the split {empty}; label more texts")
    return found


def _soft(row: RunRow, taxonomy: Taxonomy) -> list[float]:
    """Target of each label; 1 or 0 if the scores are not probabilities of single labels.

    With ``json_list`` labels outside the list have target 0, because they have no score. The scores of ``label_tokens``
    sum to 1, which is wrong for several labels a text; then only the labels are used.
    """
    labels, scores = row.labels, row.scores
    if all(0 <= scores.get(name, -1.0) <= 1 for name in taxonomy.names):
        if not taxonomy.multi and (total := sum(scores.values())):
            return [scores[name] / total for name in taxonomy.names]
        if taxonomy.multi and _is_independent(row, taxonomy):
            return [scores[name] if name in labels or not _is_generated(row) else 0.0 for name in taxonomy.names]
    return [float(name in labels) for name in taxonomy.names]


def _doubt(row: RunRow, taxonomy: Taxonomy) -> str:
    if not row.scores:
        return "none: the teacher gave labels without scores"
    if taxonomy.multi and not _is_independent(row, taxonomy):
        return "none: its scores sum to 1, and a text may have several labels"
    return "the probability of each generated label" if _is_generated(row) else "its score of each label"


def _is_independent(row: RunRow, taxonomy: Taxonomy) -> bool:
    """Whether the score of a label is its own probability."""
    strategy = STRATEGIES.get(row.source.strategy or "")
    return strategy is None or not strategy.mutually_exclusive(taxonomy)


def _is_generated(row: RunRow) -> bool:
    """Whether labels were generated rather than selected by their scores."""
    strategy = STRATEGIES.get(row.source.strategy or "")
    return strategy is not None and strategy.returns_labels


# --- report ---


@dataclass(frozen=True)
class Answers:
    """Labels of one system for the test texts by their ids, and latency, throughput, tokens and money."""

    labels: Mapping[str, Sequence[str]]
    cost: Metrics

    @classmethod
    def of(cls, folder: Path) -> Answers:
        """The answers of a finished run."""
        run = RunResults.read(folder)
        return cls({row.id: row.labels for row in run.rows}, _costs(run.rows, run.manifest))


def _costs(rows: Sequence[RunRow], manifest: Mapping[str, Any]) -> dict[str, float | None]:
    """Cost of the answers of a run; tokens and money are 0 without a language model."""
    found, missing = speed_and_cost(rows, manifest), 0.0 if any(not row.cached for row in rows) else None
    return {name: found.get(name) for name in _SPEED} | {name: found.get(name, missing) for name in _COSTS}


def _agreement(
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

    ``teacher`` and ``others``, such as the student, answered the same test texts; ``gold`` are those with true labels.
    """
    systems = {"teacher": teacher, **others}
    found: dict[str, Any] = {
        "test texts": len(teacher.labels),
        "agreement with the teacher": {
            name: _agreement(teacher.labels, one.labels, taxonomy) for name, one in others.items()
        },
        "cost": {name: one.cost for name, one in systems.items()},
    }
    if gold:
        truth = {one.id: one.labels for one in gold}
        metrics = {name: _agreement(truth, one.labels, taxonomy) for name, one in systems.items()}
        shares = {name: round(metrics["student"][name] / best, 4) for name, best in metrics["teacher"].items() if best}
        found |= {"against the table's own labels": {"texts": len(gold), **metrics}, "kept": shares}
    return found


def write(folder: Path, found: Mapping[str, Any]) -> list[Path]:
    """Write the metrics as JSON and as a Markdown page; returns the paths."""
    environment = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["metric"] = _formatted
    contents = {
        folder / "report.md": environment.from_string(_TEMPLATE).render(found=found),
        folder / "report.json": json.dumps(found, indent=2, ensure_ascii=False) + "\n",
    }
    for path, content in contents.items():
        path.write_text(content, encoding="utf-8")
    return list(contents)


def _formatted(value: float | None) -> str:
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

{% for name, metrics in rows.items() %}
| {{ name }} | {% for value in metrics.values() %}{{ value | metric }}{{ "" if loop.last else " | " }}{% endfor %} |
{% endfor %}
{% endmacro %}
## Agreement with the teacher

{{ table(found["agreement with the teacher"], "system") }}
{% if found.kept is defined %}
## Against the table's own labels

Over {{ found["against the table's own labels"].texts }} of the test texts.

{% set rows = dict(found["against the table's own labels"]) %}
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
