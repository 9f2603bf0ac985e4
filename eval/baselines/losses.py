"""Settings, losses and oversampling of the fine-tuning of encoders.

Loss definitions: p = σ(logit), y is the truth, and unknown truths do not count in the mean. Two-valued and log weights
are weighted cross-entropies. Focal loss: Lin et al. 2017, arXiv 1708.02002. Oversampling: ML-ROS (Charte et al.,
Neurocomputing 163, 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from eval.metrics import Labels
from prompts.errors import InvalidSetting, UnknownName

_FREQUENT = 350  # training texts above which a label has weight 1 in the two-valued loss; rarer labels have 0.1
_ALPHA, _GAMMA = 0.375, 2.0
_LONG = 512  # tokens above which the length of a text has no further effect

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # logits, truth, known; each (texts, labels); a scalar
Keep = Literal["head", "head-tail"]
Precision = Literal["auto", "bf16", "fp32"]


def two_valued_weights(counts: Tensor) -> Tensor:
    """1 for a label of more than 350 training texts, else 0.1."""
    return torch.where(counts > _FREQUENT, 1.0, 0.1)


def log_weights(counts: Tensor, texts: int) -> Tensor:
    """ln(N / (n + 1)) per label, divided by the mean: rare labels have higher weights."""
    weights = torch.log(texts / (counts + 1)).clamp_min(0)  # a label of every text has weight 0
    return weights / weights.mean().clamp_min(1e-6)


def weighted_bce(logits: Tensor, truth: Tensor, known: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of −[w y ln p + (1 − y) ln(1 − p)] over known truths; ``weights`` of shape (labels,), None for 1."""
    weights = None if weights is None else weights.to(logits.device)
    each = functional.binary_cross_entropy_with_logits(logits, truth, pos_weight=weights, reduction="none")
    return _mean(each, known)


def focal(logits: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean of −α_t (1 − p_t)^γ ln p_t over known truths; α is .375 for true labels, .625 for false ones; γ is 2."""
    surprise = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")  # −ln p_t
    alpha = torch.where(truth > 0.5, _ALPHA, 1 - _ALPHA)
    return _mean(alpha * (1 - torch.exp(-surprise)) ** _GAMMA * surprise, known)


def length_weighted_cross_entropy(logits: Tensor, truth: Tensor, lengths: Tensor, weight: float) -> Tensor:
    """Cross-entropy for one label a text, with higher weights for long texts: CE_i (1 + λ min(len, 512) / 512).

    The weights are normalised to a mean of 1 over the batch. (A penalty *added* for length would have no gradient with
    respect to the logits.) ``truth`` is one-hot; ``lengths`` are tokens before truncation; ``weight`` is λ.
    """
    each = functional.cross_entropy(logits, truth.argmax(dim=1), reduction="none")
    factors = 1 + weight * lengths.clamp(max=_LONG) / _LONG
    return (each * factors / factors.mean()).mean()


def _mean(each: Tensor, known: Tensor) -> Tensor:
    return (each * known).sum() / known.sum().clamp_min(1)


# By name, from the number of training texts of each label, shape (labels,), and of all.
LOSSES: Mapping[str, Callable[[Tensor, int], Loss]] = {
    "bce": lambda counts, texts: partial(weighted_bce, weights=None),
    "two-valued": lambda counts, texts: partial(weighted_bce, weights=two_valued_weights(counts)),
    "log-weights": lambda counts, texts: partial(weighted_bce, weights=log_weights(counts, texts)),
    "focal": lambda counts, texts: focal,
}


def oversampled(truth: Labels, seed: int, share: float = 0.25) -> NDArray[np.intp]:
    """Indices of the rows to train on: every row once, then copies of rows with a rare label.

    A label is rare while its imbalance (texts of the most frequent label divided by its own) exceeds the mean of all
    labels. Rare labels take turns; a label that is no longer rare gets no more copies. ``share`` is the maximum number
    of copies, as a share of the texts.
    """
    random = np.random.default_rng(seed)
    counts = truth.sum(axis=0).astype(float)
    mean = _imbalance(counts)[counts > 0].mean() if counts.any() else 0.0
    copies: list[int] = []
    most = int(len(truth) * share)
    while len(copies) < most and (rare := np.flatnonzero((_imbalance(counts) > mean) & (counts > 0))).size:
        for label in rare[: most - len(copies)]:
            row = int(random.choice(np.flatnonzero(truth[:, label])))
            copies.append(row)
            counts += truth[row]
    return np.concatenate([np.arange(len(truth)), np.array(copies, dtype=np.intp)])


def _imbalance(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(counts.max() / np.maximum(counts, 1))


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
        """Raise ``InvalidSetting`` if the loss does not fit the taxonomy."""
        if multi and self.length_weight:
            raise InvalidSetting("length_weight is for taxonomies of one label a text; leave it out")
        if not multi and self.loss != "bce":
            raise InvalidSetting(f"loss {self.loss} is for several labels a text; leave it out")

    def check_length(self, config: Any) -> None:
        """Raise ``InvalidSetting`` if the encoder of this configuration cannot read ``max_tokens``."""
        most = getattr(config, "max_position_embeddings", self.max_tokens)
        if self.max_tokens > most:
            raise InvalidSetting(f"max_tokens is {self.max_tokens}, but this encoder reads {most} at most")


@dataclass(frozen=True)
class DistilBert(FineTuning):
    """Defaults for DistilBERT (Sanh et al. 2019, arXiv 1910.01108)."""

    base: str = "distilbert-base-uncased"
    lr: float = 5e-5


SETTINGS: Mapping[str, type[FineTuning]] = {"minilm": FineTuning, "distilbert": DistilBert}
