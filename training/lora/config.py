"""How an adapter is trained: what may be set, and what this machine allows of it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, get_args

from prompts.errors import InvalidSetting

Precision = Literal["auto", "bf16", "fp32"]
_WHOLE = ("rank", "alpha", "epochs", "patience", "batch_size", "micro_batch", "max_tokens")


@dataclass(frozen=True)
class LoraConfig:
    """What may be set.

    The defaults are those of the papers for models of this size: every linear layer, 2e-4 (Hu et al. 2021, arXiv
    2106.09685; Dettmers et al. 2023, arXiv 2305.14314).

    Attributes:
        base: folder of the model to start from, or its name on the hub.
        rank: of the two matrices beside each linear layer.
        alpha: their product counts alpha / rank times.
        dropout: of their inputs.
        lr: learning rate at its height.
        epochs: at most so many rounds through the texts.
        patience: rounds without a lower validation loss after which training stops.
        batch_size: texts per step.
        micro_batch: texts computed at once; the memory of activations grows with it, the result does not change.
        max_tokens: texts whose messages and answer take more are left out.
        precision: what the base is held and computed in; ``bf16``,
            ``fp32`` or ``auto``; see ``similarity.encoders.precision``.
        four_bit: hold the base in 4 bits (NF4); needs a GPU and bitsandbytes.
        checkpointing: compute activations again on the way back instead of keeping them all.
        judged: validation texts that the model is asked about before and after, for the manifest's figures; 0 asks
            about none.
    """

    base: str = "Qwen/Qwen2-7B-Instruct"
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    lr: float = 2e-4
    epochs: int = 3
    patience: int = 1
    batch_size: int = 16
    micro_batch: int = 4
    max_tokens: int = 2_048
    precision: Precision = "auto"
    four_bit: bool = False
    checkpointing: bool = True
    judged: int = 200

    def __post_init__(self) -> None:
        for name in _WHOLE:
            if getattr(self, name) < 1:
                raise InvalidSetting(f"{name} is {getattr(self, name)}; give 1 or more")
        if self.lr <= 0 or not 0 <= self.dropout < 1 or self.judged < 0:
            raise InvalidSetting("lr must be above 0, dropout from 0 to below 1, and judged not below 0")
        if self.precision not in get_args(Precision):
            raise InvalidSetting(f"precision is {self.precision!r}; give one of {', '.join(get_args(Precision))}")

    @property
    def at_once(self) -> int:
        """Texts computed at once: never more than a step has."""
        return min(self.micro_batch, self.batch_size)

    @property
    def parts(self) -> int:
        """Portions that a step's gradient is summed over."""
        return -(-self.batch_size // self.at_once)


@dataclass(frozen=True)
class Hardware:
    """What the machine computes with.

    Attributes:
        device: ``cuda`` or ``cpu``.
        dtype: of the base, as ``torch`` names it.
        quantised: configuration of 4 bits, or None.
    """

    device: str
    dtype: str
    quantised: Any = None


def means(recipe: LoraConfig) -> Hardware:
    """What a recipe comes to on this machine.

    Raises:
        InvalidSetting: 4 bits are asked for, and the GPU or bitsandbytes is missing.
    """
    from similarity.encoders.precision import default_device, number_format

    device = default_device()
    dtype = number_format(device, recipe.precision)
    return Hardware(device, dtype, _four_bit(device, dtype) if recipe.four_bit else None)


def _four_bit(device: str, dtype: str) -> Any:
    missing = [] if device == "cuda" else ["there is no CUDA GPU here"]
    missing += [] if find_spec("bitsandbytes") else ["bitsandbytes is not installed (pip install bitsandbytes)"]
    if missing:
        raise InvalidSetting(f"4 bits cannot be had: {', and '.join(missing)}; leave --four-bit out")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
