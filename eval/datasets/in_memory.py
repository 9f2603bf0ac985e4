"""Labelled rows of a Python program (a DataFrame, a list of dicts) as a file that the readers of data sets take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from eval.datasets.record import Fields, Record
from prompts.errors import InvalidDataset
from prompts.taxonomy import Taxonomy
from tabular import strict_rows
from tabular.cells import split_labels
from tabular.writing import write_table

_OPTIONAL = ("title", "year", "split", "complete_labels", "truncated", "interests")  # as in ``named_columns.read``


def as_file(data: Any, test: Any, path: Path, fields: Fields) -> tuple[Path, Fields]:
    """A file of the data, and the names of its columns; the path of a file without ``test`` is returned as it is.

    Args:
        data: a DataFrame, a list of dicts, or the path of a file.
        test: further data of the test part, in the same form; ``data`` is then the part ``train``.
        path: the JSON lines file to write.
        fields: names of the columns. Rows without ids get the index of the DataFrame, or their number.

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
    """Check that the named columns exist.

    Args:
        columns: of the table.
        named: column by argument; None is not checked.

    Raises:
        InvalidDataset: a column does not exist; the message has the columns that do.
    """
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
