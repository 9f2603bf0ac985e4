"""Fine-tuning of a transformer with the ``Trainer`` of transformers: custom losses, freezing, oversampling, bf16."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from eval.baselines.losses import LOSSES, FineTuning, length_weighted_cross_entropy, oversampled
from eval.baselines.mlp import to_probabilities, validation_score
from eval.baselines.trained import Split, Track, TrainingData
from eval.baselines.transformer import (
    BatchLoss,
    EncoderClassifier,
    Row,
    TokenWindow,
    TrainingSet,
    Transformer,
    checkpoint,
    collated,
    device,
    fit_head,
    pretrained,
    rows_of,
)
from llm.embedded.matcher import SHIPPED
from llm.embedded.weights import load
from similarity.encoders.minilm import changed
from similarity.encoders.precision import default_device, number_format
from similarity.encoders.tokens import weights_folder

_MATCHER = "matcher"  # as ``base``
_HEAD_LR_FACTOR = 10  # the head starts at random, the encoder is pretrained
_WARM_UP = 0.06
_WEIGHT_DECAY = 0.01
_DROPOUT = 0.1
_SCORES = "validation scores"
_WITH_VALIDATION: Mapping[str, Any] = {
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 1,
    "save_only_model": True,
    "load_best_model_at_end": True,
    "metric_for_best_model": "score",
    "greater_is_better": True,
}
_WITHOUT_VALIDATION: Mapping[str, Any] = {"eval_strategy": "no", "save_strategy": "no"}


def fit(data: TrainingData, settings: FineTuning) -> Transformer:
    """Fine-tune, and keep the weights of the epoch with the best validation score."""
    scorer, training = _initial(data, settings)
    validation = rows_of(data.validation.complete_rows(), scorer.tokeniser, scorer.window)
    trainer = _trainer(scorer.model, training, data, settings, validation)
    trainer.add_callback(EarlyStoppingCallback(settings.patience))
    trainer.train()
    history = [round(float(entry["eval_score"]), 6) for entry in trainer.state.log_history if "eval_score" in entry]
    return replace(scorer, info={**scorer.info, _SCORES: history, "bf16": bool(trainer.args.bf16)})


def refit(data: TrainingData, settings: FineTuning, train_info: Mapping[str, Any]) -> Transformer:
    """Fine-tune as an earlier training did up to its best epoch, without validation."""
    scorer, training = _initial(data, settings)
    epochs = int(np.argmax(train_info[_SCORES])) + 1
    trainer = _trainer(scorer.model, training, data, settings)
    trainer.add_callback(StopAfter(epochs))
    trainer.train()
    return replace(scorer, info={**scorer.info, "rounds": epochs, "bf16": bool(trainer.args.bf16)})


def _initial(data: TrainingData, settings: FineTuning) -> tuple[Transformer, TrainingSet]:
    """The model to fine-tune, and the training texts."""
    settings.check_loss(data.taxonomy.multi)
    set_seed(data.seed)
    encoder, tokeniser, head = _base(settings.base, data.taxonomy.names)
    model = EncoderClassifier(encoder, len(data.taxonomy.names), _DROPOUT).to(device())
    settings.check_length(encoder.config)
    _initialise_head(model, head, data)
    _freeze(model, settings.last_layers)
    window, info = TokenWindow(settings.max_tokens, settings.keep), {"head kept": head is not None}
    training = _training_set(data, tokeniser, window, settings)
    if settings.linear_probe:
        fit_head(model, training, data.track)
    return Transformer(model, tokeniser, window, data.taxonomy.multi, info, threading.Lock()), training


class Steps(TrainerCallback):
    """Shows steps on a progress bar."""

    def __init__(self, track: Track) -> None:
        self._track = track
        self._steps: Iterator[int] = iter(())

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._steps = self._track(range(state.global_step, state.max_steps), "steps")
        next(self._steps, None)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        next(self._steps, None)


class StopAfter(TrainerCallback):
    """Stops after some epochs without changing the learning rate schedule."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def on_epoch_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        control.should_training_stop = round(state.epoch) >= self._epochs


class _LossTrainer(Trainer):
    """``Trainer`` with a custom loss."""

    def __init__(self, *, loss: BatchLoss, **others: Any) -> None:
        super().__init__(**others)
        self._loss = loss

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch, and its logits if requested."""
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).float()
        loss = self._loss(logits, inputs)
        return (loss, {"logits": logits}) if return_outputs else loss


def _trainer(
    model: EncoderClassifier,
    training: TrainingSet,
    data: TrainingData,
    settings: FineTuning,
    validation: Sequence[Row] | None = None,
) -> _LossTrainer:
    taxonomy = data.taxonomy

    def score(found: EvalPrediction) -> dict[str, float]:
        scores = to_probabilities(torch.from_numpy(np.asarray(found.predictions)), taxonomy.multi)
        truth = np.asarray(found.label_ids) > 0  # in the order of the predictions, which are sorted by length
        return {"score": validation_score(scores, truth, taxonomy.max_labels, taxonomy.multi)}

    trainer = _LossTrainer(
        loss=training.loss,
        model=model,
        args=_arguments(data, settings, _WITHOUT_VALIDATION if validation is None else _WITH_VALIDATION),
        data_collator=training.collate,
        train_dataset=training.rows,
        eval_dataset=validation,
        compute_metrics=score,
        callbacks=[Steps(data.track)],
        optimizers=(_optimiser(model, settings.lr), None),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(data: TrainingData, settings: FineTuning, evaluation: Mapping[str, Any]) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(data.scratch),
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
        seed=data.seed,
        **evaluation,
    )


def _optimiser(model: EncoderClassifier, lr: float) -> torch.optim.AdamW:
    """AdamW without weight decay of biases, norms and the head."""
    encoder = [one for one in model.encoder.parameters() if one.requires_grad]
    groups = [
        {"params": [one for one in encoder if one.ndim > 1], "weight_decay": _WEIGHT_DECAY},
        {"params": [one for one in encoder if one.ndim < 2], "weight_decay": 0.0},
        {"params": list(model.head.parameters()), "lr": _HEAD_LR_FACTOR * lr, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr)


def _training_set(data: TrainingData, tokeniser: Any, window: TokenWindow, settings: FineTuning) -> TrainingSet:
    train = data.train
    if settings.oversample:
        train = train.take(oversampled(train.truth, data.seed))
    collate = partial(collated, fill=tokeniser.pad_token_id)
    return TrainingSet(rows_of(train, tokeniser, window), collate, _loss(train, data.taxonomy.multi, settings))


def _loss(train: Split, multi: bool, settings: FineTuning) -> BatchLoss:
    if not multi:
        weight = settings.length_weight
        return lambda logits, batch: length_weighted_cross_entropy(logits, batch["labels"], batch["lengths"], weight)
    loss = LOSSES[settings.loss](torch.from_numpy(train.truth.sum(axis=0)).float(), len(train))
    return lambda logits, batch: loss(logits, batch["labels"], batch["known"])


def _base(base: str, labels: Sequence[str]) -> tuple[nn.Module, Any, dict[str, Tensor] | None]:
    """Encoder, tokeniser, and the head of an earlier training for the same labels."""
    if base == _MATCHER:
        encoder, tokeniser = pretrained(weights_folder())
        return changed(encoder, load(SHIPPED).changes), tokeniser, None
    folder, head = checkpoint(base or weights_folder(), labels)
    return *pretrained(folder), head


def _initialise_head(model: EncoderClassifier, head: dict[str, Tensor] | None, data: TrainingData) -> None:
    """Load an earlier head, or start with the label frequencies as biases."""
    if head is not None:
        model.head.load_state_dict(head)
        return
    shares = torch.from_numpy(data.train.frequencies).float()
    with torch.no_grad():
        model.head.weight.normal_(std=0.02)
        model.head.bias.copy_(torch.logit(shares) if data.taxonomy.multi else shares.log())


def _freeze(model: EncoderClassifier, last_layers: int) -> None:
    """Freeze the encoder and its embeddings except for the last layers; 0 freezes nothing."""
    if not last_layers:
        return
    model.encoder.requires_grad_(False)
    for layer in list(model.layers())[-last_layers:]:
        layer.requires_grad_(True)
