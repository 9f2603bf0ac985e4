"""Labelled examples from files of any known format."""

from eval.datasets.example import Example, Fields, LoadedDataset, sample
from eval.datasets.families import LoadedFamily, SuiteFamily, families
from eval.datasets.loading import DataParts, divide, load, pool, texts_of, texts_to_learn
from eval.datasets.named_columns import as_file, check_columns, taxonomy_in
from eval.datasets.split import more_texts

__all__ = [
    "DataParts",
    "Example",
    "Fields",
    "LoadedDataset",
    "LoadedFamily",
    "SuiteFamily",
    "as_file",
    "check_columns",
    "divide",
    "families",
    "load",
    "more_texts",
    "pool",
    "sample",
    "taxonomy_in",
    "texts_of",
    "texts_to_learn",
]
