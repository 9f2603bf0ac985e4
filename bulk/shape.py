"""Which columns the rows of a source have, and of which kind: what a table must know before its first row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from prompts.errors import InvalidDataset

if TYPE_CHECKING:
    import pyarrow

_EXACT = 2**53  # up to here every whole number is a float of its own
ADDED = ("labels", "scores", "source", "problem")


class Shape:
    """Gathers columns from rows as they go by.

    Args:
        prefix: of the columns that will be added.
        arrow: types of columns, where a file tells them.
    """

    def __init__(self, prefix: str = "", arrow: Mapping[str, pyarrow.DataType] | None = None) -> None:
        self.added = tuple(prefix + name for name in ADDED)
        self._arrow = dict(arrow or {})
        self._kinds: dict[str, set[str]] = {}

    def saw(self, cells: Mapping[str, Any], where: str) -> None:
        """Take note of a row.

        Raises:
            InvalidDataset: it has a column of a name that is to be added.
        """
        for name, cell in cells.items():
            if name not in self._kinds:
                self._refuse(name, where)
                self._kinds[name] = set()
            self._kinds[name].add(_kind(cell))

    @property
    def names(self) -> list[str]:
        """The rows' own columns, in the order in which they were seen."""
        return list(self._kinds)

    def types(self) -> dict[str, pyarrow.DataType]:
        """Arrow types of the rows' own columns. What has no one type is written as JSON, in text."""
        import pyarrow

        kinds: Mapping[frozenset[str], pyarrow.DataType] = {
            frozenset(["bool"]): pyarrow.bool_(),
            frozenset(["int"]): pyarrow.int64(),
            frozenset(["large"]): pyarrow.int64(),
            frozenset(["int", "large"]): pyarrow.int64(),
            frozenset(["float"]): pyarrow.float64(),
            frozenset(["int", "float"]): pyarrow.float64(),
            frozenset(["strs"]): pyarrow.list_(pyarrow.string()),
        }
        return {
            name: self._arrow.get(name) or kinds.get(frozenset(seen - {"none"}), pyarrow.string())
            for name, seen in self._kinds.items()
        }

    def _refuse(self, name: str, where: str) -> None:
        if name in self.added:
            raise InvalidDataset(
                f"{where}: the rows have a column {name!r} already, which the output would add; give the added columns "
                "other names with --prefix, such as --prefix new_"
            )


def arrow_types(paths: Iterable[Any]) -> dict[str, pyarrow.DataType]:
    """Types of the columns that Parquet files tell, where all of them that have a column agree."""
    import pyarrow.parquet

    found: dict[str, set[pyarrow.DataType]] = {}
    for path in paths:
        for field in pyarrow.parquet.read_schema(path):
            found.setdefault(field.name, set()).add(field.type)
    return {name: next(iter(types)) for name, types in found.items() if len(types) == 1}


def _kind(cell: Any) -> str:
    if isinstance(cell, list):
        return "strs" if all(isinstance(one, str) for one in cell) else "other"
    if isinstance(cell, int) and not isinstance(cell, bool):
        return "int" if abs(cell) <= _EXACT else "large" if -(2**63) <= cell < 2**63 else "other"
    return _KINDS.get(type(cell), "other")


_KINDS: Mapping[type, str] = {type(None): "none", bool: "bool", float: "float", str: "str"}
