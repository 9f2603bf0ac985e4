"""Which columns are read: the ones named, or those whose names say what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from bulk.source import InputFiles
from prompts.errors import InvalidDataset
from prompts.text import Text
from tabular import Row
from tabular.cells import NotText, text_in

# The first of them that a table has is taken, in any case of letters.
GUESSES: Mapping[str, Sequence[str]] = {
    "text": ("description", "overview", "plot", "text", "synopsis", "summary", "body", "content", "review"),
    "title": ("title", "original_title"),
    "id": ("id", "imdb_id", "tmdb_id", "movie_id"),
}


@dataclass(frozen=True)
class TextColumns:
    """Names of the columns that are read; None where a table has no such column."""

    text: str | None
    title: str | None
    id: str | None

    def as_json(self) -> dict[str, str | None]:
        """As a manifest keeps it."""
        return asdict(self)

    def text_of(self, row: Row) -> Text:
        """What there is to label in a row.

        Raises:
            NotText: a cell that holds something else.
        """
        return Text(_words(row, self.text), _words(row, self.title))

    def name_of(self, row: Row) -> str:
        """What to call a row to people: its id, or where it stands."""
        found = row.cells.get(self.id) if self.id else None
        return row.where if found in (None, "") else str(found)


def columns_of(
    source: InputFiles, text: str | None = None, title: str | None = None, id: str | None = None
) -> TextColumns:
    """The columns of a source: those given by name, the others by ``GUESSES``; an empty name wants none.

    Raises:
        InvalidDataset: a column that is not there, or nothing to read.
    """
    there = source.named_columns()
    named = {"text": text, "title": title, "id": id}
    found = TextColumns(**{what: _column(what, given, there) for what, given in named.items()})
    if found.text is None and found.title is None:
        raise InvalidDataset(
            f"{source.given}: no column is named like a text ({', '.join(GUESSES['text'])}); name it with "
            f"--text-field; columns: {', '.join(there)}"
        )
    _check_every_file(source, found)
    return found


def _column(what: str, given: str | None, there: Sequence[str]) -> str | None:
    if given is not None:
        if given and given not in there:
            raise InvalidDataset(f"no column {given!r} for --{what}-field; columns: {', '.join(there)}")
        return given or None
    folded = {name.casefold(): name for name in reversed(there)}
    return next((folded[guess] for guess in GUESSES[what] if guess in folded), None)


def _check_every_file(source: InputFiles, columns: TextColumns) -> None:
    """A file without the column would only give rows without words; that is better told before anything is asked."""
    wanted = [name for name in (columns.text, columns.title) if name]
    for table in source.tables():
        there = table.columns if table.has_fixed_columns else []
        if there and (missing := next((name for name in wanted if name not in there), None)):
            raise InvalidDataset(
                f"{table.path} has no column {missing!r} as the first file has; leave it out or rename it"
            )


def _words(row: Row, column: str | None) -> str:
    try:
        return text_in(row.cells.get(column)) if column else ""
    except NotText as error:
        raise NotText(f"column {column!r} holds {error}") from None
