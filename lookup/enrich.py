"""A table of films whose missing plots are looked up; every row says where its text came from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from lookup.film import FilmQuery, FilmRecord, LookupFailure
from lookup.lookup import Ambiguous, Attempt, Lookup, LookupResult
from prompts.errors import InvalidDataset
from prompts.placeholders import placeholder, tells_nothing

Row = Mapping[str, Any]

TEXT_FROM, TEXT_URL, KNOWN_GENRES, NOTE = "text_from", "text_url", "known_genres", "lookup_note"
ADDED = (TEXT_FROM, TEXT_URL, KNOWN_GENRES, NOTE)
GIVEN = "given"

_YEAR = re.compile(r"(1[89]\d\d|20\d\d)(?:\.0|-\d\d-\d\d.*)?")  # pandas writes 1999.0 beside gaps, TMDB 1999-12-31
_VAIN = 20  # so many titles in a row without an answer, and the others are left for another time
_NOT_ASKED = LookupResult(
    None, (Attempt("nobody", LookupFailure("timeout", f"not asked: {_VAIN} titles in a row had no answer")),)
)


@dataclass(frozen=True)
class EnrichColumns:
    """Names of the columns that count."""

    title: str = "title"
    year: str = "year"
    text: str = "description"


@dataclass(frozen=True)
class Enriched:
    """A table after the look-up.

    Attributes:
        rows: in their order, with the columns of ``ADDED``.
        counts: rows by what became of them.
        unanswered: how many of them got no answer for a reason that passes.
    """

    rows: Sequence[Row]
    counts: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0


def enriched(
    rows: Sequence[Row],
    names: EnrichColumns,
    lookup: Lookup,
    *,
    patience: float = 120.0,
    ambiguous: Ambiguous = "none",
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> Enriched:
    """Fill in the texts that are missing or placeholders.

    A table that is gone through again asks about no title twice: the look-up remembers. Where title after title has
    no answer, the rest is not asked.

    Args:
        rows: columns by name; those of ``names.title`` and ``names.text`` must be there, a year need not.
        names: of the columns.
        lookup: who is asked.
        patience: seconds that one title may take, pauses that a provider asks for included.
        ambiguous: what to take where several films have a row's title and it gives no year.
        on_progress: called with the number of titles done and of all.

    Raises:
        InvalidDataset: no such columns.
    """
    _check(rows, names)
    wanted = [_wanted(row, names) for row in rows]
    outcomes = _outcomes(list(dict.fromkeys(one for one in wanted if one)), lookup, patience, ambiguous, on_progress)
    done = [_row(row, names, outcomes.get(one) if one else None, one) for row, one in zip(rows, wanted, strict=True)]
    counts = Counter(what for _, what in done)
    unanswered = sum(1 for one in wanted if one and outcomes[one].passes)
    return Enriched([row for row, _ in done], counts, unanswered)


def _check(rows: Sequence[Row], names: EnrichColumns) -> None:
    columns = {column for row in rows for column in row}
    for name in (names.title, names.text):
        if rows and name not in columns:
            raise InvalidDataset(f"no column {name!r}; columns: {', '.join(sorted(columns))}")


def _wanted(row: Row, names: EnrichColumns) -> FilmQuery | None:
    """The film that a row wants looked up; one of an empty title where it has none, None where it has a text."""
    if not tells_nothing(_word(row.get(names.text))):
        return None
    year = _YEAR.fullmatch(_word(row.get(names.year)))
    return FilmQuery.of(_word(row.get(names.title)), int(year[1]) if year else None)


def _outcomes(
    wanted: Sequence[FilmQuery],
    lookup: Lookup,
    patience: float,
    ambiguous: Ambiguous,
    on_progress: Callable[[int, int], object],
) -> dict[FilmQuery, LookupResult]:
    found: dict[FilmQuery, LookupResult] = {}
    vain = 0
    with closing(lookup.each(wanted, patience, ambiguous)) as outcomes:
        for one, outcome in zip(wanted, outcomes, strict=True):
            found[one] = outcome
            on_progress(len(found), len(wanted))
            vain = vain + 1 if outcome.passes else 0
            if vain == _VAIN:
                break
    return {one: found.get(one, _NOT_ASKED) for one in wanted}


def _row(row: Row, names: EnrichColumns, outcome: LookupResult | None, wanted: FilmQuery | None) -> tuple[Row, str]:
    """A row with the columns added, and what became of it."""
    if outcome is None or wanted is None:
        kept = {TEXT_FROM: row.get(TEXT_FROM) or GIVEN, TEXT_URL: row.get(TEXT_URL) or ""}
        return {**row, **kept, KNOWN_GENRES: row.get(KNOWN_GENRES) or [], NOTE: row.get(NOTE) or ""}, "had a text"
    if outcome.film:
        return _filled(row, names, outcome.film), f"found by {outcome.film.provider}"
    was = placeholder(_word(row.get(names.text)))
    note = (f"said {was!r}; " if was else "") + outcome.why
    blank = {names.text: "", TEXT_FROM: "", TEXT_URL: "", KNOWN_GENRES: [], NOTE: note}
    return {**row, **blank}, _reason(outcome, wanted)


def _filled(row: Row, names: EnrichColumns, film: FilmRecord) -> Row:
    known = f"{film.title} ({film.year})" if film.year else film.title
    return {
        **row,
        names.text: film.plot,
        TEXT_FROM: f"{film.provider}: {film.plot_from}",
        TEXT_URL: film.url,
        KNOWN_GENRES: list(film.genres),
        NOTE: known + (f", the best known of {film.same_title}" if film.same_title > 1 else ""),
    }


def _reason(outcome: LookupResult, wanted: FilmQuery) -> str:
    if not wanted.title:
        return "without a title"
    if outcome.passes:
        return "without an answer"
    kinds = [one.missing.kind for one in outcome.tried]
    return next((words for kind, words in _REASONS.items() if kind in kinds), "not found")


def _word(value: Any) -> str:
    return "" if value is None or value != value else str(value).strip()


_REASONS: Mapping[str, str] = {
    "ambiguous": "ambiguous: several films of the title",
    "no_plot": "found, but without a plot",
    "not_found": "not found",
    "refused": "refused: see the notes",
    "unreadable": "unreadable: see the notes",
}
