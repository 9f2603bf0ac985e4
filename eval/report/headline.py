"""The headline: every system in one row, quality beside calibration, speed and cost; and the same drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eval.report import charts
from eval.report.document import Cell, Figure, Head, Note, Part, ReportTable, Section, TableRow
from eval.report.folder import Evaluation, SystemResults
from eval.report.metric_columns import MISSING, Column, best, decode_rule, share, shown

Intervals = Mapping[str, Mapping[str, tuple[float, float]]]


def section(evaluation: Evaluation, intervals: Intervals) -> Section:
    """The first chapter; ``intervals`` are 95% bounds by system and figure, as far as they are known."""
    systems = evaluation.compared
    columns = shown(systems, evaluation.single)
    ceiling = ceiling_of(evaluation)
    parts: list[Part] = [Figure(charts.dots(_dots(evaluation, intervals), ceiling.get("micro-F1")), DOTS)]
    parts.append(_table(evaluation, columns, intervals, ceiling))
    parts += [Note(text) for text in _notes(evaluation, intervals, ceiling)]
    return Section("headline", "Overview", _lead(systems, ceiling, intervals), tuple(parts))


def taxonomy_name(evaluation: Evaluation) -> str:
    """Name of the taxonomy, empty where no manifest tells it."""
    stated = [system.run.manifest.get("taxonomy") for system in evaluation.systems]
    return next((str(found.get("name", "")) for found in stated if isinstance(found, dict)), "")


def ceiling_of(evaluation: Evaluation) -> Mapping[str, float]:
    """What two careful annotators reach between them, where somebody measured it."""
    return CEILINGS.get(taxonomy_name(evaluation), {})


def _dots(evaluation: Evaluation, intervals: Intervals) -> list[charts.Dot]:
    return [
        charts.Dot(
            system.name,
            evaluation.place(system),
            system.figure("micro-F1", "accuracy"),
            system.figure("macro-F1"),
            intervals.get(system.name, {}).get("micro-F1"),
        )
        for system in evaluation.compared
    ]


def _lead(systems: Sequence[SystemResults], ceiling: Mapping[str, float], intervals: Intervals) -> str:
    first = systems[0].figure("micro-F1")
    if first is None:
        return "No system has a micro-F1 yet."
    said = f"{systems[0].name} {'leads with' if len(systems) > 1 else 'reaches'} a micro-F1 of {share(first)}"
    if len(systems) > 1 and (second := systems[1].figure("micro-F1")) is not None:
        said += f", {share(first - second)} ahead of {systems[1].name}"
    if ceiling:
        said += f" and {share(ceiling['micro-F1'] - first)} below the label ceiling"
    return said + "." + (" The intervals of the first two overlap." if _overlap(systems[:2], intervals) else "")


def _overlap(systems: Sequence[SystemResults], intervals: Intervals) -> bool:
    """Whether the second system's interval reaches into the first one's."""
    known = [intervals.get(system.name, {}).get("micro-F1") for system in systems]
    bounds = [pair for pair in known if pair]
    return len(bounds) == 2 and bounds[1][1] >= bounds[0][0]


def _table(
    evaluation: Evaluation, columns: Sequence[Column], intervals: Intervals, ceiling: Mapping[str, float]
) -> ReportTable:
    heads = [Head("system", numeric=False), *(Head(column.name, column.about, column.group) for column in columns)]
    systems = evaluation.compared
    values = [[column.read(system) for column in columns] for system in systems]
    tops = [best(column, [column.read(system) for system in systems if not system.trivial]) for column in columns]
    rows = [
        TableRow(
            (
                Cell(system.name, series=evaluation.place(system)),
                *(
                    _cell(column, value, top if not system.trivial else None, intervals.get(system.name, {}))
                    for column, value, top in zip(columns, row, tops, strict=True)
                ),
            ),
            "trivial" if system.trivial else "",
        )
        for system, row in zip(systems, values, strict=True)
    ]
    if ceiling:
        rows.insert(0, _ceiling_row(columns, ceiling))
    return ReportTable("Every system over the same texts", tuple(heads), tuple(rows))


def _cell(column: Column, value: float | None, top: float | None, bounds: Mapping[str, tuple[float, float]]) -> Cell:
    if value is None:
        return Cell(MISSING)
    low_high = bounds.get(column.name)
    sub = f"{column.show(low_high[0])}–{column.show(low_high[1])}" if low_high else ""
    return Cell(column.show(value), sub, value, best=value == top)


def _ceiling_row(columns: Sequence[Column], ceiling: Mapping[str, float]) -> TableRow:
    figures = [ceiling.get(column.name) for column in columns]
    cells = [Cell(MISSING if value is None else share(value), sort=value) for value in figures]
    return TableRow((Cell("label ceiling"), *cells), "ceiling")


def _notes(evaluation: Evaluation, intervals: Intervals, ceiling: Mapping[str, float]) -> list[str]:
    said = ["Bold is the best of its column, trivial rules aside."] if len(evaluation.compared) > 1 else []
    if intervals:
        said.append("Beneath a figure stands its 95% interval (grouped bootstrap).")
    if ceiling:
        said.append(CEILING_NOTES[taxonomy_name(evaluation)])
    if not any(system.trivial for system in evaluation.compared):
        said.append(
            "No trivial rule is among the systems: run `prior` and `random` beside them to see what chance gives."
        )
    return said + _rules(evaluation.compared)


def _rules(systems: Sequence[SystemResults]) -> list[str]:
    """How scores became labels: a note for each rule, with the systems that use it."""
    using: dict[str, list[str]] = {}
    for system in systems:
        using.setdefault(decode_rule(system.run.manifest), []).append(system.name)
    using.pop(MISSING, None)
    return [f"Decode rule of {', '.join(names)}: {rule}." for rule, names in using.items()]


DOTS = "Filled: micro-F1, with its 95% interval where one is known. Ring: macro-F1."
CEILINGS: Mapping[str, Mapping[str, float]] = {
    "tmdb": {"micro-F1": 0.846, "macro-F1": 0.830, "Jaccard": 0.776, "subset accuracy": 0.496},
}
CEILING_NOTES = {
    "tmdb": "The label ceiling is IMDb's genres against TMDB's for the same films: micro .846, macro .830, Jaccard "
    ".776 (measured on 4,528 films and 18 shared labels, not on the rows of this run). Two catalogues of careful "
    "people agree no better than that, so a system that reads only the plot and scores above it has seen the answer.",
}
