"""Training of a LoRA adapter with ``peft`` and transformers; the loss covers the answers only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainingArguments, set_seed

from eval.baselines.finetune import Steps
from eval.baselines.trained import Track
from llm.backends.causal_lm import CausalLM
from training.lora.config import Hardware, LoraConfig
from training.lora.lessons import TrainingExample

_WARM_UP = 0.03


def with_adapter(causal: CausalLM, settings: LoraConfig, hardware: Hardware, seed: int = 0) -> Any:
    """Add an adapter, which starts as zero, to the layers of ``causal``; returns the peft model."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    set_seed(seed)  # the first weights of the adapter are random
    network = causal.network
    if hardware.quantised is not None:
        prepare: Any = prepare_model_for_kbit_training
        network = prepare(network, use_gradient_checkpointing=settings.checkpointing)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(network, config)


def fit(
    tuned: Any,
    training: Sequence[TrainingExample],
    validation: Sequence[TrainingExample],
    settings: LoraConfig,
    hardware: Hardware,
    scratch: Path,
    seed: int,
    track: Track,
) -> dict[str, Any]:
    """Train the adapter of ``with_adapter`` in place; it gets the weights of the epoch with the lowest validation loss.

    ``scratch`` is a folder of temporary files.

    Returns:
        ``losses`` after each epoch, numbers of ``steps`` and of ``trainable`` weights, and ``peak_gb``: peak GPU memory
        in 10^9 bytes, None without a GPU.
    """
    set_seed(seed)
    fill = tuned.config.pad_token_id or 0
    trainer = AnswerTrainer(
        model=tuned,
        args=_arguments(settings, hardware, scratch, seed),
        data_collator=lambda rows: collated(rows, fill),
        train_dataset=as_rows(training),
        eval_dataset=as_rows(validation),
        callbacks=[EarlyStoppingCallback(settings.patience), Steps(track)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    tuned.eval()
    tuned.config.use_cache = True
    losses = [round(float(one["eval_loss"]), 4) for one in trainer.state.log_history if "eval_loss" in one]
    trainable = sum(one.numel() for one in tuned.parameters() if one.requires_grad)
    peak = torch.cuda.max_memory_allocated() / 1e9 if hardware.device == "cuda" else None
    steps, peak_gb = trainer.state.global_step, peak and round(peak, 2)
    return {"losses": losses, "steps": steps, "trainable": trainable, "peak_gb": peak_gb}


def save(tuned: Any, base: str, folder: Path) -> None:
    """Write the weights and configuration of the adapter, with the name of the base model."""
    tuned.peft_config["default"].base_model_name_or_path = base
    tuned.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty template


class AnswerTrainer(Trainer):
    """``Trainer`` with a loss over the answers only."""

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean of −ln p over the positions of all answers, and over the right tokens of a position."""
        targets, weights = inputs.pop("targets"), inputs.pop("weights")
        # Answers are at the end of every row. Logits of the messages are not computed: they would need more memory than
        # all activations.
        output = model(**inputs, use_cache=False, logits_to_keep=targets.shape[1] + 1)
        logprobs = output.logits[:, :-1].float().log_softmax(-1)
        loss = -(logprobs.gather(2, targets) * weights).sum() / weights.sum()
        return (loss, {}) if return_outputs else loss


def collated(rows: Sequence[dict[str, Any]], fill: int) -> dict[str, Tensor]:
    """Rows as one left-padded batch.

    Args:
        rows: with ``input_ids`` (messages and answer) and ``target_ids``.
        fill: padding token.

    Returns:
        ``input_ids``, ``attention_mask`` and ``position_ids`` of shape (rows, tokens); ``targets`` and ``weights`` of
        shape (rows, positions, right tokens): the tokens at the last positions, and their weights in the loss, which
        sum to 1 at a position of the answer and are 0 elsewhere.
    """
    longest = max(len(row["input_ids"]) for row in rows)
    places = max(len(row["target_ids"]) for row in rows)
    right = max(len(tokens) for row in rows for tokens in row["target_ids"])
    ids = torch.full((len(rows), longest), fill)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    targets, weights = torch.zeros(len(rows), places, right, dtype=torch.long), torch.zeros(len(rows), places, right)
    for number, row in enumerate(rows):
        ids[number, longest - len(row["input_ids"]) :] = torch.tensor(row["input_ids"])
        mask[number, longest - len(row["input_ids"]) :] = 1
        for place, tokens in enumerate(row["target_ids"], places - len(row["target_ids"])):
            targets[number, place, : len(tokens)] = torch.tensor(tokens)
            weights[number, place, : len(tokens)] = 1 / len(tokens)
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "targets": targets, "weights": weights}


def as_rows(examples: Sequence[TrainingExample]) -> list[dict[str, Any]]:
    """Examples as rows of ``Trainer``: input, targets and length."""
    inputs = [[*one.prompt_ids, *(tokens[0] for tokens in one.target_ids)] for one in examples]
    return [
        {"input_ids": ids, "target_ids": one.target_ids, "length": len(ids)}
        for ids, one in zip(inputs, examples, strict=True)
    ]


def _arguments(settings: LoraConfig, hardware: Hardware, scratch: Path, seed: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.at_once,
        per_device_eval_batch_size=settings.at_once,
        gradient_accumulation_steps=settings.parts,
        activation_checkpointing=settings.checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.checkpointing else None,
        learning_rate=settings.lr,
        lr_scheduler_type="cosine",
        warmup_steps=_WARM_UP,
        weight_decay=0.0,
        train_sampling_strategy="group_by_length",
        bf16=hardware.dtype == "bfloat16",
        use_cpu=hardware.device == "cpu",
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
