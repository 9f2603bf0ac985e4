"""Labelled examples from the files that people have; enter here."""

from eval.datasets.example import Example, LoadedDataset, sample
from eval.datasets.fields import Fields
from eval.datasets.loading import load, pool, texts_of
from eval.datasets.more_texts import more_texts

__all__ = ["Example", "Fields", "LoadedDataset", "load", "more_texts", "pool", "sample", "texts_of"]
