"""Trained baselines for comparison with language models. A loaded baseline is a ``Classifier``."""

from eval.baselines.registry import BASELINES, Baseline, load
from eval.baselines.trained import Trained
from eval.baselines.training import TrainingPlan, train

__all__ = ["BASELINES", "Baseline", "Trained", "TrainingPlan", "load", "train"]
