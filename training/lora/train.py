"""Trains a LoRA adapter with ``peft`` and transformers' ``Trainer``; the loss is on the answers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainingArguments, set_seed

from eval.baselines.data import Track
from eval.baselines.finetune import Steps
from llm.backends.causal_lm import CausalLM
from training.lora.config import Hardware, LoraConfig
from training.lora.dataset import TrainingExample

_WARM_UP = 0.03
_BESIDE = ("README.md",)  # peft's form of a model card, with nothing filled in


@dataclass(frozen=True)
class LoraResult:
    """What a training came to.

    Attributes:
        losses: on the validation lessons, after each round; the weights kept are those of the lowest.
        steps: taken.
        trainable: weights of the adapter.
        peak_gb: the most GPU memory that was held, in 10^9 bytes; None without a GPU.
    """

    losses: list[float]
    steps: int
    trainable: int
    peak_gb: float | None


def with_adapter(causal: CausalLM, recipe: LoraConfig, means: Hardware, seed: int = 0) -> Any:
    """A peft model around a base; the base's own layers carry the adapter from then on.

    ``causal`` therefore answers with it. The adapter starts as zero: until it is trained, answers are the base's.
    """
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    set_seed(seed)  # the adapter's first weights are drawn at random
    network = causal.network
    if means.quantised is not None:
        prepare: Any = prepare_model_for_kbit_training
        network = prepare(network, use_gradient_checkpointing=recipe.checkpointing)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(network, config)


def learn(
    tuned: Any,
    lessons: Sequence[TrainingExample],
    validation: Sequence[TrainingExample],
    recipe: LoraConfig,
    means: Hardware,
    scratch: Path,
    seed: int,
    track: Track,
) -> LoraResult:
    """Train the adapter of a peft model; afterwards it has the weights of the round with the lowest validation loss.

    Args:
        tuned: what ``with_adapter`` gave.
        lessons: to learn from.
        validation: to stop by.
        recipe: how.
        means: on what.
        scratch: folder for what is thrown away afterwards.
        seed: of everything random.
        track: shows progress.
    """
    set_seed(seed)
    fill = tuned.config.pad_token_id or 0
    trainer = AnswerTrainer(
        model=tuned,
        args=_arguments(recipe, means, scratch, seed),
        data_collator=lambda rows: collated(rows, fill),
        train_dataset=_rows(lessons),
        eval_dataset=_rows(validation),
        callbacks=[EarlyStoppingCallback(recipe.patience), Steps(track)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    tuned.eval()
    tuned.config.use_cache = True
    losses = [round(float(one["eval_loss"]), 4) for one in trainer.state.log_history if "eval_loss" in one]
    trainable = sum(one.numel() for one in tuned.parameters() if one.requires_grad)
    peak = torch.cuda.max_memory_allocated() / 1e9 if means.device == "cuda" else None
    return LoraResult(losses, trainer.state.global_step, trainable, peak and round(peak, 2))


def save(tuned: Any, base: str, folder: Path) -> None:
    """Write the adapter's weights and configuration; the base is named, not copied."""
    tuned.peft_config["default"].base_model_name_or_path = base
    tuned.save_pretrained(folder, save_embedding_layers=False)
    for name in _BESIDE:
        (folder / name).unlink(missing_ok=True)


class AnswerTrainer(Trainer):
    """``Trainer`` with the loss of answers."""

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean of −ln p over the places of all answers; where several tokens are right, the mean over these."""
        targets, weights = inputs.pop("targets"), inputs.pop("weights")
        # The answers stand at the end of every row: the output layer need not see the messages, over which its
        # figures would take more memory than the whole model's activations.
        said = model(**inputs, use_cache=False, logits_to_keep=targets.shape[1] + 1)
        logprobs = said.logits[:, :-1].float().log_softmax(-1)
        loss = -(logprobs.gather(2, targets) * weights).sum() / weights.sum()
        return (loss, {}) if return_outputs else loss


def collated(rows: Sequence[dict[str, Any]], fill: int) -> dict[str, Tensor]:
    """Lessons as one batch, their ends in line.

    Args:
        rows: with ``input_ids`` (messages and answer) and ``said``.
        fill: token that stands before shorter rows; nothing attends to it.

    Returns:
        ``input_ids``, ``attention_mask`` and ``position_ids`` of shape (rows, tokens); ``targets`` and ``weights`` of
        shape (rows, places, right tokens): the answer's tokens at the last places, and how much each counts, so that a
        place's weights sum to 1, or to 0 where a row has no such place.
    """
    longest = max(len(row["input_ids"]) for row in rows)
    places = max(len(row["said"]) for row in rows)
    right = max(len(tokens) for row in rows for tokens in row["said"])
    ids = torch.full((len(rows), longest), fill)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    targets, weights = torch.zeros(len(rows), places, right, dtype=torch.long), torch.zeros(len(rows), places, right)
    for number, row in enumerate(rows):
        ids[number, longest - len(row["input_ids"]) :] = torch.tensor(row["input_ids"])
        mask[number, longest - len(row["input_ids"]) :] = 1
        for place, tokens in enumerate(row["said"], places - len(row["said"])):
            targets[number, place, : len(tokens)] = torch.tensor(tokens)
            weights[number, place, : len(tokens)] = 1 / len(tokens)
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "targets": targets, "weights": weights}


def _rows(lessons: Sequence[TrainingExample]) -> list[dict[str, Any]]:
    rows = [
        {"input_ids": [*lesson.asked, *(tokens[0] for tokens in lesson.said)], "said": lesson.said}
        for lesson in lessons
    ]
    return [row | {"length": len(row["input_ids"])} for row in rows]


def _arguments(recipe: LoraConfig, means: Hardware, scratch: Path, seed: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.at_once,
        per_device_eval_batch_size=recipe.at_once,
        gradient_accumulation_steps=recipe.parts,
        activation_checkpointing=recipe.checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if recipe.checkpointing else None,
        learning_rate=recipe.lr,
        lr_scheduler_type="cosine",
        warmup_steps=_WARM_UP,
        weight_decay=0.0,
        train_sampling_strategy="group_by_length",
        bf16=means.dtype == "bfloat16",
        use_cpu=means.device == "cpu",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        save_only_model=True,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=False,
        prediction_loss_only=True,
        label_names=["targets"],
        remove_unused_columns=False,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=seed,
    )
