"""The metrics of several systems as a table: text, HTML, or a pandas DataFrame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from eval.run_metrics import RunMetrics

HEADLINE = ("micro-F1", "macro-F1", "Jaccard", "p50 ms", "texts/s", "USD per 1,000")


@dataclass(frozen=True)
class ResultsTable:
    """A table that prints itself, and shows itself in a notebook.

    Attributes:
        columns: names; the first column identifies the row.
        rows: cells in the order of ``columns``.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, found: Mapping[str, RunMetrics], names: Sequence[str] = HEADLINE) -> ResultsTable:
        """One row per system with the metrics of these names."""
        rows = tuple((spec, *(metrics.get(name) for name in names)) for spec, metrics in found.items())
        return cls(("system", *names), rows)

    def frame(self) -> Any:
        """A pandas DataFrame where pandas is installed, else the table itself."""
        try:
            import pandas
        except ImportError:
            return self
        return pandas.DataFrame(list(self.rows), columns=list(self.columns)).set_index(self.columns[0])

    def __str__(self) -> str:
        cells = [self.columns, *(tuple(map(written, row)) for row in self.rows)]
        widths = [
            max(0 if place == 0 else 9, *(len(row[place]) for row in cells)) for place in range(len(self.columns))
        ]
        lines = [
            "  ".join(f"{cell:{'>' if place else '<'}{widths[place]}}" for place, cell in enumerate(row))
            for row in cells
        ]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        rows = ("".join(f"<td>{escape(written(cell))}</td>" for cell in row) for row in self.rows)
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def written(value: Any) -> str:
    """A cell as people read it: three decimals, a dash where nothing was measured."""
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
