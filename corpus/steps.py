"""Steps 1 to 4: merge the source files, clean texts and genres, look up missing texts, explore the result."""

from __future__ import annotations

import html
import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from corpus.config import CLEANED, ENRICHED, FIGURES, MERGED, PLOTS, CleanSection, Row, StepContext, StepResult
from eval.datasets.example import Fields, Record
from eval.datasets.registry import records
from eval.datasets.split import groups, normal
from eval.report import charts
from eval.report.data_card import QUANTILES, Lengths, lengths_of
from lookup.enrich import GIVEN, KNOWN_GENRES, NOTE, TEXT_FROM, TEXT_URL, EnrichColumns, enriched
from prompts import registry
from prompts.files import write_text_atomically
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
    counted = {what: count for what, count in counts.most_common() if count}
    return StepResult({"films": len(kept), "films without a text": missing, **counted})


def _record(row: Row) -> Record:
    return Record("", row["id"], Text(row["description"]), (), title=row["title"], year=str(row["year"] or ""))


def formed(text: str) -> str:
    """Normalise a text: entities resolved, NFC, no invisible characters, one line."""
    return " ".join("".join(map(_visible, unicodedata.normalize("NFC", html.unescape(text)))).split())


def _visible(mark: str) -> str:
    category = unicodedata.category(mark)
    if category in ("Cc", "Zl", "Zp", "Zs"):
        return " "
    return "" if category in ("Cf", "Cs", "Co") and mark not in _JOINERS else mark


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


_CUT_OFF = "text_before"


def fill(work: StepContext) -> StepResult:
    """Step 3: look up missing texts; every row records the source of its text."""
    options, rows = work.config.enrich, work.read(CLEANED)
    if not options.lookup or not work.lookup.providers:
        reason = "not looked up: " + ("no provider is configured" if options.lookup else "enrich.lookup is false")
        work.write(ENRICHED, [_untouched(row, reason) for row in rows])
        return StepResult({reason: sum(not row["description"] for row in rows)})
    if options.truncated:  # such a text returns from its other column if no better one is found
        rows = [{**row, "description": "", _CUT_OFF: row["description"]} if row["truncated"] else row for row in rows]
    found = enriched(
        rows, EnrichColumns(), work.lookup, patience=options.patience, ambiguous=options.ambiguous,
        on_progress=work.on_progress,
    )  # fmt: skip
    work.write(ENRICHED, [_with_fallback(row) for row in found.rows])
    return StepResult(dict(found.counts.most_common()), found.unanswered)


def _untouched(row: Row, reason: str) -> Row:
    has = bool(row["description"])
    return {**row, TEXT_FROM: GIVEN if has else "", TEXT_URL: "", KNOWN_GENRES: [], NOTE: "" if has else reason}


def _with_fallback(row: Row) -> Row:
    before = row.get(_CUT_OFF)
    bare = {name: value for name, value in row.items() if name != _CUT_OFF}
    if before is None:
        return bare
    return {**bare, "truncated": False} if row["description"] else {**bare, "description": before, TEXT_FROM: GIVEN}


_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Snapshot:
    """Statistics of the films at one stage.

    Attributes:
        missing: films without a text.
        truncated: films with a text that is cut off.
        words: text lengths in words; None without texts.
        genres: number of films per genre, most frequent first.
        missing_of: films without a text per genre.
        per_film: number of films by their number of genres.
        sources: number of texts by source; empty before the look-up.
    """

    films: int
    missing: int
    truncated: int
    words: Lengths | None
    genres: dict[str, int]
    missing_of: dict[str, int]
    per_film: dict[int, int]
    sources: dict[str, int]


def explore(work: StepContext) -> StepResult:
    """Write the statistics and the page."""
    before, after = work.read(MERGED), work.read(ENRICHED)
    first = snapshot(before)
    last = snapshot(after, first.words.edges if first.words else None)
    statistics = json.dumps({"before": asdict(first), "after": asdict(last)}, indent=1)
    write_text_atomically(work.path(FIGURES), statistics + "\n")
    write_text_atomically(work.path(PLOTS), page(work.config.out.name, first, last))
    return StepResult({"films before": first.films, "films after": last.films, "without a text before": first.missing,
                 "without a text after": last.missing})  # fmt: skip


def snapshot(rows: Sequence[Row], edges: Sequence[int] | None = None) -> Snapshot:
    """Statistics of the films; ``edges`` are the length bins of another snapshot."""
    lengths = [len(row["description"].split()) for row in rows if row["description"]]
    genres = Counter(name for row in rows for name in row["genres"])
    missing_of = Counter(name for row in rows if not row["description"] for name in row["genres"])
    order = sorted(genres, key=lambda name: (-genres[name], name))
    return Snapshot(
        films=len(rows),
        missing=len(rows) - len(lengths),
        truncated=sum(bool(row["truncated"]) for row in rows),
        words=lengths_of("words", lengths, edges) if lengths else None,
        genres={name: genres[name] for name in order},
        missing_of={name: missing_of[name] for name in order},
        per_film=dict(sorted(Counter(len(row["genres"]) for row in rows).items())),
        sources=dict(Counter(row.get(TEXT_FROM) or "" for row in rows if TEXT_FROM in row).most_common()),
    )


def page(name: str, before: Snapshot, after: Snapshot) -> str:
    """All plots as one self-contained HTML page."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    names = list(dict.fromkeys([*after.genres, *before.genres]))
    return environment.get_template("explore.html.jinja").render(
        name=name, before=before, after=after, charts=charts,
        heads=["shortest" if share == 0 else "longest" if share == 1 else f"{share:.0%}" for share in QUANTILES],
        genres=[(one, before.genres.get(one, 0), after.genres.get(one, 0)) for one in names],
        missing=[(one, _share(before, one), _share(after, one)) for one in after.genres],
        per_film=[(f"{n} genre{'s' * (n != 1)}", before.per_film.get(n, 0), after.per_film.get(n, 0))
                  for n in sorted({*before.per_film, *after.per_film})],
    )  # fmt: skip


def _share(films: Snapshot, genre: str) -> float:
    return films.missing_of.get(genre, 0) / max(1, films.genres.get(genre, 0))
