"""Second step: texts in one form, what only pretends to be one taken away, copies left out."""

from __future__ import annotations

import html
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from corpus.config import CleanSection
from corpus.context import CLEANED, MERGED, Row, StepContext, StepResult
from eval.datasets.grouping import groups, normal
from eval.datasets.record import Record
from prompts import registry
from prompts.placeholders import tells_nothing
from prompts.taxonomy import Taxonomy
from prompts.text import Text

_JOINERS = "\u200c\u200d"  # they carry meaning in Persian, Indic scripts and emoji


def clean(work: StepContext) -> StepResult:
    """Put texts and genres in one form.

    Rows keep their order. Entities are resolved, Unicode is composed (NFC), control and invisible characters go, any
    run of spaces becomes one. Placeholders, texts that are too short and boilerplate become missing texts. Genres
    outside the taxonomy, films without title or genre and copies are left out. All of it is counted. ``group`` names
    the films that must not stand on two sides of a split.
    """
    options = work.config.clean
    taxonomy = registry.taxonomy_at(options.taxonomy) if options.taxonomy else None
    counts: Counter[str] = Counter()
    rows = [_formed(row, taxonomy, counts) for row in work.read(MERGED)]
    shared = Counter(normal(row["description"]) for row in rows)
    often = {text for text, count in shared.items() if count > options.repeats}
    told = [_told(row, options, often, counts) for row in rows]
    kept = _without_copies([row for row in told if _stays(row, options, counts)], counts)
    names = groups([_record(row) for row in kept])
    work.write(CLEANED, [{**row, "group": name} for row, name in zip(kept, names, strict=True)])
    missing = sum(not row["description"] for row in kept)
    return StepResult({"films": len(kept), "films without a text": missing, **_counted(counts)})


def _counted(counts: Counter[str]) -> dict[str, int]:
    return {what: count for what, count in counts.most_common() if count}


def formed(text: str) -> str:
    """A text in one form: entities resolved, composed, without invisible characters, on one line."""
    composed = unicodedata.normalize("NFC", html.unescape(text))
    return " ".join("".join(" " if _breaks(mark) else mark for mark in composed if not _hidden(mark)).split())


def _breaks(mark: str) -> bool:
    return unicodedata.category(mark) in ("Cc", "Zl", "Zp", "Zs")


def _hidden(mark: str) -> bool:
    return unicodedata.category(mark) in ("Cf", "Cs", "Co") and mark not in _JOINERS


def _formed(row: Row, taxonomy: Taxonomy | None, counts: Counter[str]) -> Row:
    text, title = formed(row["description"]), formed(row["title"])
    counts["texts put in another form"] += text != row["description"]
    return {**row, "title": title, "description": text, "genres": _genres(row["genres"], taxonomy, counts)}


def _genres(spellings: Sequence[str], taxonomy: Taxonomy | None, counts: Counter[str]) -> list[str]:
    if taxonomy is None:
        return list(spellings)
    known = [taxonomy.known(spelling) for spelling in spellings]
    for spelling, name in zip(spellings, known, strict=True):
        counts[f"the genre {spelling!r} dropped: not in {taxonomy.name}"] += name is None
    order = [label.name for label in taxonomy.labels]  # those too that are never predicted
    return sorted({name for name in known if name is not None}, key=order.index)


def _told(row: Row, options: CleanSection, often: set[str], counts: Counter[str]) -> Row:
    """A row whose text tells something, or has none."""
    text = row["description"]
    why = ""
    if tells_nothing(text):
        why = "placeholders taken away"
    elif len(text) < options.shortest:
        why = f"texts under {options.shortest} characters taken away"
    elif normal(text) in often:
        why = f"texts of more than {options.repeats} films taken away"
    if not why:
        return row
    counts[why] += bool(text)
    return {**row, "description": "", "truncated": False}


def _stays(row: Row, options: CleanSection, counts: Counter[str]) -> bool:
    why = "films without a title left out" if not row["title"] else ""
    if not why and options.genres_needed and not row["genres"]:
        why = "films without a genre left out"
    counts[why] += bool(why)
    return not why


def _without_copies(rows: Sequence[Row], counts: Counter[str]) -> list[Row]:
    """Rows of the same title, year and text become one, with the genres of all."""
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
