"""What a step of a corpus is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.config import Config
from lookup.lookup import Lookup
from tabular import whole_rows
from tabular.writing import write_table

Row = Mapping[str, Any]

MERGED, CLEANED, ENRICHED = "merged.jsonl", "cleaned.jsonl", "enriched.jsonl"
PLOTS, FIGURES, TABLE, SENTENCES = "explore.html", "explore.json", "clean.csv", "corpus.conllu"


@dataclass(frozen=True)
class StepContext:
    """What a step is given.

    Attributes:
        config: how the corpus is made.
        lookup: who is asked for missing texts.
        told: is given the number of rows done and of all, now and then.
    """

    config: Config
    lookup: Lookup
    on_progress: Callable[[int, int], object] = lambda done, total: None

    def path(self, name: str) -> Path:
        """A file of the corpus."""
        return self.config.out / name

    def read(self, name: str) -> list[dict[str, Any]]:
        """The rows of a file of the corpus."""
        return [dict(row.cells) for row in whole_rows(self.path(name))]

    def write(self, name: str, rows: Sequence[Row]) -> None:
        """Write a file of the corpus in one step; its columns are those of its rows."""
        write_table(self.path(name), rows)


@dataclass(frozen=True)
class StepResult:
    """What a step did.

    Attributes:
        counts: in words and numbers.
        unfinished: rows that the same step may do better next time.
    """

    counts: Mapping[str, int]
    unfinished: int = 0
