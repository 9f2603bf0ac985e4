"""Tables with named columns: one row a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.datasets.record import Fields, Record, Records
from prompts.errors import InvalidDataset
from prompts.text import Text
from tabular import Row, open_table
from tabular.cells import NotText, flag_in, labels_in, text_in, word_in


def read(path: Path, fields: Fields) -> Records:
    """The rows of a table of any kind.

    Default columns: ``description``, ``genres`` and ``id`` (else the row's number, from 1). Optional columns:
    ``title``, ``year``, ``split``, ``complete_labels``, ``truncated`` and ``interests``. A line of JSON may lack a
    label column that ``fields`` names: it has no labels. A row whose text is a list, an object, true or false is
    skipped and counted.

    Raises:
        InvalidDataset: the file cannot be read, a missing column, or a row that cannot be read.
    """
    table = open_table(path, fields.dialect)
    if table.format.kind == "empty":
        raise InvalidDataset(f"{path.name} is empty: it has no labelled example")
    rows = list(table.rows())
    may_lack_labels = bool(fields.labels) and any(fields.labels in row.cells for row in rows)
    found, skipped = list[Record](), Counter[str]()
    for number, row in enumerate(rows, 1):
        try:
            found.append(_record(row, number, fields, may_lack_labels))
        except NotText as error:
            skipped[f"whose {error}"] += 1
    return Records(tuple(found), skipped)


def _record(row: Row, number: int, fields: Fields, may_lack_labels: bool) -> Record:
    """One row.

    Raises:
        NotText: the text is a list, an object, true or false.
        InvalidDataset: a missing column, too many or too few cells, or a cell that cannot be read.
    """
    cells, where = valid_cells(row), row.where
    title = cell(cells, fields.title or "title", where, required=fields.title is not None)
    labels = "genres" if fields.labels is None else fields.labels
    text = Text(_text(cells, fields.text or "description", where), _text(cells, fields.title, where))
    try:
        interests = labels_in(cells.get("interests"))
        return Record(
            where,
            id=word_in(cell(cells, fields.id or "id", where, required=fields.id is not None)) or str(number),
            text=text,
            labels=labels_in(cell(cells, labels, where, required=not may_lack_labels)) if labels else (),
            title=word_in(title),  # a film may have the title "None"
            year=word_in(cells.get("year")).removesuffix(".0"),  # pandas writes 1999.0 in a column with gaps
            split=word_in(cells.get("split")),
            complete=flag_in(cells.get("complete_labels"), default=True),
            truncated=flag_in(cells.get("truncated"), default=False),
            extra=tuple(filter(None, [interests])) if isinstance(interests, str) else interests,
        )
    except ValueError as error:
        raise InvalidDataset(f"{where}: {error}") from None


def cell(cells: Mapping[str, Any], column: str, where: str, required: bool = True) -> Any:
    """A cell of a row; None if an optional column is missing.

    Raises:
        InvalidDataset: a required column is missing.
    """
    if required and column not in cells:
        raise InvalidDataset(f"{where}: no column {column!r}; columns: {', '.join(cells)}")
    return cells.get(column)


def valid_cells(row: Row) -> Mapping[str, Any]:
    """The cells of a row without a problem.

    Raises:
        InvalidDataset: the row has a problem.
    """
    if row.problem:
        is_misfit = " cells where " in row.problem
        advice = "; put quotes around cells that contain a separator or a line break" if is_misfit else ""
        raise InvalidDataset(f"{row.where}: {row.problem}{advice}")
    return row.cells


def _text(cells: Mapping[str, Any], column: str | None, where: str) -> str:
    try:
        return text_in(cell(cells, column, where)) if column else ""
    except NotText as error:
        raise NotText(f"{column} is {error}") from None
