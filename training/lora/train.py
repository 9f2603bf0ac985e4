"""Training of a LoRA adapter: examples as tokens, as in use, and their training with ``peft`` and transformers.

With ``json_list`` the answer is the JSON that the constraint allows, in the tokens that the in-process backend
generates. Its labels are in taxonomy order, because the order has no meaning: one right answer per text is easier to
learn than many. (The order of the data is no better: IMDb sorts genres alphabetically.) With ``label_tokens`` the code
of every true label is a right answer at the one position that is read. The loss covers the answers only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainingArguments, set_seed

from eval.baselines.finetune import Steps
from eval.baselines.trained import Track
from eval.datasets import Example
from llm.backends.causal_lm import CausalLM
from llm.backends.list_grammar import ListGrammar
from llm.strategies.json_list import JSONList
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Taxonomy
from prompts.template import CODES, NONE_CODE, AnswerFormat
from training.lora.config import Hardware, LoraConfig, PromptSetup

_WARM_UP = 0.03
TargetIds = tuple[tuple[int, ...], ...]  # the right tokens at each position of the answer

SHORTENED = "with more labels than an answer may have: only the rarest were used"
INCOMPLETE = "with incomplete labels"
TOO_LONG = "with too many tokens in messages and answer"


@dataclass(frozen=True)
class TrainingExample:
    """A text and its answer.

    Attributes:
        prompt_ids: tokens of the messages up to the start of the answer.
        target_ids: right tokens at each position of the answer; the first of them is the input of the next position.
    """

    prompt_ids: list[int]
    target_ids: TargetIds


@dataclass(frozen=True)
class LoraDataset:
    """Training examples, and counts of the examples that were skipped or changed, by reason."""

    examples: list[TrainingExample]
    counts: Counter[str] = field(default_factory=Counter)


def tokenised(
    causal: CausalLM, setup: PromptSetup, examples: Sequence[Example], max_tokens: int, incomplete: bool = False
) -> LoraDataset:
    """Tokenise examples for a model.

    Examples of more than ``max_tokens`` are skipped: a truncated text may not support its labels. Those with incomplete
    labels are skipped unless ``incomplete`` is set, because they teach the model to omit labels.

    Raises:
        InvalidSetting: too many labels for the strategy, or codes that are not single tokens.
        InvalidDataset: no example remains.
    """
    counts: Counter[str] = Counter()
    usable = [one for one in examples if one.complete or incomplete]
    counts[INCOMPLETE] += len(examples) - len(usable)
    frequency = Counter(label for one in usable for label in one.labels)
    answer = (_list_answer if setup.form == "json_list" else _code_answer)(causal, setup.taxonomy)
    form = AnswerFormat(setup.form)
    prompts = causal.tokens([setup.prompt_of(one).render(one.text, setup.taxonomy, form) for one in usable])
    found = []
    for one, prompt_ids in zip(usable, prompts, strict=True):
        labels = setup.taxonomy.in_order(sorted(one.labels, key=frequency.__getitem__)[: setup.taxonomy.max_labels])
        counts[SHORTENED] += setup.form == "json_list" and len(labels) < len(one.labels)
        found.append(TrainingExample(prompt_ids, answer(labels if setup.form == "json_list" else one.labels)))
    kept = [one for one in found if len(one.prompt_ids) + len(one.target_ids) <= max_tokens]
    counts[TOO_LONG] += len(found) - len(kept)
    if not kept:
        reasons = "; ".join(f"{count} {reason}" for reason, count in (+counts).items())
        raise InvalidDataset(f"no training example remains: {reasons} (see --incomplete keep and --max-tokens)")
    return LoraDataset(kept, +counts)


def _list_answer(causal: CausalLM, taxonomy: Taxonomy) -> Callable[[Sequence[str]], TargetIds]:
    grammar = ListGrammar(JSONList().constraint(taxonomy).schema, causal.encode, causal.decode)
    end = causal.tokenizer.eos_token_id  # an endpoint without constrained decoding needs the end token
    return lambda labels: tuple((token,) for token in (*grammar.spelling(labels), end))


def _code_answer(causal: CausalLM, taxonomy: Taxonomy) -> Callable[[Sequence[str]], TargetIds]:
    names = taxonomy.names
    if len(names) > len(CODES):
        raise InvalidSetting(f"label_tokens supports {len(CODES)} labels at most, and {taxonomy.name} has {len(names)}")
    ids = {name: _token(causal, code) for name, code in zip(names, CODES, strict=False)}
    none = _token(causal, NONE_CODE) if taxonomy.allow_none else None
    return lambda labels: (tuple(ids[name] for name in labels) or ((none,) if none is not None else ()),)


def _token(causal: CausalLM, code: str) -> int:
    if (token := causal.code(code)) is None:
        raise InvalidSetting(f"the code {code!r} is not a single token of this model; train the strategy json_list")
    return token


# --- training ---


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
