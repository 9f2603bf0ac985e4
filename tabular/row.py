"""A row of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        where: file and line, or file and row of Parquet, for messages; the line on which the row begins.
        cells: value by column, in the order of the file. Parquet converts a column when it is first read.
        problem: why the row cannot be used; empty where it can.
    """

    where: str
    cells: Mapping[str, Any]
    problem: str = ""
