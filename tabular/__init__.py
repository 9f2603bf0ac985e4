"""Reads and writes tables: CSV, TSV, JSON lines, JSON and Parquet; the text formats also gzipped."""

from tabular.reading import ReadPosition, Row, TableDialect
from tabular.table import Table, column_names, open_table, strict_rows

__all__ = ["ReadPosition", "Row", "Table", "TableDialect", "column_names", "open_table", "strict_rows"]
