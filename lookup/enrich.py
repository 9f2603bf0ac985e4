"""Fills in the missing plots of a table of films; every row records the source of its text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from lookup.film import FilmQuery, LookupFailure
from lookup.lookup import Ambiguous, Attempt, Lookup, LookupResult
from prompts.errors import InvalidDataset
from prompts.text import placeholder, tells_nothing

Row = Mapping[str, Any]

TEXT_FROM, TEXT_URL, KNOWN_GENRES, NOTE = "text_from", "text_url", "known_genres", "lookup_note"
ADDED = (TEXT_FROM, TEXT_URL, KNOWN_GENRES, NOTE)
GIVEN = "given"

_YEAR = re.compile(r"(1[89]\d\d|20\d\d)(?:\.0|-\d\d-\d\d.*)?")  # pandas writes 1999.0 beside gaps, TMDB 1999-12-31
_MAX_FAILURES_IN_A_ROW = 20  # after that many transient failures the remaining titles are skipped
_SKIPPED = LookupResult(
    None,
    (Attempt("no query", LookupFailure("timeout", f"not queried after {_MAX_FAILURES_IN_A_ROW} failures in a row")),),
)


@dataclass(frozen=True)
class EnrichColumns:
    """Names of the input columns; title and text are required, the year is optional."""

    title: str = "title"
    year: str = "year"
    text: str = "description"


@dataclass(frozen=True)
class Enriched:
    """Result of ``enriched``.

    Attributes:
        rows: all rows in order, with the columns of ``ADDED``.
        counts: number of rows per outcome.
        unanswered: number of rows with a transient failure.
    """

    rows: Sequence[Row]
    counts: Counter[str]
    unanswered: int


def enriched(
    rows: Sequence[Row],
    names: EnrichColumns,
    lookup: Lookup,
    *,
    patience: float = 120.0,
    ambiguous: Ambiguous = "none",
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> Enriched:
    """Fill in texts that are missing or placeholders.

    The look-up caches replies, so a second run over the same table is fast. After many transient failures in a row
    the remaining titles are skipped.

    Args:
        rows: cells by column name.
        names: column names.
        lookup: the providers.
        patience: maximum seconds per title, including pauses that a provider asks for.
        ambiguous: choice if several films have the title and the row has no year.
        on_progress: called with the number of titles done and the number of all titles.

    Raises:
        InvalidDataset: a required column is missing.
    """
    columns = {column for row in rows for column in row}
    for name in (names.title, names.text):
        if rows and name not in columns:
            raise InvalidDataset(f"no column {name!r}; columns: {', '.join(sorted(columns))}")
    queries = [_query(row, names) for row in rows]
    results = _results(list(dict.fromkeys(filter(None, queries))), lookup, patience, ambiguous, on_progress)
    done = [
        _row(row, names, results[query], query) if query else (_unchanged(row), "had a text")
        for row, query in zip(rows, queries, strict=True)
    ]
    unanswered = sum(1 for query in queries if query and results[query].may_succeed_later)
    return Enriched([row for row, _ in done], Counter(outcome for _, outcome in done), unanswered)


def _query(row: Row, names: EnrichColumns) -> FilmQuery | None:
    """The query of a row; None if the row has a text. A row without a title gets an empty query."""
    if not tells_nothing(_word(row.get(names.text))):
        return None
    year = _YEAR.fullmatch(_word(row.get(names.year)))
    return FilmQuery.of(_word(row.get(names.title)), int(year[1]) if year else None)


def _results(
    queries: Sequence[FilmQuery],
    lookup: Lookup,
    patience: float,
    ambiguous: Ambiguous,
    on_progress: Callable[[int, int], object],
) -> dict[FilmQuery, LookupResult]:
    found: dict[FilmQuery, LookupResult] = {}
    failures = 0
    with closing(lookup.each(queries, patience, ambiguous)) as results:
        for query, result in zip(queries, results, strict=True):
            found[query] = result
            on_progress(len(found), len(queries))
            failures = failures + 1 if result.may_succeed_later else 0
            if failures == _MAX_FAILURES_IN_A_ROW:
                break
    return {query: found.get(query, _SKIPPED) for query in queries}


def _unchanged(row: Row) -> Row:
    """A row with a text; columns of an earlier look-up keep their values."""
    defaults = {TEXT_FROM: GIVEN, TEXT_URL: "", KNOWN_GENRES: [], NOTE: ""}
    return {**row, **{name: row.get(name) or default for name, default in defaults.items()}}


def _row(row: Row, names: EnrichColumns, result: LookupResult, query: FilmQuery) -> tuple[Row, str]:
    """A row with the added columns, and its outcome."""
    if film := result.film:
        note = f"{film.title} ({film.year})" if film.year else film.title
        note += f", the most popular of {film.same_title}" if film.same_title > 1 else ""
        source = {TEXT_FROM: f"{film.provider}: {film.plot_from}", TEXT_URL: film.url, KNOWN_GENRES: list(film.genres)}
        return {**row, names.text: film.plot, **source, NOTE: note}, f"found by {film.provider}"
    old = placeholder(_word(row.get(names.text)))
    note = (f"the text was {old!r}; " if old else "") + result.reason
    return {**row, names.text: "", TEXT_FROM: "", TEXT_URL: "", KNOWN_GENRES: [], NOTE: note}, _outcome(result, query)


def _outcome(result: LookupResult, query: FilmQuery) -> str:
    """Why there is no film, for the counts."""
    if not query.title:
        return "without a title"
    if result.may_succeed_later:
        return "without an answer"
    kinds = [attempt.failure.kind for attempt in result.attempts]
    return next((outcome for kind, outcome in _OUTCOMES.items() if kind in kinds), "not found")


def _word(value: Any) -> str:
    return "" if value is None or value != value else str(value).strip()


_OUTCOMES: Mapping[str, str] = {
    "ambiguous": "ambiguous: several films of the title",
    "no_plot": "found, but without a plot",
    "not_found": "not found",
    "refused": "refused: see column lookup_note",
    "unreadable": "unreadable: see column lookup_note",
}
