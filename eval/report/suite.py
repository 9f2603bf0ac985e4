"""The page of a suite: one table over families and systems, as HTML and Markdown, and the same values as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from eval.report.document import (
    MISSING,
    Cell,
    Document,
    Fold,
    Note,
    Part,
    ReportTable,
    Section,
    TableRow,
    decimal,
    heads,
)
from eval.report.overview import COLUMNS
from eval.report.page import write_document
from eval.report.provenance import settings_folds
from eval.report.suite_results import COMMONEST, SUITE_FILE, Draws, Suite, as_json
from eval.significance import interval
from prompts.files import write_text_atomically

_MORE = ("macro-F1", "macro-AP", "ECE", "invalid", "abstentions", "p50 ms", "texts/s", "USD per 1,000")


def write(suite: Suite) -> list[Path]:
    """Write ``report.html``, ``report.md`` and ``suite.json`` into the folder of a suite."""
    files = write_document(_document(suite), suite.folder)
    write_text_atomically(suite.folder / SUITE_FILE, json.dumps(as_json(suite), indent=1, ensure_ascii=False) + "\n")
    return [*files, suite.folder / SUITE_FILE]


def table(suite: Suite) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Head and rows of the table for a terminal."""
    found = _main_table(suite)
    return [head.text for head in found.heads], [[cell.text for cell in row.cells] for row in found.rows]


def _document(suite: Suite) -> Document:
    labels = sum(len(one.runs.labels) for one in suite.families)
    splits = sorted({str(one.manifest("split") or "all") for one in suite.families})
    facts = (
        ("families", str(len(suite.families))), ("texts", f"{sum(one.texts for one in suite.families):,}"),
        ("labels", f"{labels:,}"), ("systems", str(len(suite.systems))), ("split", ", ".join(splits)),
    )  # fmt: skip
    names = {"accuracy", "micro-F1", *_MORE}
    definitions = tuple((column.name, column.about) for column in COLUMNS if column.name in names)
    sections = (_overview(suite), _more_section(suite), _provenance(suite))
    return Document(f"Suite {suite.folder.resolve().name}", facts, tuple(_warnings(suite)), sections, definitions)


def _warnings(suite: Suite) -> Iterator[str]:
    for one in suite.families:
        if missing := sorted(set(suite.systems) - one.draws.keys()):
            yield f"{one.name} has no run of {', '.join(missing)}; it is not part of the means."
        yield from (f"{one.name}: {warning}" for warning in one.runs.warnings)


def _overview(suite: Suite) -> Section:
    """The table, and the differences between systems."""
    findings = [Note(text, finding=True) for text in _differences(suite)]
    note = (
        "Below a value: its 95% interval (bootstrap over the texts of each family; the families are fixed). Bold: best "
        f"of its row. {COMMONEST}: the label that most training texts of the family have, for every text."
    )
    return Section("overview", "Overview", _lead(suite), (_main_table(suite), *findings, Note(note)))


def _lead(suite: Suite) -> str:
    first = next(suite.means(), None)
    if first is None:
        return "No family has a run of every system."
    group, metric, count, means = first
    best, *others = sorted((name for name in suite.systems), key=lambda name: -means[name][0])
    lead = f"{best} has a mean {metric} of {decimal(means[best][0])} over {count} families ({group})"
    if others:
        lead += f", {decimal(means[best][0] - means[others[0]][0])} ahead of {others[0]}"
    return lead + "."


def _main_table(suite: Suite) -> ReportTable:
    rows = [
        _row(
            Cell(one.name, f"{one.texts:,} texts, {len(one.runs.labels)} labels"), one.main, suite, one.draws, one.main
        )
        for one in suite.families
    ]
    for group, metric, count, means in suite.means():
        by_system = {name: {metric: draws} for name, draws in means.items()}
        rows.append(
            _row(
                Cell(f"mean of {group}", f"{count} {'family' if count == 1 else 'families'}"),
                metric,
                suite,
                by_system,
                metric,
                "ceiling",
            )
        )
    columns = heads("family", "metric", COMMONEST, *suite.systems, words=2)
    return ReportTable("Every family and system", columns, tuple(rows))


def _row(
    name: Cell, metric: str, suite: Suite, found: Mapping[str, Mapping[str, Draws]], key: str, kind: str = ""
) -> TableRow:
    values = {system: found.get(system, {}).get(key) for system in (COMMONEST, *suite.systems)}
    known = [draws[0] for system, draws in values.items() if draws and system != COMMONEST]
    top = max(known) if len(known) > 1 and known.count(max(known)) == 1 else None
    cells = [_cell(values[system], top, bool(kind)) for system in values]
    return TableRow.of(name, metric, *cells, kind=kind)


def _cell(draws: Draws | None, top: float | None, last: bool) -> Cell:
    """A value with its interval; rows of means stay last when the table is sorted."""
    if draws is None:
        return Cell(MISSING)
    found = interval(*draws)
    limits = f"{decimal(found.low)}–{decimal(found.high)}"
    return Cell(decimal(found.value), limits, None if last else found.value, best=found.value == top)


def _differences(suite: Suite) -> Iterator[str]:
    """The best system against each other one: difference of the means, with its interval, and families won."""
    if (first := next(suite.means(), None)) is None or len(suite.systems) < 2:
        return
    _, metric, count, means = first
    best, *others = sorted(suite.systems, key=lambda name: -means[name][0])
    for other in others:
        value = means[best][0] - means[other][0]
        found = interval(*(value, means[best][1] - means[other][1]))  # the same texts are drawn for both
        won = sum(one.draws[best][one.main][0] > one.draws[other][one.main][0] for one in suite.complete)
        yield (
            f"{best} and {other}: difference of the mean {metric} {value:+.3f} (95% interval {found.low:+.3f} to "
            f"{found.high:+.3f}); {best} is higher in {won} of {count} families."
        )


def _more_section(suite: Suite) -> Section:
    """A table per further metric; macro-F1 and macro-AP with intervals."""
    by_name = {column.name: column for column in COLUMNS}
    parts = [part for name in _MORE if (part := _metric_table(suite, name, by_name[name].show))]
    lead = "Further metrics by family. Latency and throughput depend on the machine and on what else ran on it."
    return Section("more", "More metrics", lead, tuple(Fold(part.caption, (part,)) for part in parts))


def _metric_table(suite: Suite, metric: str, show: Callable[[float], str]) -> ReportTable | None:
    rows = []
    for one in suite.families:
        values = {system.name: system.metric(metric) for system in one.runs.systems}
        cells = []
        for name in (COMMONEST, *suite.systems):
            draws, value = one.draws.get(name, {}).get(metric), values.get(name)
            cells.append(_cell(draws, None, False) if draws else Cell(MISSING if value is None else show(value)))
        if any(cell.text != MISSING for cell in cells[1:]):
            rows.append(TableRow.of(one.name, *cells))
    columns = heads("family", COMMONEST, *suite.systems)
    return ReportTable(f"{metric} by family", columns, tuple(rows)) if rows else None


def _provenance(suite: Suite) -> Section:
    """Data of the families, and the settings of the systems in the first of them."""
    rows = tuple(
        TableRow.of(one.name, data.get("name", MISSING), data.get("digest", MISSING), taxonomy.get("digest", MISSING))
        for one in suite.families
        for data, taxonomy in [(one.runs.recorded("data"), one.runs.recorded("taxonomy"))]
    )
    table = ReportTable("Data", heads("family", "file", "digest", "taxonomy", words=4), rows, "wide", sortable=False)
    first = max(suite.families, key=lambda one: len(one.runs.systems))
    parts: list[Part] = [table, *settings_folds(first.runs)]
    lead = (
        f"Settings are those of the runs of {first.name}. main.py report with the folder of a family writes the full "
        "report of that family."
    )
    return Section("provenance", "Provenance", lead, tuple(parts))
