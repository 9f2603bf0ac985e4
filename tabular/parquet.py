"""Rows of Parquet. A column is converted to Python values when a cell of it is read; the others stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompts.errors import InvalidDataset
from tabular.position import Position
from tabular.row import Row

if TYPE_CHECKING:
    import pyarrow

_ROWS_AT_ONCE = 1_024


class ColumnBatch:
    """Some rows by column.

    Attributes:
        arrays: as Arrow has them, by column.
    """

    def __init__(self, batch: pyarrow.RecordBatch) -> None:
        self.arrays: dict[str, pyarrow.Array] = dict(zip(batch.schema.names, batch.columns, strict=True))
        self._values: dict[str, list[Any]] = {}

    def values(self, name: str) -> list[Any]:
        """Python values of a column."""
        if name not in self._values:
            self._values[name] = _values(self.arrays[name])
        return self._values[name]


class Cells(Mapping[str, Any]):
    """The cells of a row of Parquet.

    Attributes:
        batch: that the row is of.
        place: of the row in it.
    """

    __slots__ = ("batch", "place")

    def __init__(self, batch: ColumnBatch, place: int) -> None:
        self.batch, self.place = batch, place

    def __getitem__(self, name: str) -> Any:
        return self.batch.values(name)[self.place]

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch.arrays)

    def __len__(self) -> int:
        return len(self.batch.arrays)

    def __contains__(self, name: object) -> bool:
        return name in self.batch.arrays


def _values(column: pyarrow.Array) -> list[Any]:
    """Python values of a column.

    A time in nanoseconds, and a date outside Python's range, are text; a duration in nanoseconds is a number.
    """
    import pyarrow

    if getattr(column.type, "unit", "") == "ns":
        column = column.cast("int64" if pyarrow.types.is_duration(column.type) else "string")
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, TypeError, ImportError, pyarrow.ArrowException):
        return _as_text(column)


def _as_text(column: pyarrow.Array) -> list[Any]:
    import pyarrow

    try:
        return list(column.cast("string").to_pylist())
    except pyarrow.ArrowException:
        return [_value(scalar) for scalar in column]


def _value(scalar: pyarrow.Scalar) -> Any:
    import pyarrow

    try:
        return scalar.as_py()
    except (ValueError, OverflowError, TypeError, ImportError, pyarrow.ArrowException):
        return getattr(scalar, "value", None)  # of a time whose zone is unknown: its number


def parquet_rows(path: Path, position: Position | None = None) -> Iterator[Row]:
    """The rows.

    Raises:
        InvalidDataset: the file cannot be read to its end.
    """
    number = 0
    with _opened(path, lambda: number) as file:
        size, count = path.stat().st_size, max(1, file.metadata.num_rows)
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            if position is not None:
                position.tell = lambda done=number: size * done // count  # type: ignore[misc]
            rows = ColumnBatch(batch)
            for place in range(batch.num_rows):
                number += 1
                yield Row(f"{path.name}, row {number}", Cells(rows, place))


def parquet_types(path: Path) -> dict[str, pyarrow.DataType]:
    """Types of the columns by their names, in the order of the file.

    Raises:
        InvalidDataset: the file cannot be read, or has two columns of one name.
    """
    with _opened(path, lambda: 0) as file:
        schema = file.schema_arrow
        _check_names(schema.names, path)
        return dict(zip(schema.names, schema.types, strict=True))


def _check_names(names: Sequence[str], path: Path) -> None:
    if twice := next((name for name in names if names.count(name) > 1), None):
        places = [str(place) for place, name in enumerate(names, 1) if name == twice]
        raise InvalidDataset(f"{path.name} has two columns {twice!r} (columns {' and '.join(places)}); rename one")


@contextmanager
def _opened(path: Path, done: Any) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (OSError, pyarrow.ArrowException):
        after = f" after row {done():,}" if done() else ""
        raise InvalidDataset(
            f"cannot read {path} as Parquet{after}: it is damaged or cut off; fetch or write it again"
        ) from None
