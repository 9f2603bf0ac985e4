"""Settings of the fine-tuning of a transformer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from eval.baselines.losses import LOSSES
from eval.baselines.transformer import Keep
from prompts.errors import InvalidSetting, UnknownName

Precision = Literal["auto", "bf16", "fp32"]


@dataclass(frozen=True)
class FineTuning:
    """Settings of a fine-tuning.

    Attributes:
        base: encoder to start from: a folder, a name on the Hugging Face Hub, or the folder of an earlier fine-tuning,
            whose head is kept if the labels are the same. Empty: the installed MiniLM; ``matcher``: the embedded
            classifier's fine-tuned MiniLM.
        loss: for several labels a text: ``bce``, ``two-valued``, ``log-weights`` or ``focal``.
        length_weight: λ of the length-weighted cross-entropy, for one label a text.
        last_layers: number of last layers to train with the head; 0 trains all.
        linear_probe: train the head over the frozen encoder first.
        oversample: copy training texts with rare labels.
        max_tokens: maximum number of tokens of a text.
        keep: part of a longer text that is kept: ``head`` or ``head-tail``.
        epochs: maximum number of epochs.
        patience: epochs without a better validation score after which training stops.
        lr: peak learning rate of the encoder; that of the head is ten times higher.
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
            raise InvalidSetting("lr must be above 0, and length_weight at least 0")

    def check_loss(self, multi: bool) -> None:
        """Check that the loss fits the taxonomy.

        Raises:
            InvalidSetting: it does not.
        """
        if multi and self.length_weight:
            raise InvalidSetting("length_weight is for taxonomies of one label a text; leave it out")
        if not multi and self.loss != "bce":
            raise InvalidSetting(f"loss {self.loss} is for several labels a text; leave it out")

    def check_length(self, config: Any) -> None:
        """Check that the encoder of this configuration can read ``max_tokens``.

        Raises:
            InvalidSetting: it cannot.
        """
        most = getattr(config, "max_position_embeddings", self.max_tokens)
        if self.max_tokens > most:
            raise InvalidSetting(f"max_tokens is {self.max_tokens}, but this encoder reads {most} at most")


@dataclass(frozen=True)
class DistilBert(FineTuning):
    """Defaults for DistilBERT (Sanh et al. 2019, arXiv 1910.01108)."""

    base: str = "distilbert-base-uncased"
    lr: float = 5e-5


SETTINGS: Mapping[str, type[FineTuning]] = {"minilm": FineTuning, "distilbert": DistilBert}
