"""Trained baselines: what a language model has to beat. Each is a ``Classifier`` once it is loaded."""

from eval.baselines.registry import BASELINES, Baseline, TrainingPlan, load, train
from eval.baselines.trained import Trained

__all__ = ["BASELINES", "Baseline", "Trained", "TrainingPlan", "load", "train"]
