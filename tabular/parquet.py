"""Rows of Parquet. A column is converted to Python values when one of its cells is first read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompts.errors import InvalidDataset
from tabular.reading import ReadPosition, Row, check_unique

if TYPE_CHECKING:
    import pyarrow

_ROWS_AT_ONCE = 1_024


class ColumnBatch:
    """A record batch whose columns are converted on demand.

    Attributes:
        arrays: Arrow's arrays by column.
    """

    def __init__(self, batch: pyarrow.RecordBatch) -> None:
        self.arrays: dict[str, pyarrow.Array] = dict(zip(batch.schema.names, batch.columns, strict=True))
        self._values: dict[str, list[Any]] = {}

    def values(self, name: str) -> list[Any]:
        """Python values of a column."""
        if name not in self._values:
            self._values[name] = _values(self.arrays[name])
        return self._values[name]


class ParquetCells(Mapping[str, Any]):
    """The cells of a row of Parquet: its batch, and its place there."""

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
    for convert in (column.to_pylist, lambda: column.cast("string").to_pylist()):
        with suppress(*_conversion_errors()):
            return list(convert())
    return [_value(scalar) for scalar in column]


def _value(scalar: pyarrow.Scalar) -> Any:
    with suppress(*_conversion_errors()):
        return scalar.as_py()
    return getattr(scalar, "value", None)  # of a time whose zone is unknown: its number


def _conversion_errors() -> tuple[type[Exception], ...]:
    import pyarrow

    return ValueError, OverflowError, TypeError, ImportError, pyarrow.ArrowException


def parquet_rows(path: Path, position: ReadPosition | None = None) -> Iterator[Row]:
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
            columns = ColumnBatch(batch)
            for place in range(batch.num_rows):
                number += 1
                yield Row(f"{path.name}, row {number}", ParquetCells(columns, place))


def parquet_types(path: Path) -> dict[str, pyarrow.DataType]:
    """Types of the columns by their names, in the order of the file.

    Raises:
        InvalidDataset: the file cannot be read, or has two columns of one name.
    """
    with _opened(path, lambda: 0) as file:
        schema = file.schema_arrow
        check_unique(schema.names, path.name)
        return dict(zip(schema.names, schema.types, strict=True))


@contextmanager
def _opened(path: Path, row: Callable[[], int]) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (OSError, pyarrow.ArrowException):
        after = f" after row {row():,}" if row() else ""
        raise InvalidDataset(
            f"cannot read {path} as Parquet{after}: it is damaged or cut off; fetch or write it again"
        ) from None
