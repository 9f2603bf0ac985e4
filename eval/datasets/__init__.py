"""Labelled examples from files of any known format."""

from eval.datasets.example import Example, LoadedDataset, sample
from eval.datasets.grouping import more_texts
from eval.datasets.in_memory import as_file, check_columns, taxonomy_in
from eval.datasets.loading import divide, load, pool, texts_of
from eval.datasets.record import Fields

__all__ = [
    "Example",
    "Fields",
    "LoadedDataset",
    "as_file",
    "check_columns",
    "divide",
    "load",
    "more_texts",
    "pool",
    "sample",
    "taxonomy_in",
    "texts_of",
]
