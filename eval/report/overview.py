"""The metrics of every system: the sections "Overview" and "Cost and speed"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from eval.compare import Comparison, Difference
from eval.report import charts
from eval.report.document import (
    MISSING,
    Cell,
    Figure,
    Fold,
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
from eval.report.evaluation import Bounds, Evaluation, SystemResults
from eval.significance import SWAPS

Intervals = Mapping[str, Bounds]
SYSTEMS = "Every system over the same texts"


def quantity(value: float) -> str:
    """A number of any size in about three digits."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}"


def money(value: float) -> str:
    """US dollars: cents for sums, three digits for small amounts."""
    return f"${value:,.2f}" if value >= 1 or value == 0 else f"${value:.3g}"


@dataclass(frozen=True)
class Column:
    """One metric of the tables, by its name in ``metrics.json``; ``group`` is the heading above it.

    ``several``: it is meaningful only where a text may have several labels. ``main``: it is in the first table.
    """

    name: str
    group: str
    about: str
    show: Callable[[float], str] = decimal
    better: Literal["high", "low", "neither"] = "high"
    several: bool = False
    main: bool = False

    def best(self, systems: Sequence[SystemResults]) -> float | None:
        """The best value; None where no value is better, or several systems share it."""
        values = [value for system in systems if (value := system.metric(self.name)) is not None]
        if self.better == "neither" or len(values) < 2:
            return None
        top = max(values) if self.better == "high" else min(values)
        return top if values.count(top) == 1 else None

    def cell(self, system: SystemResults, best: float | None = None, bounds: Bounds | None = None) -> Cell:
        """The value of a system, with its interval where there is one."""
        if (value := system.metric(self.name)) is None:
            return Cell(MISSING)
        limits = "–".join(map(self.show, (bounds or {}).get(self.name, ())))
        return Cell(self.show(value), limits, value, best=value == best)


def available(systems: Sequence[SystemResults], single: bool) -> list[Column]:
    """Columns that at least one system has, without those of multi-label tasks where ``single``."""
    suitable = [column for column in COLUMNS if not (single and column.several)]
    return [column for column in suitable if any(system.metric(column.name) is not None for system in systems)]


def overview_section(evaluation: Evaluation, intervals: Intervals, comparisons: Sequence[Comparison]) -> Section:
    """Quality, calibration and failures of every system, and the paired tests of the best one.

    ``intervals`` are 95% bounds by system and metric.
    """
    columns = [column for column in _columns(evaluation) if column.group not in (SPEED, COST, EVIDENCE)]
    main = [column for column in columns if column.main]
    ceiling = CEILINGS.get(evaluation.taxonomy_name, {})
    dots = charts.dots([_dot(evaluation, system, intervals) for system in evaluation.compared], ceiling.get("micro-F1"))
    parts: list[Part] = [Figure(dots, DOTS), _quality_table(SYSTEMS, main, evaluation, intervals)]
    parts += [Note(text, finding=True) for text in _significance(comparisons)]
    parts.append(Note(" ".join(_legend(evaluation))))
    if ceiling:
        parts.append(Note(CEILING_NOTES[evaluation.taxonomy_name]))
    if more := [column for column in columns if not column.main]:
        parts.append(
            Fold("More metrics", (_quality_table("More metrics of every system", more, evaluation, intervals),))
        )
    if rules := _decode_rules(evaluation):
        parts.append(Fold("Decode rules", tuple(rules)))
    return Section("overview", "Overview", _lead(evaluation.compared, ceiling), tuple(parts))


def _quality_table(
    caption: str, columns: Sequence[Column], evaluation: Evaluation, intervals: Intervals
) -> ReportTable:
    rows = _rows(evaluation, columns, intervals)
    ceiling = CEILINGS.get(evaluation.taxonomy_name, {})
    if any(column.name in ceiling for column in columns):
        cells = [Cell.of(ceiling.get(column.name)) for column in columns]
        rows.insert(0, TableRow.of("label ceiling", *cells, kind="ceiling"))
    return _table(caption, columns, rows)


def _significance(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """The outcome of each paired test as a sentence; the best system is B."""
    for one in comparisons:
        best, other = one.pair.b.system, one.pair.a.system
        for relation, run in (("better", "B"), ("worse", "A")):
            if changes := [_change(row) for row in one.differences if row.better == run]:
                yield f"{best} is {relation} than {other} on {' and on '.join(changes)}."
        if equal := [_change(row) for row in one.differences if not row.better]:
            yield f"No difference found between {best} and {other} on {' and on '.join(equal)}."


def _change(row: Difference) -> str:
    p, sign = row.p or 0.0, -1 if row.better == "A" else 1
    low, high = sorted((sign * row.low, sign * row.high))
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    by = f" by {abs(row.difference):.3f}" if row.better else f": {row.difference:+z.3f}"
    return f"{row.metric}{by} (95% interval {low:z.3f} to {high:z.3f}, {chance})"


def cost_section(evaluation: Evaluation) -> Section | None:
    """Speed and cost of every system; None where no run has measured them."""
    columns = [column for column in _columns(evaluation) if column.group in (SPEED, COST)]
    if not columns:
        return None
    lead = (
        "Latency is of texts classified one at a time, throughput of batches. Cached predictions do not count. "
        "Speed depends on the hardware; see Provenance."
    )
    table = _table("Cost and speed of every system", columns, _rows(evaluation, columns, {}))
    return Section("cost", "Cost and speed", lead, (table,))


def evidence_section(evaluation: Evaluation) -> Section | None:
    """Shares of answers with evidence; None where no run has requested any."""
    columns = [column for column in _columns(evaluation) if column.group == EVIDENCE]
    if not columns:
        return None
    lead = "Passages that support the predicted labels, right or wrong; rows.jsonl says why a label has none."
    table = _table("Evidence of every system", columns, _rows(evaluation, columns, {}))
    return Section("evidence", "Evidence", lead, (table,))


def _columns(evaluation: Evaluation) -> list[Column]:
    return available(evaluation.compared, evaluation.single)


def _dot(evaluation: Evaluation, system: SystemResults, intervals: Intervals) -> charts.Dot:
    return charts.Dot(
        system.name,
        evaluation.series(system),
        system.metric("micro-F1", "accuracy"),
        system.metric("macro-F1"),
        intervals.get(system.name, {}).get("micro-F1"),
    )


def _table(caption: str, columns: Sequence[Column], rows: Sequence[TableRow]) -> ReportTable:
    explained = (Head(column.name, column.about, "" if column.main else column.group) for column in columns)
    return ReportTable(caption, heads("system", *explained), tuple(rows))


def _rows(evaluation: Evaluation, columns: Sequence[Column], intervals: Intervals) -> list[TableRow]:
    ranked = [system for system in evaluation.compared if not system.trivial]
    best = {column.name: column.best(ranked) for column in columns}
    rows = []
    for system in evaluation.compared:
        bounds = intervals.get(system.name, {})
        cells = [column.cell(system, None if system.trivial else best[column.name], bounds) for column in columns]
        name = Cell(system.name, series=evaluation.series(system))
        rows.append(TableRow.of(name, *cells, kind="trivial" if system.trivial else ""))
    return rows


def _lead(systems: Sequence[SystemResults], ceiling: Mapping[str, float]) -> str:
    first = systems[0].metric("micro-F1")
    if first is None:
        return "No system has a micro-F1 yet."
    lead = f"{systems[0].name} {'leads with' if len(systems) > 1 else 'reaches'} a micro-F1 of {decimal(first)}"
    if len(systems) > 1 and (second := systems[1].metric("micro-F1")) is not None:
        lead += f", {decimal(first - second)} ahead of {systems[1].name}"
    if ceiling:
        lead += f" and {decimal(ceiling['micro-F1'] - first)} below the label ceiling"
    return lead + "."


def _legend(evaluation: Evaluation) -> Iterator[str]:
    """How to read the tables, a sentence each."""
    yield "Below a value: its 95% interval (grouped bootstrap)."
    if len(evaluation.compared) > 1:
        yield "Bold: best of its column, without dummy baselines."
    if len(evaluation.nontrivial) > 1:
        yield f"p: paired randomisation test over the same texts ({SWAPS:,} swaps), corrected by Holm."
    if not any(system.trivial for system in evaluation.compared):
        yield "No dummy baseline was evaluated; `prior` and `random` show what chance gives."


def _decode_rules(evaluation: Evaluation) -> list[Note]:
    using: dict[str, list[str]] = {}
    for system in evaluation.compared:
        using.setdefault(system.run.manifest.get("decode_rule") or "", []).append(system.name)
    return [Note(f"Decode rule of {', '.join(names)}: {rule}.") for rule, names in using.items() if rule]


DOTS = "Filled: micro-F1, with its 95% interval where one is known. Ring: macro-F1."
CEILINGS: Mapping[str, Mapping[str, float]] = {
    "tmdb": {"micro-F1": 0.846, "macro-F1": 0.830, "Jaccard": 0.776, "subset accuracy": 0.496},
}
CEILING_NOTES = {
    "tmdb": "The label ceiling is the agreement of IMDb's and TMDB's genres for the same films: micro-F1 0.846, "
    "macro-F1 0.830, Jaccard 0.776 (4,528 films and 18 shared labels, not the texts of this run). A system that reads "
    "only the plot and scores above it has probably seen the labels.",
}

QUALITY, CALIBRATION, SPEED, COST, FAILURES = "Quality", "Calibration", "Speed", "Cost", "Failures"
EVIDENCE = "Evidence"
ECE = "Distance of score and share true in 15 bins of equal mass, mean of labels."
COLUMNS = (
    Column("micro-F1", QUALITY, "F1 over all pairs of text and label; frequent labels weigh most.", main=True),
    Column("macro-F1", QUALITY, "Mean of the labels' F1; every label has the same weight.", main=True),
    Column("micro-precision", QUALITY, "TP / (TP + FP) over all pairs of text and label.", main=True),
    Column("micro-recall", QUALITY, "TP / (TP + FN) over all pairs of text and label.", main=True),
    Column("accuracy", QUALITY, "Share of texts whose label is predicted correctly.", main=True),
    Column("Jaccard", QUALITY, "Mean over texts of |Y∩Ŷ| / |Y∪Ŷ|.", several=True, main=True),
    Column("ECE", CALIBRATION, ECE, better="low", main=True),
    Column("invalid", FAILURES, "Share of texts with a problem; counted as without labels.", percent, "low", main=True),
    Column("hierarchical F1", QUALITY, "Micro-F1 of labels that are paths, with the labels above them.", main=True),
    Column("level 1 accuracy", QUALITY, "Share of texts whose labels at the top of the hierarchy are exact."),
    Column("samples-F1", QUALITY, "Mean of the texts' F1.", several=True),
    Column("subset accuracy", QUALITY, "Share of texts whose set of labels is predicted exactly."),
    Column("AL-1", QUALITY, "Share of texts with at least one true label predicted.", several=True),
    Column("AL-2", QUALITY, "Share of texts with at least two true labels predicted.", several=True),
    Column("macro-AP", QUALITY, "Mean of the labels' average precision (area under precision–recall); no threshold."),
    Column("LRAP", QUALITY, "Label ranking average precision: how high the true labels rank.", several=True),
    Column("Brier", CALIBRATION, "Mean squared distance of score and truth (0 or 1).", better="low"),
    Column("abstentions", FAILURES, "Share of texts without a problem and without a label.", percent, "neither"),
    Column("p50 ms", SPEED, "Median latency in milliseconds of texts classified one at a time.", quantity, "low"),
    Column("p95 ms", SPEED, "95th percentile of the latency in milliseconds.", quantity, "low"),
    Column("texts/s", SPEED, "Throughput of batches: texts per second.", quantity),
    Column("peak MB", SPEED, "Peak memory of the process in megabytes.", quantity, "low"),
    Column("prompt tokens per 1,000", COST, "Prompt tokens, with those in the prefix cache.", quantity, "low"),
    Column("cached tokens per 1,000", COST, "Prompt tokens in the endpoint's prefix cache.", quantity, "neither"),
    Column("written tokens per 1,000", COST, "Completion tokens.", quantity, "low"),
    Column("USD per 1,000", COST, "US dollars for 1,000 texts at list prices.", money, "low"),
    Column("answers with evidence", EVIDENCE, "Share of texts with labels that have evidence for one.", percent),
    Column("labels with evidence", EVIDENCE, "Share of predicted labels, five of a text at most.", percent),
    Column("verified quotes", EVIDENCE, "Share of a language model's quotes that the text contains.", percent),
)
