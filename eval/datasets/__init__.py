"""Labelled examples from the files that people have; enter here."""

from eval.datasets.example import Example, Loaded, sample
from eval.datasets.fields import Fields
from eval.datasets.loading import load, pool, texts_of

__all__ = ["Example", "Fields", "Loaded", "load", "pool", "sample", "texts_of"]
