"""Tables with named columns, one row a text; and rows of a Python program as such a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from eval.datasets.example import Fields, Record, Records
from prompts.errors import InvalidDataset
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from tabular import Row, open_table, strict_rows
from tabular.cells import NotText, flag_in, labels_in, split_labels, text_in, word_in
from tabular.writing import write_table

_OPTIONAL = ("title", "year", "split", "complete_labels", "truncated", "interests")


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
    """A cell of a row; None if an optional column is missing, ``InvalidDataset`` if a required one is."""
    if required and column not in cells:
        raise InvalidDataset(f"{where}: no column {column!r}; columns: {', '.join(cells)}")
    return cells.get(column)


def valid_cells(row: Row) -> Mapping[str, Any]:
    """The cells of a row; raises ``InvalidDataset`` if it has a problem."""
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


def as_file(data: Any, test: Any, path: Path, fields: Fields) -> tuple[Path, Fields]:
    """A file of the data, and the names of its columns; the path of a file without ``test`` is returned as it is.

    Data is a DataFrame, a list of dicts, or the path of a file. With ``test``, in the same form, it is the part
    ``train``. Rows without ids get the index of the DataFrame, or their number. The file at ``path`` is JSON lines.

    Raises:
        InvalidDataset: no rows, something else than rows, or a missing column.
    """
    if test is None and isinstance(data, str | Path):
        return Path(data), fields
    named = replace(fields, text=fields.text or "description", labels=fields.labels or "genres")
    rows = _rows(data, named)
    if test is not None:
        learned = [{**row, "id": f"train {row['id']}", "split": "train"} for row in rows]
        rows = [*learned, *({**row, "split": "test"} for row in _rows(test, named))]
    write_table(path, rows)
    return path, replace(named, id="id")


def taxonomy_in(rows: Iterable[Record]) -> Taxonomy:
    """A taxonomy of the labels that occur in rows, sorted; for one label per text where no row has more.

    Raises:
        InvalidTaxonomy: no row has a label, or two labels differ only in case or punctuation.
    """
    found = [split_labels(row.labels, lambda spelling: None) for row in rows]
    names = sorted({name for names in found for name in names})
    return Taxonomy.of(names, name="labels", multi=any(len(set(names)) > 1 for names in found))


def check_columns(columns: list[str], named: dict[str, str | None]) -> None:
    """Raise ``InvalidDataset`` if a column of ``named`` (column by argument) is neither None nor in the table."""
    for argument, name in named.items():
        if name is not None and name not in columns:
            close = get_close_matches(name, columns, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise InvalidDataset(f"{argument}={name!r}: there is no such column; {hint}columns: {', '.join(columns)}")


def _rows(data: Any, fields: Fields) -> list[dict[str, Any]]:
    """The cells that evaluations read, with an ``id`` in each row."""
    rows, columns, ids = _table(data)
    if not rows:
        raise InvalidDataset("data has no rows; give at least one labelled text")
    check_columns(columns, {"text": fields.text, "labels": fields.labels, "title": fields.title, "id": fields.id})
    own = fields.id or ("id" if "id" in columns else None)
    kept = [name for name in dict.fromkeys((fields.text, fields.labels, fields.title, *_OPTIONAL)) if name in columns]
    return [
        {**{name: _value(row.get(name)) for name in kept if name}, "id": str(row[own] if own else number)}
        for row, number in zip(rows, ids, strict=True)
    ]


def _table(data: Any) -> tuple[Sequence[Mapping[str, Any]], list[str], Sequence[Any]]:
    """Rows, names of columns, and what identifies a row without an id."""
    if hasattr(data, "to_dict") and hasattr(data, "columns"):
        rows = [{str(name): cell for name, cell in row.items()} for row in data.to_dict("records")]
        ids = list(data.index) if data.index.is_unique else range(1, len(rows) + 1)
        return rows, [str(name) for name in data.columns], ids
    if isinstance(data, str | Path):
        data = [row.cells for row in strict_rows(Path(data))]
    if isinstance(data, Mapping) or not isinstance(data, Iterable):
        raise InvalidDataset(
            f"data is a {type(data).__name__}; give a DataFrame, a list of dicts, or the path of a file"
        )
    rows = list(data)
    if wrong := next((row for row in rows if not isinstance(row, Mapping)), None):
        raise InvalidDataset(f"data holds a {type(wrong).__name__}; give a list of dicts, one per text")
    return rows, list(dict.fromkeys(name for row in rows for name in row)), range(1, len(rows) + 1)


def _value(cell: Any) -> Any:
    """A cell as JSON takes it: arrays and sets are lists, missing values are None."""
    if hasattr(cell, "tolist"):  # an array or a scalar of numpy
        cell = cell.tolist()
    if isinstance(cell, set | frozenset):
        return sorted(cell)
    if isinstance(cell, list | tuple | dict):
        return cell
    missing = cell is None or type(cell).__name__ in ("NAType", "NaTType") or cell != cell
    return None if missing else cell
