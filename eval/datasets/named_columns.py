"""Tables of named columns: one row a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from eval.datasets.cell import flag_in, labels_in, word_in
from eval.datasets.fields import Fields
from eval.datasets.record import Record, Records
from eval.datasets.tables import MISFIT, Row
from prompts.errors import InvalidDataset
from prompts.text import Text


def reader(rows_of: Callable[[Path], Iterable[Row]]) -> Callable[[Path, Fields], Records]:
    """A loader for files whose rows the function gives.

    Columns by default: ``description``, ``genres``, ``id`` (or else the row's number); and, where they are there,
    ``title``, ``year``, ``split``, ``complete_labels``, ``truncated`` and ``interests``. A column of labels that was
    named need not stand in every line of JSON: a line without it has no labels.
    """

    def read(path: Path, fields: Fields) -> Records:
        rows = _with_gaps(list(rows_of(path)), fields.labels)
        return Records(tuple(record(row, where, number, fields) for number, (where, row) in enumerate(rows, 1)))

    return read


def _with_gaps(rows: Sequence[Row], labels: str | None) -> Sequence[Row]:
    if labels and any(labels in row for _, row in rows):
        for _, row in rows:
            row.setdefault(labels, None)
    return rows


def record(row: dict[str, Any], where: str, number: int, fields: Fields) -> Record:
    """One row; an id that the table does not have is its number, from 1.

    Raises:
        InvalidDataset: a missing column, too many or too few cells, or a cell that cannot be read.
    """
    _whole(row, where)
    title = cell(row, fields.title or "title", where, wanted=fields.title is not None)
    try:
        return Record(
            where,
            id=word_in(cell(row, fields.id or "id", where, wanted=fields.id is not None)) or str(number),
            text=Text(word_in(cell(row, fields.text or "description", where)), word_in(title) if fields.title else ""),
            labels=labels_in(cell(row, _labels(fields), where)) if _labels(fields) else (),
            title=word_in(title),
            year=word_in(row.get("year")).removesuffix(".0"),  # pandas writes years beside gaps so
            split=word_in(row.get("split")),
            complete=flag_in(row.get("complete_labels"), default=True),
            truncated=flag_in(row.get("truncated"), default=False),
            extra=_extra(row),
        )
    except ValueError as error:
        raise InvalidDataset(f"{where}: {error}") from None


def cell(row: dict[str, Any], column: str, where: str, wanted: bool = True) -> Any:
    """A cell of a row; None where the column is not there and need not be.

    Raises:
        InvalidDataset: no such column.
    """
    if wanted and column not in row:
        raise InvalidDataset(f"{where}: no column {column!r}; columns: {', '.join(name for name in row if name)}")
    return row.get(column)


def _labels(fields: Fields) -> str:
    return "genres" if fields.labels is None else fields.labels


def _whole(row: dict[str, Any], where: str) -> None:
    if MISFIT in row:
        raise InvalidDataset(
            f"{where}: {row[MISFIT]} cells where the first line names {len(row) - 1}; "
            "put quotes around cells that hold a separator or a line break"
        )


def _extra(row: dict[str, Any]) -> tuple[str, ...]:
    found = labels_in(row.get("interests"))
    return (found,) if isinstance(found, str) and found else tuple(found)
