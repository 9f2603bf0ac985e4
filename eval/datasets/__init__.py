"""Labelled examples from the files that people have; enter here."""

from eval.datasets.example import Example, LoadedDataset, sample
from eval.datasets.fields import Fields
from eval.datasets.in_memory import as_file, check_columns, taxonomy_in
from eval.datasets.loading import load, pool, texts_of
from eval.datasets.more_texts import more_texts

__all__ = [
    "Example", "Fields", "LoadedDataset", "as_file", "check_columns", "load", "more_texts", "pool", "sample",
    "taxonomy_in", "texts_of",
]  # fmt: skip
