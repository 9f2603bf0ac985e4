"""Trained baselines: what a language model has to beat. Each is a ``Classifier`` once it is loaded."""

from eval.baselines.registry import BASELINES, Kind, Plan, load, train
from eval.baselines.trained import Trained

__all__ = ["BASELINES", "Kind", "Plan", "Trained", "load", "train"]
