"""A table of any format: its columns, and its rows as a stream. Schemas join the columns of several tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompts.errors import InvalidDataset
from tabular.csv_rows import csv_columns, csv_rows
from tabular.detection import detect_format
from tabular.reading import FileFormat, ReadPosition, Row, TableDialect
from tabular.typed_rows import ColumnBatch, ParquetCells, json_document, json_lines, parquet_rows, parquet_types

if TYPE_CHECKING:
    import pyarrow

_FIRST_ROWS = 100
_MAX_EXACT_FLOAT = 2**53  # up to here every integer is a float of its own


@dataclass(frozen=True)
class Table:
    """A file whose format and columns are known: of JSON, those of the first hundred rows; ``types`` are of Parquet."""

    path: Path
    format: FileFormat
    columns: Sequence[str]
    types: Mapping[str, pyarrow.DataType] = field(default_factory=dict)

    @property
    def has_fixed_columns(self) -> bool:
        """Whether no row has other columns."""
        return self.format.kind in ("csv", "parquet")

    def require(self, *names: str) -> None:
        """Raise ``InvalidDataset`` where the file is empty, or lacks a column that no row can have."""
        if self.format.kind == "empty":
            raise InvalidDataset(f"{self.path.name} is empty: it holds no row")
        missing = [name for name in names if name not in self.columns]
        if missing and self.has_fixed_columns:
            known = ", ".join(self.columns)
            raise InvalidDataset(f"{self.path.name} has no column {missing[0]!r}; columns: {known}")

    def rows(self, position: ReadPosition | None = None) -> Iterator[Row]:
        """The rows in their order; one that cannot be used has a problem. ``position`` is kept up to date.

        Raises:
            InvalidDataset: the file cannot be read to its end; the message names the line or row.
        """
        if self.format.kind == "csv":
            yield from csv_rows(self.path, self.format, position)
        elif self.format.kind == "jsonl":
            yield from json_lines(self.path, self.format, position)
        elif self.format.kind == "json":
            yield from json_document(self.path, self.format, position)
        elif self.format.kind == "parquet":
            yield from parquet_rows(self.path, position)


def open_table(path: Path, dialect: TableDialect = TableDialect()) -> Table:
    """A table of any format, detected from its first bytes.

    Raises:
        InvalidDataset: no such file, not a table, two columns of one name, or a file that cannot be read.
    """
    format = detect_format(path, dialect)
    if format.kind == "parquet":
        types = parquet_types(path)
        return Table(path, format, list(types), types)
    if format.kind == "csv":
        return Table(path, format, csv_columns(path, format))
    rows = islice(Table(path, format, ()).rows(), _FIRST_ROWS)
    return Table(path, format, list(dict.fromkeys(name for row in rows for name in row.cells)))


def column_names(path: Path) -> Sequence[str]:
    """The columns of a file; none where it is not a table."""
    try:
        return open_table(path).columns
    except InvalidDataset:
        return ()


def strict_rows(path: Path, dialect: TableDialect = TableDialect()) -> Iterator[Row]:
    """The rows of a table in which no row may have a problem.

    Raises:
        InvalidDataset: the file cannot be read, or a row has a problem.
    """
    for row in open_table(path, dialect).rows():
        if row.problem:
            raise InvalidDataset(f"{row.where}: {row.problem}")
        yield row


class Schema:
    """Names and types of the columns of tables and rows: CSV and Parquet need them before the first row.

    The rows may not have ``reserved`` columns, which will be added.
    """

    def __init__(self, reserved: Collection[str] = ()) -> None:
        self._reserved = frozenset(reserved)
        self._types: dict[str, set[pyarrow.DataType]] = {}
        self._kinds: dict[str, set[str]] = {}
        self._batch: ColumnBatch | None = None

    @classmethod
    def of(cls, tables: Iterable[Table], reserved: Collection[str] = ()) -> Schema:
        """The schema of tables; text files are read to their end.

        Raises:
            InvalidDataset: a table cannot be read, or has a reserved column.
        """
        schema = cls(reserved)
        for table in tables:
            schema._add_types(table.types, table.path.name)
            if table.format.kind != "parquet":
                for row in table.rows():
                    schema._add_cells(row.cells, row.where)
        return schema

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, Any]]) -> Schema:
        """The schema of the cells of rows."""
        schema = cls()
        for cells in rows:
            schema._add_cells(cells, "")
        return schema

    def _add_cells(self, cells: Mapping[str, Any], where: str) -> None:
        if isinstance(cells, ParquetCells):
            if cells.batch is not self._batch:
                self._batch = cells.batch
                self._add_types({name: column.type for name, column in self._batch.arrays.items()}, where)
            return
        for name, cell in cells.items():
            (self._kinds.get(name) or self._column(name, where)).add(_kind(cell))

    @property
    def names(self) -> list[str]:
        """The columns, in the order in which they were seen."""
        return list(self._kinds)

    def types(self) -> dict[str, pyarrow.DataType]:
        """Arrow's types of the columns; a column of several types is a string, with JSON in it."""
        return {name: self._type(name, kinds - {"none"}) for name, kinds in self._kinds.items()}

    def _add_types(self, types: Mapping[str, pyarrow.DataType], where: str) -> None:
        for name, arrow in types.items():
            self._column(name, where).add(_kind_of_type(arrow))
            self._types.setdefault(name, set()).add(arrow)

    def _column(self, name: str, where: str) -> set[str]:
        if name in self._reserved and name not in self._kinds:
            raise InvalidDataset(
                f"{where}: the rows have a column {name!r} already, which the output would add; give the added columns "
                "other names with --prefix, such as --prefix new_"
            )
        return self._kinds.setdefault(name, set())

    def _type(self, name: str, kinds: set[str]) -> pyarrow.DataType:
        import pyarrow

        declared = self._types.get(name, set())
        if len(declared) == 1 and kinds <= {_kind_of_type(next(iter(declared)))}:
            return next(iter(declared))
        if kinds == {"int", "float"}:
            return pyarrow.float64()
        if kinds and kinds <= {"int", "large"}:
            return pyarrow.int64()
        only = next(iter(kinds)) if len(kinds) == 1 else ""
        types = {"bool": pyarrow.bool_(), "float": pyarrow.float64(), "strings": pyarrow.list_(pyarrow.string())}
        return types.get(only, pyarrow.string())


def _kind(cell: Any) -> str:
    if isinstance(cell, list | tuple):
        return "strings" if all(isinstance(item, str) for item in cell) else "other"
    if isinstance(cell, int) and not isinstance(cell, bool):
        return "int" if abs(cell) <= _MAX_EXACT_FLOAT else "large" if -(2**63) <= cell < 2**63 else "other"
    return _KINDS.get(type(cell), "other")


def _kind_of_type(arrow: pyarrow.DataType) -> str:
    """The kind of the values of a type, for a column that other files have too."""
    import pyarrow.types as types

    if types.is_integer(arrow):
        return "int" if arrow.bit_width <= 32 else "large"
    checks = {"none": types.is_null, "bool": types.is_boolean, "float": types.is_floating, "str": types.is_string}
    return next((kind for kind, is_kind in checks.items() if is_kind(arrow)), str(arrow))


_KINDS: Mapping[type, str] = {type(None): "none", bool: "bool", float: "float", str: "str"}
