"""Fine-tunes a transformer with transformers' ``Trainer``: losses, freezing, oversampling, early stopping, bf16."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from eval.baselines.data import Split, TrainingData
from eval.baselines.early_stopping import Steps, StopAfter
from eval.baselines.linear_probe import fit_head
from eval.baselines.losses import LOSSES, Counts, length_weighted_cross_entropy
from eval.baselines.mlp import to_probabilities, validation_score
from eval.baselines.oversample import oversampled
from eval.baselines.torch_dataset import BatchLoss, Row, TrainingSet, collated, rows_of
from eval.baselines.transformer import Keep, Labeller, TokenWindow, Transformer, device, earlier, pretrained
from llm.embedded.matcher import SHIPPED
from llm.embedded.weights import load
from prompts.errors import InvalidSetting, UnknownName
from similarity.encoders.minilm import weights_folder
from similarity.encoders.precision import default_device, number_format
from similarity.encoders.sentence_transformer import changed

_MATCHER = "matcher"  # as a base
_HEAD_FASTER = 10  # the head starts from nothing, the encoder from what it knows
_WARM_UP = 0.06
_WEIGHT_DECAY = 0.01
_DROPOUT = 0.1
_SCORES = "validation scores"
_JUDGED: Mapping[str, Any] = {
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 1,
    "save_only_model": True,
    "load_best_model_at_end": True,
    "metric_for_best_model": "score",
    "greater_is_better": True,
}
_UNJUDGED: Mapping[str, Any] = {"eval_strategy": "no", "save_strategy": "no"}

Precision = Literal["auto", "bf16", "fp32"]


@dataclass(frozen=True)
class FineTuning:
    """What may be set.

    Attributes:
        base: encoder to start from: a folder, a name on the hub, or the folder of an earlier fine-tuning, whose head
            is kept where the labels are the same. Empty takes the MiniLM that the requirements installed, and
            ``matcher`` the same as the embedded classifier's training left it.
        loss: for several labels a text: ``bce``, ``two-valued``, ``log-weights`` or ``focal``.
        length_weight: λ of the length-weighted cross-entropy, for one label a text.
        last_layers: train only so many of the last layers, and the head; 0 trains all.
        linear_probe: learn the head over the encoder as it stands first, then both.
        oversample: clone training texts with rare labels.
        max_tokens: how much of a text is read.
        keep: of a longer text the ``head``, or ``head-tail``.
        epochs: at most so many rounds.
        patience: rounds without a better validation score after which training stops.
        lr: learning rate of the encoder at its height; the head's is ten times that.
        batch_size: texts per step.
        precision: ``bf16``, ``fp32`` or ``auto``; see ``similarity.encoders.precision``.
    """

    base: str = ""
    loss: str = "bce"
    length_weight: float = 0.0
    last_layers: int = 0
    linear_probe: bool = False
    oversample: bool = False
    max_tokens: int = 256
    keep: Keep = "head"
    epochs: int = 5
    patience: int = 2
    lr: float = 1e-4
    batch_size: int = 32
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise UnknownName("loss", self.loss, LOSSES)
        for name, allowed in (("keep", get_args(Keep)), ("precision", get_args(Precision))):
            if getattr(self, name) not in allowed:
                raise InvalidSetting(f"{name} is {getattr(self, name)!r}; give one of {', '.join(allowed)}")
        for name, least in (("max_tokens", 4), ("epochs", 1), ("patience", 1), ("batch_size", 1), ("last_layers", 0)):
            if getattr(self, name) < least:
                raise InvalidSetting(f"{name} is {getattr(self, name)}; give {least} or more")
        if self.lr <= 0 or self.length_weight < 0:
            raise InvalidSetting("lr must be above 0, and length_weight not below")


@dataclass(frozen=True)
class DistilBert(FineTuning):
    """The same, from DistilBERT (Sanh et al. 2019, arXiv 1910.01108)."""

    base: str = "distilbert-base-uncased"
    lr: float = 5e-5


def fit(material: TrainingData, settings: FineTuning) -> Transformer:
    """Fine-tune, and keep the weights of the round with the best validation score."""
    start = _begin(material, settings)
    judged = rows_of(material.validation.judged(), start.tokeniser, start.reading)
    trainer = _trainer(start, material, settings, judged)
    trainer.add_callback(EarlyStoppingCallback(settings.patience))
    trainer.train()
    history = [round(float(one["eval_score"]), 6) for one in trainer.state.log_history if "eval_score" in one]
    return start.taught(material, {_SCORES: history, "bf16": bool(trainer.args.bf16)})


def again(material: TrainingData, settings: FineTuning, notes: Mapping[str, Any]) -> Transformer:
    """Fine-tune as an earlier training did up to its best round; nothing is judged on the way."""
    start = _begin(material, settings)
    rounds = int(np.argmax(notes[_SCORES])) + 1
    trainer = _trainer(start, material, settings)
    trainer.add_callback(StopAfter(rounds))
    trainer.train()
    return start.taught(material, {"rounds": rounds, "bf16": bool(trainer.args.bf16)})


@dataclass(frozen=True)
class _Start:
    """What a training begins with; ``kept`` tells whether its head is an earlier one's."""

    model: Labeller
    tokeniser: Any
    reading: TokenWindow
    course: TrainingSet
    kept: bool

    def taught(self, material: TrainingData, notes: Mapping[str, object]) -> Transformer:
        """The same after the training."""
        told = {"head kept": self.kept, **notes}
        return Transformer(self.model, self.tokeniser, self.reading, material.taxonomy.multi, told, threading.Lock())


class LabelTrainer(Trainer):
    """``Trainer`` with our losses.

    Args:
        loss: of logits and what was collated with them.
    """

    def __init__(self, *, loss: BatchLoss, **others: Any) -> None:
        super().__init__(**others)
        self._loss = loss

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch, and its logits where they are asked for."""
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).float()
        loss = self._loss(logits, inputs)
        return (loss, {"logits": logits}) if return_outputs else loss


def _begin(material: TrainingData, settings: FineTuning) -> _Start:
    _refuse_incoherent(settings, material.taxonomy.multi)
    set_seed(material.seed)
    encoder, tokeniser, head = _base(settings.base, material.taxonomy.names)
    model = Labeller(encoder, len(material.taxonomy.names), _DROPOUT).to(device())
    _refuse_too_long(settings, encoder)
    _start_head(model, head, material)
    _freeze(model, settings.last_layers)
    reading = TokenWindow(settings.max_tokens, settings.keep)
    course = _course(material, tokeniser, reading, settings)
    if settings.linear_probe:
        fit_head(model, course, material.track)
    return _Start(model, tokeniser, reading, course, head is not None)


def _course(material: TrainingData, tokeniser: Any, reading: TokenWindow, settings: FineTuning) -> TrainingSet:
    train = material.train
    if settings.oversample:
        train = train.take(oversampled(train.truth, material.seed))
    collate = partial(collated, fill=tokeniser.pad_token_id)
    return TrainingSet(rows_of(train, tokeniser, reading), collate, _loss(train, material.taxonomy.multi, settings))


def _loss(train: Split, multi: bool, settings: FineTuning) -> BatchLoss:
    if not multi:
        weight = settings.length_weight
        return lambda logits, batch: length_weighted_cross_entropy(logits, batch["labels"], batch["lengths"], weight)
    each = LOSSES[settings.loss](Counts(torch.from_numpy(train.truth.sum(axis=0)).float(), len(train)))
    return lambda logits, batch: each(logits, batch["labels"], batch["known"])


def _trainer(
    start: _Start, material: TrainingData, settings: FineTuning, judged: Sequence[Row] | None = None
) -> LabelTrainer:
    taxonomy = material.taxonomy

    def score(found: EvalPrediction) -> dict[str, float]:
        scores = to_probabilities(torch.from_numpy(np.asarray(found.predictions)), taxonomy.multi)
        truth = np.asarray(found.label_ids) > 0  # in the order of the predictions, which go by length
        return {"score": validation_score(scores, truth, taxonomy.max_labels, taxonomy.multi)}

    trainer = LabelTrainer(
        loss=start.course.loss,
        model=start.model,
        args=_arguments(material, settings, _UNJUDGED if judged is None else _JUDGED),
        data_collator=start.course.collate,
        train_dataset=start.course.rows,
        eval_dataset=judged,
        compute_metrics=score,
        callbacks=[Steps(material.track)],
        optimizers=(_optimiser(start.model, settings.lr), None),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(material: TrainingData, settings: FineTuning, judging: Mapping[str, Any]) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(material.scratch),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=4 * settings.batch_size,
        warmup_steps=_WARM_UP,
        train_sampling_strategy="group_by_length",
        bf16=number_format(default_device(), settings.precision) == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        label_names=["labels"],
        remove_unused_columns=False,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=material.seed,
        **judging,
    )


def _optimiser(model: Labeller, lr: float) -> torch.optim.AdamW:
    """Biases and norms are not decayed."""
    encoder = [one for one in model.encoder.parameters() if one.requires_grad]
    groups = [
        {"params": [one for one in encoder if one.ndim > 1], "weight_decay": _WEIGHT_DECAY},
        {"params": [one for one in encoder if one.ndim < 2], "weight_decay": 0.0},
        {"params": list(model.head.parameters()), "lr": _HEAD_FASTER * lr, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr)


def _base(base: str, labels: Sequence[str]) -> tuple[nn.Module, Any, dict[str, Tensor] | None]:
    """Encoder, tokeniser, and the head where an earlier training left one for these labels."""
    if base == _MATCHER:
        encoder, tokeniser = pretrained(weights_folder())
        return changed(encoder, load(SHIPPED).changes), tokeniser, None
    folder, head = earlier(base or weights_folder(), labels)
    return *pretrained(folder), head


def _start_head(model: Labeller, head: dict[str, Tensor] | None, material: TrainingData) -> None:
    """An earlier head, or one that begins by answering with the labels' frequencies."""
    if head is not None:
        model.head.load_state_dict(head)
        return
    shares = torch.from_numpy(material.train.frequencies).float()
    with torch.no_grad():
        model.head.weight.normal_(std=0.02)
        model.head.bias.copy_(torch.logit(shares) if material.taxonomy.multi else shares.log())


def _freeze(model: Labeller, last_layers: int) -> None:
    """All of the encoder but its last layers, the embeddings included; 0 freezes nothing."""
    if not last_layers:
        return
    model.encoder.requires_grad_(False)
    for layer in list(model.layers())[-last_layers:]:
        layer.requires_grad_(True)


def _refuse_incoherent(settings: FineTuning, multi: bool) -> None:
    if multi and settings.length_weight:
        raise InvalidSetting("length_weight is for taxonomies of one label a text; leave it out")
    if not multi and settings.loss != "bce":
        raise InvalidSetting(f"loss {settings.loss} is for several labels a text; leave it out")


def _refuse_too_long(settings: FineTuning, encoder: nn.Module) -> None:
    most = getattr(encoder.config, "max_position_embeddings", settings.max_tokens)
    if settings.max_tokens > most:
        raise InvalidSetting(f"max_tokens is {settings.max_tokens}, but this encoder reads {most} at most")


SETTINGS: Mapping[str, type[FineTuning]] = {"minilm": FineTuning, "distilbert": DistilBert}
