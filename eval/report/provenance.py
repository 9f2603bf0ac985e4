"""Where the figures come from: the manifests, whatever they hold, and every figure of every system."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eval.report.document import Cell, Fold, Head, Part, ReportTable, Section, TableRow
from eval.report.folder import Evaluation, SystemResults
from eval.report.metric_columns import MISSING

LONGEST_LIST = 40


def section(evaluation: Evaluation) -> Section:
    """What the systems have in common, what sets them apart, and all their figures."""
    flat = [dict(flatten(system.run.manifest)) for system in evaluation.systems]
    names = list(dict.fromkeys(name for one in flat for name in one))
    shared = [name for name in names if len({one.get(name) for one in flat}) == 1 and len(flat) > 1]
    own = [name for name in names if name not in shared]
    parts: list[Part] = []
    if shared:
        rows = tuple(TableRow((Cell(name), Cell(flat[0][name]))) for name in shared)
        parts.append(ReportTable("Shared by all systems", _heads(("value",), "setting"), rows, "wide", sortable=False))
    for place, (system, one) in enumerate(zip(evaluation.systems, flat, strict=True)):
        rows = tuple(TableRow((Cell(name), Cell(one[name]))) for name in own if name in one)
        if rows:
            table = ReportTable(
                f"Manifest of {system.name}", _heads(("value",), "setting"), rows, "wide", sortable=False
            )
            parts.append(
                Fold(system.name, (table,), open=len(flat) == 1 and place == 0, series=evaluation.place(system))
            )
    parts += _every_figure(evaluation.systems)
    lead = "What was run, on what, from which state of the code: enough to run it again."
    return Section("manifest", "Provenance", lead, tuple(parts))


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as pairs of dotted name and words; long lists are cut, and say so."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flatten(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        more = f" … {len(value) - LONGEST_LIST} more" if len(value) > LONGEST_LIST else ""
        yield name, ", ".join(map(_word, value[:LONGEST_LIST])) + more
    else:
        yield name, _word(value)


def _word(value: Any) -> str:
    return MISSING if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _every_figure(systems: Sequence[SystemResults]) -> list[Part]:
    names = list(dict.fromkeys(name for system in systems for name in system.metrics))
    rows = tuple(
        TableRow(
            (
                Cell(name),
                *(Cell(_number(system.metrics.get(name)), sort=system.metrics.get(name)) for system in systems),
            )
        )
        for name in names
    )
    table = ReportTable("As metrics.json has them", _heads([system.name for system in systems], "figure", True), rows)
    return [Fold("Every figure", (table,))] if rows else []


def _number(value: float | None) -> str:
    if value is None:
        return MISSING
    return f"{value:.0f}" if value == int(value) else f"{value:.6g}"


def _heads(names: Sequence[str], first: str, numeric: bool = False) -> tuple[Head, ...]:
    return (Head(first, numeric=False), *(Head(name, numeric=numeric) for name in names))
