"""The steps that make the rows: merge the source files, clean texts and genres, look up missing texts."""

from __future__ import annotations

import html
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from corpus.config import CLEANED, ENRICHED, MERGED, CleanSection, Row, StepContext, StepResult
from eval.datasets.grouping import groups, normal
from eval.datasets.record import Fields, Record
from eval.datasets.registry import records
from lookup.enrich import GIVEN, KNOWN_GENRES, NOTE, TEXT_FROM, TEXT_URL, EnrichColumns, enriched
from prompts import registry
from prompts.taxonomy import Taxonomy
from prompts.text import Text, tells_nothing
from tabular.cells import split_labels


def merge(work: StepContext) -> StepResult:
    """Step 1: read the source. A film that is in several files becomes one row with all its genres."""
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
        "genres": list(dict.fromkeys(split_labels(record.labels, lambda name: None))),
        "description": record.text.body,
        "complete_labels": record.complete,
        "truncated": record.truncated,
    }
    return row | ({"split": record.split} if record.split else {})


_JOINERS = "\u200c\u200d"  # meaningful in Persian, Indic scripts and emoji


def clean(work: StepContext) -> StepResult:
    """Step 2: normalise texts and genres.

    Rows keep their order. HTML entities are resolved, Unicode is composed (NFC), control and invisible characters are
    removed, and runs of spaces become one. Placeholders, short texts and boilerplate become missing texts. Genres
    outside the taxonomy, films without title or genre and copies are dropped. Everything is counted. Films with the
    same ``group`` must be in the same part of a split.
    """
    options = work.config.clean
    taxonomy = registry.taxonomy_at(options.taxonomy) if options.taxonomy else None
    counts: Counter[str] = Counter()
    rows = [_formed(row, taxonomy, counts) for row in work.read(MERGED)]
    shared = Counter(normal(row["description"]) for row in rows)
    often = {text for text, count in shared.items() if count > options.repeats}
    checked = [_without_filler(row, options, often, counts) for row in rows]
    kept = _without_copies([row for row in checked if _is_usable(row, options, counts)], counts)
    names = groups([_record(row) for row in kept])
    work.write(CLEANED, [{**row, "group": name} for row, name in zip(kept, names, strict=True)])
    missing = sum(not row["description"] for row in kept)
    return StepResult({"films": len(kept), "films without a text": missing, **_counted(counts)})


def _counted(counts: Counter[str]) -> dict[str, int]:
    return {what: count for what, count in counts.most_common() if count}


def formed(text: str) -> str:
    """Normalise a text: entities resolved, NFC, no invisible characters, one line."""
    composed = unicodedata.normalize("NFC", html.unescape(text))
    return " ".join("".join(" " if _breaks(mark) else mark for mark in composed if not _hidden(mark)).split())


def _breaks(mark: str) -> bool:
    return unicodedata.category(mark) in ("Cc", "Zl", "Zp", "Zs")


def _hidden(mark: str) -> bool:
    return unicodedata.category(mark) in ("Cf", "Cs", "Co") and mark not in _JOINERS


def _formed(row: Row, taxonomy: Taxonomy | None, counts: Counter[str]) -> Row:
    text, title = formed(row["description"]), formed(row["title"])
    counts["texts normalised"] += text != row["description"]
    return {**row, "title": title, "description": text, "genres": _genres(row["genres"], taxonomy, counts)}


def _genres(spellings: Sequence[str], taxonomy: Taxonomy | None, counts: Counter[str]) -> list[str]:
    if taxonomy is None:
        return list(spellings)
    known = [taxonomy.known(spelling) for spelling in spellings]
    for spelling, name in zip(spellings, known, strict=True):
        counts[f"the genre {spelling!r} dropped: not in {taxonomy.name}"] += name is None
    order = [label.name for label in taxonomy.labels]  # including those that are never predicted
    return sorted({name for name in known if name is not None}, key=order.index)


def _without_filler(row: Row, options: CleanSection, often: set[str], counts: Counter[str]) -> Row:
    """The row, with an empty text instead of a placeholder, a short text or boilerplate."""
    text = row["description"]
    reason = ""
    if tells_nothing(text):
        reason = "placeholders removed"
    elif len(text) < options.shortest:
        reason = f"texts under {options.shortest} characters removed"
    elif normal(text) in often:
        reason = f"texts of more than {options.repeats} films removed"
    if not reason:
        return row
    counts[reason] += bool(text)
    return {**row, "description": "", "truncated": False}


def _is_usable(row: Row, options: CleanSection, counts: Counter[str]) -> bool:
    reason = "films without a title dropped" if not row["title"] else ""
    if not reason and options.genres_needed and not row["genres"]:
        reason = "films without a genre dropped"
    counts[reason] += bool(reason)
    return not reason


def _without_copies(rows: Sequence[Row], counts: Counter[str]) -> list[Row]:
    """Merge rows with the same title, year and text; the merged row has the genres of all."""
    films: dict[tuple[object, ...], Row] = {}
    for row in rows:
        key = (normal(row["title"]) or row["title"], row["year"], normal(row["description"]) or row["id"])
        first = films.setdefault(key, row)
        if first is not row:
            counts["copies of another film merged into it"] += 1
            films[key] = {**first, "genres": list(dict.fromkeys([*first["genres"], *row["genres"]]))}
    return list(films.values())


def _record(row: Row) -> Record:
    record = Record("", row["id"], Text(row["description"]), (), title=row["title"])
    return replace(record, year=str(row["year"] or ""))


_TRUNCATED_TEXT = "text_before"


def fill(work: StepContext) -> StepResult:
    """Step 3: look up missing texts; every row records the source of its text."""
    options, rows = work.config.enrich, work.read(CLEANED)
    if not options.lookup or not work.lookup.providers:
        reason = "not looked up: " + ("no provider is configured" if options.lookup else "enrich.lookup is false")
        work.write(ENRICHED, [_untouched(row, reason) for row in rows])
        return StepResult({reason: sum(not row["description"] for row in rows)})
    queried = [_without_truncated(row) if options.truncated and row["truncated"] else row for row in rows]
    found = enriched(
        queried,
        EnrichColumns(),
        work.lookup,
        patience=options.patience,
        ambiguous=options.ambiguous,
        on_progress=work.on_progress,
    )
    work.write(ENRICHED, [_with_fallback(row) for row in found.rows])
    return StepResult(dict(found.counts.most_common()), found.unanswered)


def _untouched(row: Row, reason: str) -> Row:
    has = bool(row["description"])
    return {**row, TEXT_FROM: GIVEN if has else "", TEXT_URL: "", KNOWN_GENRES: [], NOTE: "" if has else reason}


def _without_truncated(row: Row) -> Row:
    """Move a text that is cut off to another column, from which it returns if no better one is found."""
    return {**row, "description": "", _TRUNCATED_TEXT: row["description"]}


def _with_fallback(row: Row) -> Row:
    before = row.get(_TRUNCATED_TEXT)
    bare = {name: value for name, value in row.items() if name != _TRUNCATED_TEXT}
    if before is None:
        return bare
    return {**bare, "truncated": False} if row["description"] else {**bare, "description": before, TEXT_FROM: GIVEN}
