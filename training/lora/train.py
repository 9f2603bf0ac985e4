"""Training of a LoRA adapter with ``peft`` and transformers; the loss covers the answers only."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from eval.baselines.finetune import Steps
from eval.baselines.trained import Track
from llm.backends.causal_lm import CausalLM
from llm.backends.prefix_sharing import common_to_all
from training.lora.config import Hardware, LoraConfig
from training.lora.lessons import TrainingExample

log = logging.getLogger(__name__)
_WARM_UP = 0.03
_SAVE_EVERY = 300.0  # seconds of training that a kill may cost


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
    checkpoints: Path,
    seed: int,
    track: Track,
) -> dict[str, Any]:
    """Train the adapter of ``with_adapter`` in place; it gets the weights of the epoch with the lowest validation loss.

    ``checkpoints`` is the folder of the training's state: where it has one, the training resumes from it.

    Returns:
        ``losses`` after each epoch, numbers of ``steps`` and of ``trainable`` weights, and ``peak_gb``: peak GPU memory
        in 10^9 bytes, None without a GPU.
    """
    set_seed(seed)
    fill = tuned.config.pad_token_id or 0
    collate = packed if shares_prefixes(tuned) else partial(collated, fill=fill)
    trainer = AnswerTrainer(
        model=tuned,
        args=_arguments(settings, hardware, checkpoints, seed),
        data_collator=collate,
        train_dataset=as_rows(training),
        eval_dataset=as_rows(validation),
        callbacks=[EarlyStoppingCallback(settings.patience), SaveOften(_SAVE_EVERY), Steps(track)],
    )
    trainer.remove_callback(PrinterCallback)
    saved = get_last_checkpoint(str(checkpoints))  # type: ignore[no-untyped-call]
    if saved:
        log.info("the training that was interrupted resumes from %s", saved)
    trainer.train(resume_from_checkpoint=saved)
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
        # Logits of the messages are not computed: they would need more memory than all activations.
        logprobs = model(**inputs, use_cache=False).logits.float().log_softmax(-1)
        loss = -(logprobs.gather(2, targets) * weights).sum() / weights.sum()
        return (loss, {}) if return_outputs else loss


def collated(rows: Sequence[dict[str, Any]], fill: int) -> dict[str, Tensor]:
    """Rows as one left-padded batch.

    Args:
        rows: with ``input_ids`` (messages and answer) and ``target_ids``.
        fill: padding token.

    Returns:
        ``input_ids``, ``attention_mask`` and ``position_ids`` of shape (rows, tokens); ``logits_to_keep``, the indices
        before the answers' positions; ``targets`` and ``weights`` of shape (rows, positions, right tokens): the tokens
        at these positions, and their weights in the loss, which sum to 1 at a position of an answer and are 0
        elsewhere.
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
    positions, kept = (mask.cumsum(1) - 1).clamp_min(0), torch.arange(longest - places - 1, longest - 1)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "logits_to_keep": kept}
    return {**inputs, "targets": targets, "weights": weights}


def shares_prefixes(tuned: Any) -> bool:
    """Whether ``packed`` is right for a network: full attention in all layers, by torch's own kernels."""
    config = tuned.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None) and not hasattr(config, "layer_types")
    return layers == {"full_attention"} and not window and config._attn_implementation == "sdpa"


def packed(rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Rows one behind the other, after the tokens that all of them share: these are computed once, with one gradient.

    Each row sees the shared tokens and its own. The result is that of ``collated``, with fewer tokens: a prompt's
    instructions and labels are most of a message.

    Args:
        rows: as for ``collated``.

    Returns:
        As of ``collated``, with one row; ``attention_mask`` has the shape (1, 1, tokens, tokens) and says which token
        sees which.
    """
    shared = common_to_all([row["input_ids"] for row in rows])
    ids, positions, owners = rows[0]["input_ids"][:shared], [*range(shared)], [0] * shared
    kept, answers = [], []
    for owner, row in enumerate(rows, 1):
        own, behind = row["input_ids"], len(ids) - shared
        first = len(own) - len(row["target_ids"]) - 1
        kept += [place + (behind if place >= shared else 0) for place in range(first, len(own) - 1)]
        answers += row["target_ids"]
        positions += range(shared, len(own))
        owners += [owner] * (len(own) - shared)
        ids = ids + own[shared:]
    owner_of = torch.tensor(owners)
    sees = (owner_of == 0) | (owner_of[:, None] == owner_of)
    right = max(map(len, answers))
    targets = torch.tensor([[*tokens, *[0] * (right - len(tokens))] for tokens in answers])
    weights = torch.tensor([[1 / len(tokens)] * len(tokens) + [0.0] * (right - len(tokens)) for tokens in answers])
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": sees.tril()[None, None]}
    inputs |= {"position_ids": torch.tensor([positions]), "logits_to_keep": torch.tensor(kept)}
    return {**inputs, "targets": targets[None], "weights": weights[None]}


class SaveOften(TrainerCallback):
    """Saves the training's state between epochs too, so that a kill costs at most some seconds of it."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._saved = seconds, time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        control.should_save = control.should_save or time.monotonic() - self._saved >= self._seconds

    def on_save(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._saved = time.monotonic()


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
