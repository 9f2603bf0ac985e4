"""Trainable matcher model (MiniLM, a projection head, an offset and a bias per label), and its checkpoints.

The loss is a binary cross-entropy of each text and label, computed twice: against the plain vector of one of the
label's phrasings, so that the text vectors generalise to unseen labels, and against that vector with the label's own
offset and bias, which separates the labels of training better. Unknown labels of a text do not count.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from prompts.files import replacing
from similarity.encoders.precision import autocast
from similarity.encoders.tokens import weights_folder
from training.matcher.dataset import TokenBatch

ENCODER = "encoder."  # prefix of the encoder's weights in the state of a model
_PLAIN_WEIGHT = 0.5  # weight of the loss against plain label vectors


class Labels(nn.Module):
    """Trainable parameters of the labels, the projection head, and the scales from cosines to logits."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.offsets = nn.Parameter(torch.zeros(count, width))
        self.biases = nn.Parameter(torch.zeros(count))
        self.scales = nn.Parameter(torch.full((2,), 2.7))  # logarithms; with offsets, and without
        self.common = nn.Parameter(torch.full((2,), -5.0))

    def losses(self, texts: Any, labels: Any, batch: TokenBatch) -> Any:
        """Weighted sum of both losses, for unit vectors of texts and of one phrasing per label."""
        texts = functional.normalize(texts + self.out(functional.gelu(self.hidden(texts))), dim=-1)
        near = functional.normalize(labels + self.offsets, dim=-1)
        logits = (
            texts @ near.T * self.scales[0].exp() + self.common[0] + self.biases,
            texts @ labels.T * self.scales[1].exp() + self.common[1],
        )
        true, weight = torch.from_numpy(batch.true), torch.from_numpy(batch.weight)
        entropy = functional.binary_cross_entropy_with_logits
        parts = [(entropy(one, true, reduction="none") * weight).sum() / len(true) for one in logits]
        return parts[0] + _PLAIN_WEIGHT * parts[1]

    def tower(self) -> dict[str, Any]:
        """The projection head as ``MatcherWeights`` stores it."""
        state = self.state_dict()
        return {name: state[name].numpy() for name in ("hidden.weight", "hidden.bias", "out.weight", "out.bias")}

    def numbers(self) -> dict[str, float]:
        """Scale and bias against plain label vectors, as ``MatcherWeights`` stores them."""
        return {"plain scale": self.scales[1].exp().item(), "plain bias": self.common[1].item()}


class MatcherModel(nn.Module):
    """MiniLM and the trainable parameters of the labels."""

    def __init__(self, encoder: Any, labels: Labels) -> None:
        super().__init__()
        self.encoder, self.labels = encoder, labels

    def loss(self, batch: TokenBatch, wordings: Any) -> Any:
        """Loss of a batch, for unit vectors of one phrasing per label."""
        return self.labels.losses(embed(self.encoder, batch), wordings, batch)


def pretrained() -> Any:
    """MiniLM in float32 with frozen embeddings: words without training texts keep their meaning."""
    from transformers import BertConfig, BertModel

    config = BertConfig.from_pretrained(weights_folder())
    # Few texts are seen twice, so dropout has no use; it takes a tenth of the time.
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    # On a CPU the backward pass of PyTorch's fused attention is slow in bfloat16.
    model = BertModel.from_pretrained(
        weights_folder(), config=config, add_pooling_layer=False, attn_implementation="eager", dtype=torch.float32
    )
    model.embeddings.requires_grad_(False)
    return model


def embed(model: Any, batch: TokenBatch) -> Any:
    """Unit vectors of a batch, shape (texts, 384): mean pooling as in sentence-transformers."""
    tokens, mask = torch.from_numpy(batch.tokens), torch.from_numpy(batch.mask)
    with autocast("cpu"):
        hidden = model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
    weight = mask[..., None].float()
    return functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)


@dataclass(frozen=True)
class Checkpoints:
    """States of a training on disk, from which an interrupted training resumes; one file per stage."""

    folder: Path

    def load(self, stage: str) -> dict[str, Any] | None:
        """The last state of a stage; None if there is none."""
        path = self.folder / f"{stage}.pt"
        return torch.load(path, weights_only=True) if path.exists() else None

    def save(self, stage: str, state: dict[str, Any]) -> None:
        """Replace the state of a stage atomically."""
        with replacing(self.folder / f"{stage}.pt") as new:
            torch.save(state, new)

    def remove(self) -> None:
        """Remove the states of all stages."""
        shutil.rmtree(self.folder, ignore_errors=True)
