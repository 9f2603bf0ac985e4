"""Learns how a strategy's scores become labels, from validation texts, labelled or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eval.datasets import Example
from llm.classifier import Classifier, Prediction
from llm.language_model import LanguageModel
from llm.thresholds import LabelThreshold, ThresholdStore, batch_calibration, default, fit
from llm.wrappers.two_models import FittedMargin, fit_margin
from prompts.errors import InvalidDataset
from prompts.taxonomy import Taxonomy
from prompts.text import Text


def calibrate(
    model: LanguageModel, taxonomy: Taxonomy, path: Path, examples: Sequence[Example], origin: str
) -> LabelThreshold:
    """Ask about labelled texts, learn a threshold from the scores, and keep it.

    Args:
        model: under the strategy and prompt to calibrate.
        taxonomy: the taxonomy to calibrate for.
        path: file of learnt decisions.
        examples: of the validation split; never of the test split.
        origin: where they come from, for messages.

    Raises:
        InvalidDataset: no text could be answered.
    """
    raw = _raw(model)
    texts = [example.text for example in examples]
    found = raw.classify(texts, taxonomy)
    _answered(found, origin)
    pairs = [(one.scores, example.labels) for one, example in zip(found, examples, strict=True) if not one.problem]
    mutually_exclusive = raw.mutually_exclusive(taxonomy)
    decision = fit([scores for scores, _ in pairs], [labels for _, labels in pairs], taxonomy, mutually_exclusive)
    _keep(raw, texts, taxonomy, path, decision)
    return decision


def correct_bias(
    model: LanguageModel, taxonomy: Taxonomy, path: Path, texts: Sequence[Text], origin: str
) -> LabelThreshold:
    """Ask about texts without labels, learn from the scores what the model says of any text, and keep that.

    The arguments and errors are those of ``calibrate``.
    """
    raw = _raw(model)
    mutually_exclusive = raw.mutually_exclusive(taxonomy)
    answered = _answered(raw.classify(texts, taxonomy), origin)
    decision = batch_calibration(
        [found.scores for found in answered], mutually_exclusive, default(mutually_exclusive).threshold
    )
    _keep(raw, texts, taxonomy, path, decision)
    return decision


def fit_cascade(
    small: Classifier, large: Classifier, taxonomy: Taxonomy, examples: Sequence[Example], loss: float
) -> FittedMargin:
    """The margin at which a small classifier's answers may stand, for a stated loss of micro-F1 on validation texts.

    Raises:
        InvalidDataset: the large classifier could answer no text.
    """
    texts = [example.text for example in examples]
    found = large.classify(texts, taxonomy)
    if all(one.problem for one in found):
        raise InvalidDataset(f"nothing to learn: {found[0].problem.detail if found[0].problem else ''}")
    return fit_margin(small.classify(texts, taxonomy), found, [example.labels for example in examples], loss)


def _raw(model: LanguageModel) -> LanguageModel:
    """The same model before anything was learnt."""
    return LanguageModel(model.backend, model.strategy, model.prompt, ThresholdStore(), model.examples)


def _answered(predictions: list[Prediction], origin: str) -> list[Prediction]:
    answered = [found for found in predictions if not found.problem]
    if not answered:
        why = predictions[0].problem.detail if predictions and predictions[0].problem else "it holds no text"
        raise InvalidDataset(f"nothing to learn from {origin}: {why}")
    return answered


def _keep(
    model: LanguageModel, texts: Sequence[Text], taxonomy: Taxonomy, path: Path, decision: LabelThreshold
) -> None:
    for key in {model.threshold_key(text, taxonomy) for text in texts}:
        ThresholdStore(path).put(key, decision)
