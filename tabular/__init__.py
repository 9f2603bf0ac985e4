"""The one reader and the one writer of tables: CSV, TSV, JSON lines, JSON and Parquet; the text forms also gzipped."""

from tabular.dialect import TableDialect
from tabular.position import Position
from tabular.row import Row
from tabular.table import Table, columns_in, open_table, whole_rows

__all__ = ["Position", "Row", "Table", "TableDialect", "columns_in", "open_table", "whole_rows"]
