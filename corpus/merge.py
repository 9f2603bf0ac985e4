"""First step: the rows of all files, one a film."""

from __future__ import annotations

from typing import Any

from corpus.context import MERGED, Row, StepContext, StepResult
from eval.datasets.record import Fields, Record
from eval.datasets.registry import records
from tabular.cells import separated


def merge(work: StepContext) -> StepResult:
    """Read the source in its format; a film that several files have becomes one row with all its genres."""
    source = work.config.source
    found = records(source.path, Fields(), source.format)
    rows = [_row(record) for record in found.rows]
    work.write(MERGED, rows)
    missing = sum(not row["description"] for row in rows)
    return StepResult({"films": len(rows), "films without a text": missing, **found.skipped, **found.changed})


def _row(record: Record) -> Row:
    row: dict[str, Any] = {
        "id": record.id,
        "title": record.title,
        "year": int(record.year) if record.year.isdecimal() else None,
        "genres": list(dict.fromkeys(separated(record.labels, lambda name: None))),
        "description": record.text.body,
        "complete_labels": record.complete,
        "truncated": record.truncated,
    }
    return row | ({"split": record.split} if record.split else {})
