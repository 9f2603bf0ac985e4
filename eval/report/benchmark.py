"""The page of a public benchmark: measured systems beside published models, as HTML, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from eval.report.benchmark_results import BenchmarkResults, BenchmarkRow, as_json
from eval.report.document import Cell, Document, Fold, Note, Part, ReportTable, Section, TableRow, decimal, heads
from eval.report.page import write_document
from eval.report.suite_results import COMMONEST
from prompts.files import write_text_atomically


def write(results: BenchmarkResults) -> list[Path]:
    """Write ``NAME.html``, ``NAME.md`` and ``NAME.json`` of the benchmark into the folder of its runs."""
    name = results.benchmark.name
    files = write_document(_document(results), results.folder, name)
    path = results.folder / f"{name}.json"
    write_text_atomically(path, json.dumps(as_json(results), indent=1, ensure_ascii=False) + "\n")
    return [*files, path]


def table(results: BenchmarkResults) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Head and rows of the table for a terminal."""
    found = _ranking(results)
    return [head.text for head in found.heads], [[cell.text for cell in row.cells] for row in found.rows]


def _document(results: BenchmarkResults) -> Document:
    benchmark = results.benchmark
    texts = sum(family.texts for family in results.families)
    facts = (
        ("data sets", f"{len(results.names)} of {len(benchmark.data_sets)}"), ("texts", f"{texts:,}"),
        ("systems", str(len(results.systems))), ("published models", str(len(results.published))),
    )  # fmt: skip
    sections = (_overview(results), _data_sets(results))
    definitions = ((benchmark.metric_name, benchmark.metric_about),)
    return Document(benchmark.title, facts, tuple(results.warnings()), sections, definitions)


def _overview(results: BenchmarkResults) -> Section:
    about = Note(
        f"Below a mean: its 95% interval (bootstrap over the texts of each data set; the data sets are fixed). Grey: "
        f"published. {COMMONEST}: the most frequent label of the data set, for every text. report.html has further "
        "metrics of the systems."
    )
    rules = (Note(rule) for rule in (*results.benchmark.rules, results.benchmark.source))
    parts: tuple[Part, ...] = (_ranking(results), about, *rules)
    return Section("overview", "Overview", _lead(results), parts)


def _lead(results: BenchmarkResults) -> str:
    if not results.systems:
        return "No system has labelled all texts of every data set."
    best, metric = results.systems[0], results.benchmark.metric_name
    above = sum(row.mean > best.mean for row in results.published)
    return (
        f"{best.name} has a mean {metric} of {decimal(best.mean)} over {len(results.names)} data sets; "
        f"{above} of {len(results.published)} published models have more."
    )


def _ranking(results: BenchmarkResults) -> ReportTable:
    columns = heads("system", "kind", "parameters", "mean", *results.groups, words=2)
    rows = tuple(_ranked(row, results) for row in results.rows)
    return ReportTable(f"Mean {results.benchmark.metric_name} by task group", columns, rows)


def _ranked(row: BenchmarkRow, results: BenchmarkResults) -> TableRow:
    limits = f"{decimal(row.limits.low)}–{decimal(row.limits.high)}" if row.limits else ""
    mean = Cell(decimal(row.mean), limits, row.mean, best=row == results.rows[0])
    groups = [Cell.of(row.mean_of(names)) for names in results.groups.values()]
    return TableRow.of(row.name, row.kind, row.parameters, mean, *groups, kind="" if row.measured else "trivial")


def _data_sets(results: BenchmarkResults) -> Section:
    published = results.published
    lead = (
        f"{results.benchmark.metric_name} by data set. The last column has the best value of the published models of "
        "the table above, and the model."
    )
    columns = heads("data set", "task", *(row.name for row in results.measured), "best published", words=2)
    rows = tuple(_data_set_row(results, name, published) for name in results.names)
    values = (TableRow.of(name, *(Cell.of(row.values[name]) for row in published)) for name in results.names)
    every = ReportTable("Published values", heads("data set", *(row.name for row in published)), tuple(values))
    notes = (Note(note) for note in results.notes)
    parts: tuple[Part, ...] = (
        ReportTable("By data set", columns, rows),
        *notes,
        Fold("Values of all published models", (every,)),
    )
    return Section("data-sets", "Data sets", lead, parts)


def _data_set_row(results: BenchmarkResults, name: str, published: Sequence[BenchmarkRow]) -> TableRow:
    family = next(one for one in results.families if one.name == name)
    task = next(group for group, names in results.groups.items() if name in names)
    measured = [row.values[name] for row in results.measured]
    best = max(published, key=lambda row: row.values[name])
    cells = [Cell(decimal(value), "", value, best=value == max(measured)) for value in measured]
    size = Cell(name, f"{family.texts:,} texts, {len(family.runs.labels)} labels")
    return TableRow.of(size, task, *cells, Cell(decimal(best.values[name]), best.name, best.values[name]))
