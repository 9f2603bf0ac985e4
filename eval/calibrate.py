"""Learns how a reading's scores become labels, from validation texts, labelled or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eval.datasets import Example, Fields, load, sample, texts_of
from llm.cascade import Fitted, fit_margin
from llm.classifier import Classifier, Prediction
from llm.decision import Decision, Decisions, batch_calibration, default, fit
from llm.language_model import LanguageModel
from prompts.errors import InvalidDataset
from prompts.taxonomy import Taxonomy
from prompts.text import Text


def calibrate(
    model: LanguageModel,
    taxonomy: Taxonomy,
    path: Path,
    data: Path,
    split: str,
    limit: int,
    text_field: str,
    labels_field: str,
    unlabelled: bool,
) -> Decision:
    """Ask about the texts, learn from the scores, and keep what was learnt.

    Args:
        model: under the reading and prompt to calibrate.
        taxonomy: the vocabulary to calibrate for.
        path: file of learnt decisions.
        data: JSON lines.
        split: rows of this split only, where labelled rows have one; never give it the test split.
        limit: at most so many texts.
        text_field: column of the text.
        labels_field: column of the labels.
        unlabelled: learn a correction of bias without looking at labels.

    Raises:
        InvalidDataset: the file lacks what it should hold, or no text could be answered.
    """
    raw = LanguageModel(model.engine, model.reading, model.prompt, Decisions(), model.shots)
    competing = bool(raw.reading and raw.reading.competing)
    if unlabelled:
        texts = texts_of(data, text_field, limit)
        answered = _answered(raw.classify(texts, taxonomy), data)
        decision = batch_calibration([found.scores for found in answered], competing, default(competing).threshold)
    else:
        examples = sample(load(data, taxonomy, Fields(text_field, labels_field), split).examples, limit)
        texts = [example.text for example in examples]
        found = raw.classify(texts, taxonomy)
        _answered(found, data)
        pairs = [(one.scores, example.labels) for one, example in zip(found, examples, strict=True) if not one.problem]
        decision = fit([scores for scores, _ in pairs], [labels for _, labels in pairs], taxonomy)
    _keep(raw, texts, taxonomy, path, decision)
    return decision


def fit_cascade(
    small: Classifier, large: Classifier, taxonomy: Taxonomy, examples: Sequence[Example], loss: float
) -> Fitted:
    """The margin at which a small classifier's answers may stand, for a stated loss of micro-F1 on validation texts.

    Raises:
        InvalidDataset: the large classifier could answer no text.
    """
    texts = [example.text for example in examples]
    found = large.classify(texts, taxonomy)
    if all(one.problem for one in found):
        raise InvalidDataset(f"nothing to learn: {found[0].problem.detail if found[0].problem else ''}")
    return fit_margin(small.classify(texts, taxonomy), found, [example.labels for example in examples], loss)


def _answered(predictions: list[Prediction], data: Path) -> list[Prediction]:
    answered = [found for found in predictions if not found.problem]
    if not answered:
        why = predictions[0].problem.detail if predictions and predictions[0].problem else "it holds no text"
        raise InvalidDataset(f"nothing to learn from {data.name}: {why}")
    return answered


def _keep(model: LanguageModel, texts: list[Text], taxonomy: Taxonomy, path: Path, decision: Decision) -> None:
    for key in {model.decision_key(text, taxonomy) for text in texts}:
        Decisions(path).keep(key, decision)
