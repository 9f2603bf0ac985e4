"""Settings of a LoRA training: hyperparameters, device and number format, and the prompt that it trains for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, get_args

from eval.datasets import Example
from prompts.errors import InvalidSetting
from prompts.registry import prompt_for
from prompts.taxonomy import Taxonomy
from prompts.template import Prompt

Form = Literal["json_list", "label_likelihood", "label_tokens", "yes_no"]
Precision = Literal["auto", "bf16", "fp32"]
_POSITIVE = ("rank", "alpha", "epochs", "patience", "batch_size", "micro_batch", "max_tokens", "watched")


@dataclass(frozen=True)
class LoraConfig:
    """Settings of a LoRA training.

    The defaults follow the papers for models of this size: all linear layers, learning rate 2e-4 (Hu et al. 2021, arXiv
    2106.09685; Dettmers et al. 2023, arXiv 2305.14314).

    Attributes:
        base: folder of the base model, or its name on the Hugging Face Hub.
        rank: rank of the update of each linear layer.
        alpha: the update is scaled by alpha / rank.
        dropout: dropout of the inputs of the update.
        lr: peak learning rate.
        epochs: maximum number of epochs.
        patience: epochs without a lower validation loss after which training stops.
        batch_size: texts per step.
        micro_batch: texts of a forward pass; more of them share the prompt's tokens, and need more memory.
        max_tokens: texts with more tokens in messages and answer are skipped.
        precision: number format of the base model: ``bf16``, ``fp32`` or ``auto``; see
            ``similarity.encoders.precision``.
        four_bit: load the base model in 4 bits (NF4); needs a GPU and bitsandbytes.
        checkpointing: recompute activations in the backward pass instead of storing them (gradient checkpointing).
        judged: number of validation texts for the metrics before and after training; 0 computes none.
        watched: maximum number of validation texts for the loss after each epoch.
    """

    base: str = "Qwen/Qwen2-7B-Instruct"
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    lr: float = 2e-4
    epochs: int = 3
    patience: int = 1
    batch_size: int = 16
    micro_batch: int = 8
    max_tokens: int = 2_048
    precision: Precision = "auto"
    four_bit: bool = False
    checkpointing: bool = True
    judged: int = 200
    watched: int = 500

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if getattr(self, name) < 1:
                raise InvalidSetting(f"{name} is {getattr(self, name)}; give 1 or more")
        if self.lr <= 0 or not 0 <= self.dropout < 1 or self.judged < 0:
            raise InvalidSetting("lr must be above 0, dropout from 0 to below 1, and judged at least 0")
        if self.precision not in get_args(Precision):
            raise InvalidSetting(f"precision is {self.precision!r}; give one of {', '.join(get_args(Precision))}")

    @property
    def at_once(self) -> int:
        """Texts of a forward pass."""
        return min(self.micro_batch, self.batch_size)

    @property
    def parts(self) -> int:
        """Forward passes of a step (gradient accumulation)."""
        return -(-self.batch_size // self.at_once)


@dataclass(frozen=True)
class Hardware:
    """Device (``cuda`` or ``cpu``), number format by its name in ``torch``, and the configuration of 4 bits or None."""

    device: str
    dtype: str
    quantised: Any = None

    @classmethod
    def of(cls, config: LoraConfig) -> Hardware:
        """What a configuration uses here; raises ``InvalidSetting`` where 4 bits need a GPU or bitsandbytes."""
        from similarity.encoders.precision import default_device, number_format

        device = default_device()
        dtype = number_format(device, config.precision)
        return cls(device, dtype, _four_bit(device, dtype) if config.four_bit else None)


def _four_bit(device: str, dtype: str) -> Any:
    missing = [] if device == "cuda" else ["there is no CUDA GPU here"]
    missing += [] if find_spec("bitsandbytes") else ["bitsandbytes is not installed (pip install bitsandbytes)"]
    if missing:
        raise InvalidSetting(f"four_bit is not possible: {', and '.join(missing)}; leave --four-bit out")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


@dataclass(frozen=True)
class PromptSetup:
    """Taxonomy, strategy and prompt, in training as in use; without a prompt, one is selected for each text."""

    taxonomy: Taxonomy
    form: Form
    prompt: Prompt | None = None

    def prompt_of(self, example: Example) -> Prompt:
        """The prompt of an example."""
        return self.prompt or prompt_for(example.text, self.taxonomy)

    def prompts(self, examples: Sequence[Example]) -> list[str]:
        """Names and digests of the prompts of all examples."""
        return sorted({self.prompt_of(example).versioned_name for example in examples})
