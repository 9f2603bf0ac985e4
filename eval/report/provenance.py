"""Where the metrics come from: the section "Provenance"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eval.report.document import MISSING, Cell, Fold, Part, ReportTable, Section, TableRow, heads
from eval.report.evaluation import Evaluation, SystemResults

_LONGEST_LIST = 40


def provenance_section(evaluation: Evaluation) -> Section:
    """The manifests, and every metric of every system."""
    lead = "Data, settings, code version and hardware of the runs, and all metrics."
    parts = (*settings_folds(evaluation), *_all_metrics(evaluation.systems))
    return Section("provenance", "Provenance", lead, parts)


def settings_folds(evaluation: Evaluation) -> list[Part]:
    """The manifests of the systems: what they share, and what each has of its own."""
    flat = [dict(_flatten(system.run.manifest)) for system in evaluation.systems]
    names = list(dict.fromkeys(name for one in flat for name in one))
    shared = [name for name in names if len({one.get(name) for one in flat}) == 1 and len(flat) > 1]
    parts: list[Part] = [_settings("Shared by all systems", flat[0], shared)] if shared else []
    for system, own in zip(evaluation.systems, flat, strict=True):
        if differing := [name for name in own if name not in shared]:
            table = _settings(f"Manifest of {system.name}", own, differing)
            parts.append(Fold(system.name, (table,), open=len(flat) == 1, series=evaluation.series(system)))
    return parts


def _settings(caption: str, manifest: Mapping[str, str], names: Sequence[str]) -> ReportTable:
    rows = tuple(TableRow.of(name, manifest[name]) for name in names)
    return ReportTable(caption, heads("setting", "value", words=2), rows, "wide", sortable=False)


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as pairs of dotted name and text; long lists are cut."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flatten(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        more = f" … {len(value) - _LONGEST_LIST} more" if len(value) > _LONGEST_LIST else ""
        yield name, ", ".join(map(_word, value[:_LONGEST_LIST])) + more
    else:
        yield name, _word(value)


def _word(value: Any) -> str:
    return MISSING if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _all_metrics(systems: Sequence[SystemResults]) -> list[Part]:
    names = list(dict.fromkeys(name for system in systems for name in system.metrics))
    rows = []
    for name in names:
        values = [system.metrics.get(name) for system in systems]
        rows.append(TableRow.of(name, *(Cell(_number(value), sort=value) for value in values)))
    columns = heads("metric", *(system.name for system in systems))
    return [Fold("All metrics", (ReportTable("Content of metrics.json", columns, tuple(rows)),))] if rows else []


def _number(value: float | None) -> str:
    if value is None:
        return MISSING
    return f"{value:.0f}" if value == int(value) else f"{value:.6g}"
