"""A table: its columns, and its rows as a stream. Enter here to read one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from prompts.errors import InvalidDataset
from tabular.content import Content, Kind, content_of
from tabular.dialect import Layout, TableDialect
from tabular.json_rows import json_columns, json_document, json_lines
from tabular.parquet import parquet_rows, parquet_types
from tabular.position import Position
from tabular.row import Row
from tabular.separated import layout_in, separated_columns, separated_rows

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class Table:
    """A file whose kind and columns are known.

    Attributes:
        path: the file.
        content: what it holds.
        columns: in their order; of JSON, those of the first hundred rows. None where the file is empty.
        types: Arrow's types of the columns of Parquet.
        layout: how the lines of separated values are cut.
    """

    path: Path
    content: Content
    columns: Sequence[str]
    types: Mapping[str, pyarrow.DataType] = field(default_factory=dict)
    layout: Layout = Layout(",")

    @property
    def kind(self) -> Kind:
        """How it is read."""
        return self.content.kind

    @property
    def has_fixed_columns(self) -> bool:
        """Whether no row has other columns."""
        return self.kind in ("separated", "parquet")

    def expect(self, *names: str) -> None:
        """See that the columns are there, before a row is read.

        Raises:
            InvalidDataset: the file is empty, or lacks one that no row can have.
        """
        if self.kind == "empty":
            raise InvalidDataset(f"{self.path.name} is empty: it holds no row")
        missing = [name for name in names if name not in self.columns]
        if missing and self.has_fixed_columns:
            known = ", ".join(self.columns)
            raise InvalidDataset(f"{self.path.name} has no column {missing[0]!r}; columns: {known}")

    def rows(self, position: Position | None = None) -> Iterator[Row]:
        """The rows in their order; one that cannot be used has a problem.

        Args:
            position: is kept up to date.

        Raises:
            InvalidDataset: the file cannot be read to its end; the message names the line or row.
        """
        if self.kind == "separated":
            yield from separated_rows(self.path, self.content, self.layout, position)
        elif self.kind == "jsonl":
            yield from json_lines(self.path, self.content, position)
        elif self.kind == "json":
            yield from json_document(self.path, self.content, position)
        elif self.kind == "parquet":
            yield from parquet_rows(self.path, position)


def open_table(path: Path, dialect: TableDialect = TableDialect()) -> Table:
    """A table of any kind, told by its first bytes.

    Args:
        path: the file.
        dialect: encoding and separator, where the user names them.

    Raises:
        InvalidDataset: no such file, no table, two columns of one name, or a file that cannot be read.
    """
    content = content_of(path, dialect)
    if content.kind == "parquet":
        types = parquet_types(path)
        return Table(path, content, list(types), types)
    if content.kind == "separated":
        layout = layout_in(path, content, dialect)
        return Table(path, content, separated_columns(path, content, layout), layout=layout)
    rows = Table(path, content, ()).rows()
    return Table(path, content, json_columns(rows))


def columns_in(path: Path, dialect: TableDialect = TableDialect()) -> Sequence[str]:
    """The columns of a file; none where it is no table."""
    try:
        return open_table(path, dialect).columns
    except InvalidDataset:
        return ()


def whole_rows(path: Path, dialect: TableDialect = TableDialect()) -> Iterator[Row]:
    """The rows of a table that must be right as a whole.

    Raises:
        InvalidDataset: the file cannot be read, or a row has a problem.
    """
    for row in open_table(path, dialect).rows():
        if row.problem:
            raise InvalidDataset(f"{row.where}: {row.problem}")
        yield row
