"""Names and types of the columns to write: what CSV and Parquet must know before the first row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from prompts.errors import InvalidDataset
from tabular.parquet import Cells, ColumnBatch
from tabular.row import Row
from tabular.table import Table

if TYPE_CHECKING:
    import pyarrow

_EXACT = 2**53  # up to here every whole number is a float of its own


class Schema:
    """Gathers columns from tables and rows.

    Args:
        reserved: names that the rows may not have, since columns of these names will be added.
    """

    def __init__(self, reserved: Collection[str] = ()) -> None:
        self._reserved = frozenset(reserved)
        self._types: dict[str, set[pyarrow.DataType]] = {}
        self._kinds: dict[str, set[str]] = {}
        self._batch: ColumnBatch | None = None

    @classmethod
    def of(cls, tables: Iterable[Table], reserved: Collection[str] = ()) -> Schema:
        """The schema of some tables. Text files are read to their end; Parquet says its types.

        Raises:
            InvalidDataset: a table that cannot be read, or has a reserved column.
        """
        schema = cls(reserved)
        for table in tables:
            schema.add(table)
        return schema

    def add(self, table: Table) -> None:
        """Take note of a table.

        Raises:
            InvalidDataset: it cannot be read, or has a reserved column.
        """
        self._add_types(table.types, table.path.name)
        if table.kind != "parquet":
            for row in table.rows():
                self.add_row(row)

    def add_row(self, row: Row) -> None:
        """Take note of a row.

        Raises:
            InvalidDataset: it has a reserved column.
        """
        if isinstance(row.cells, Cells):
            if row.cells.batch is not self._batch:
                self._batch = row.cells.batch
                self._add_types({name: column.type for name, column in self._batch.arrays.items()}, row.where)
            return
        for name, cell in row.cells.items():
            (self._kinds.get(name) or self._column(name, row.where)).add(_kind(cell))

    @property
    def names(self) -> list[str]:
        """The columns, in the order in which they were seen."""
        return list(self._kinds)

    def types(self) -> dict[str, pyarrow.DataType]:
        """Arrow's types of the columns. What has no one type is written as JSON, in text."""
        return {name: self._type(name, seen - {"none"}) for name, seen in self._kinds.items()}

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

    def _type(self, name: str, seen: set[str]) -> pyarrow.DataType:
        import pyarrow

        told = self._types.get(name, set())
        if len(told) == 1 and seen <= {_kind_of_type(next(iter(told)))}:
            return next(iter(told))
        if seen == {"int", "float"}:
            return pyarrow.float64()
        if seen and seen <= {"int", "large"}:
            return pyarrow.int64()
        one = next(iter(seen)) if len(seen) == 1 else ""
        kinds = {"bool": pyarrow.bool_(), "float": pyarrow.float64(), "strs": pyarrow.list_(pyarrow.string())}
        return kinds.get(one, pyarrow.string())


def _kind(cell: Any) -> str:
    if isinstance(cell, list | tuple):
        return "strs" if all(isinstance(one, str) for one in cell) else "other"
    if isinstance(cell, int) and not isinstance(cell, bool):
        return "int" if abs(cell) <= _EXACT else "large" if -(2**63) <= cell < 2**63 else "other"
    return _KINDS.get(type(cell), "other")


def _kind_of_type(arrow: pyarrow.DataType) -> str:
    """The kind of the values of a type, for a column that other files have too."""
    import pyarrow.types as types

    if types.is_integer(arrow):
        return "int" if arrow.bit_width <= 32 else "large"
    checks = {"none": types.is_null, "bool": types.is_boolean, "float": types.is_floating, "str": types.is_string}
    return next((kind for kind, is_kind in checks.items() if is_kind(arrow)), str(arrow))


_KINDS: Mapping[type, str] = {type(None): "none", bool: "bool", float: "float", str: "str"}
