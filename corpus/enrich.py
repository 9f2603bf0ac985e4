"""Third step: texts that are missing are looked up."""

from __future__ import annotations

from corpus.context import CLEANED, ENRICHED, Row, StepContext, StepResult
from lookup.enrich import GIVEN, KNOWN_GENRES, NOTE, TEXT_FROM, TEXT_URL, EnrichColumns, enriched

_BROKEN_OFF = "text_before"


def fill(work: StepContext) -> StepResult:
    """Fill in what is missing, from the providers of the settings; every row says where its text came from."""
    options, rows = work.config.enrich, work.read(CLEANED)
    if not options.lookup or not work.lookup.providers:
        why = "not looked up: " + ("no provider is configured" if options.lookup else "enrich.lookup is false")
        work.write(ENRICHED, [_untouched(row, why) for row in rows])
        return StepResult({why: sum(not row["description"] for row in rows)})
    asked = [_opened(row) if options.truncated and row["truncated"] else row for row in rows]
    found = enriched(
        asked,
        EnrichColumns(),
        work.lookup,
        patience=options.patience,
        ambiguous=options.ambiguous,
        on_progress=work.on_progress,
    )
    work.write(ENRICHED, [_closed(row) for row in found.rows])
    return StepResult(dict(found.counts.most_common()), found.unanswered)


def _untouched(row: Row, why: str) -> Row:
    has = bool(row["description"])
    return {**row, TEXT_FROM: GIVEN if has else "", TEXT_URL: "", KNOWN_GENRES: [], NOTE: "" if has else why}


def _opened(row: Row) -> Row:
    """A text that breaks off makes room, and is kept for the case that no better one is found."""
    return {**row, "description": "", _BROKEN_OFF: row["description"]}


def _closed(row: Row) -> Row:
    before = row.get(_BROKEN_OFF)
    bare = {name: value for name, value in row.items() if name != _BROKEN_OFF}
    if before is None:
        return bare
    return {**bare, "truncated": False} if row["description"] else {**bare, "description": before, TEXT_FROM: GIVEN}
