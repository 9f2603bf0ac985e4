"""Tables of named columns: one row a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.datasets.fields import Fields
from eval.datasets.record import Record, Records
from prompts.errors import InvalidDataset
from prompts.text import Text
from tabular import Row, open_table
from tabular.cells import NotText, flag_in, labels_in, text_in, word_in


def read(path: Path, fields: Fields) -> Records:
    """The rows of a table of any kind.

    Columns by default: ``description``, ``genres``, ``id`` (or else the row's number); and, where they are there,
    ``title``, ``year``, ``split``, ``complete_labels``, ``truncated`` and ``interests``. A column of labels that was
    named need not be in every line of JSON: a line without it has no labels. A row whose text is a list, an object,
    true or false is left out and counted.

    Raises:
        InvalidDataset: the file cannot be read, a missing column, or a row that cannot be read.
    """
    table = open_table(path, fields.dialect)
    if table.kind == "empty":
        raise InvalidDataset(f"{path.name} is empty: it holds no labelled example")
    rows = list(table.rows())
    has_gaps = bool(fields.labels) and any(fields.labels in row.cells for row in rows)
    found, left_out = list[Record](), Counter[str]()
    for number, row in enumerate(rows, 1):
        try:
            found.append(record(row, number, fields, has_gaps))
        except NotText as error:
            left_out[f"whose {error}"] += 1
    return Records(tuple(found), left_out)


def record(row: Row, number: int, fields: Fields, has_gaps: bool = False) -> Record:
    """One row; an id that the table does not have is its number, from 1.

    Args:
        row: of the table.
        number: of the row.
        fields: names of the columns.
        has_gaps: whether the column of labels may be missing.

    Raises:
        NotText: a text that is none.
        InvalidDataset: a missing column, too many or too few cells, or a cell that cannot be read.
    """
    cells, where = whole(row), row.where
    title = cell(cells, fields.title or "title", where, wanted=fields.title is not None)
    labels = "genres" if fields.labels is None else fields.labels
    text = Text(_text(cells, fields.text or "description", where), _text(cells, fields.title, where))
    try:
        return Record(
            where,
            id=word_in(cell(cells, fields.id or "id", where, wanted=fields.id is not None)) or str(number),
            text=text,
            labels=labels_in(cell(cells, labels, where, wanted=not has_gaps)) if labels else (),
            title=word_in(title),  # a film may be called None
            year=word_in(cells.get("year")).removesuffix(".0"),  # pandas writes years beside gaps so
            split=word_in(cells.get("split")),
            complete=flag_in(cells.get("complete_labels"), default=True),
            truncated=flag_in(cells.get("truncated"), default=False),
            extra=_extra(cells),
        )
    except ValueError as error:
        raise InvalidDataset(f"{where}: {error}") from None


def cell(cells: Mapping[str, Any], column: str, where: str, wanted: bool = True) -> Any:
    """A cell of a row; None where the column is not there and need not be.

    Raises:
        InvalidDataset: no such column.
    """
    if wanted and column not in cells:
        raise InvalidDataset(f"{where}: no column {column!r}; columns: {', '.join(cells)}")
    return cells.get(column)


def whole(row: Row) -> Mapping[str, Any]:
    """The cells of a row that has no problem.

    Raises:
        InvalidDataset: it has one.
    """
    if row.problem:
        is_misfit = " cells where " in row.problem
        advice = "; put quotes around cells that hold a separator or a line break" if is_misfit else ""
        raise InvalidDataset(f"{row.where}: {row.problem}{advice}")
    return row.cells


def _text(cells: Mapping[str, Any], column: str | None, where: str) -> str:
    try:
        return text_in(cell(cells, column, where)) if column else ""
    except NotText as error:
        raise NotText(f"{column} is {error}") from None


def _extra(cells: Mapping[str, Any]) -> tuple[str, ...]:
    found = labels_in(cells.get("interests"))
    return (found,) if isinstance(found, str) and found else tuple(found)
