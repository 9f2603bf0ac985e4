"""Whom the matcher's training teaches: MiniLM's layers, a hidden layer over its vectors, an offset and a bias a label.

Every step asks of each text and each label whether the label applies (binary cross-entropy), twice: against the plain
vector of one of the label's wordings, so that the text's vector finds labels that it never saw, and against that vector
with the label's own offset and bias, so that those it saw are told apart better still. What is unknown of a text is
left out of the loss.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from similarity.encoders.minilm import weights_folder
from similarity.encoders.precision import autocast
from training.matcher.dataset import TokenBatch

ENCODER = "encoder."  # before the names of its weights in a student's state
_PLAIN_WEIGHS = 0.5  # of the loss against plain labels, to the other's 1


class Labels(nn.Module):
    """What is learnt of the labels, and how cosines become logits."""

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
        """The two losses' weighted sum, for unit vectors of texts and of one wording a label."""
        texts = functional.normalize(texts + self.out(functional.gelu(self.hidden(texts))), dim=-1)
        near = functional.normalize(labels + self.offsets, dim=-1)
        logits = (
            texts @ near.T * self.scales[0].exp() + self.common[0] + self.biases,
            texts @ labels.T * self.scales[1].exp() + self.common[1],
        )
        true, weight = torch.from_numpy(batch.true), torch.from_numpy(batch.weight)
        entropy = functional.binary_cross_entropy_with_logits
        parts = [(entropy(one, true, reduction="none") * weight).sum() / len(true) for one in logits]
        return parts[0] + _PLAIN_WEIGHS * parts[1]

    def tower(self) -> dict[str, Any]:
        """The hidden layer as a ``MatcherWeights`` keeps it."""
        kept = self.state_dict()
        return {name: kept[name].numpy() for name in ("hidden.weight", "hidden.bias", "out.weight", "out.bias")}

    def numbers(self) -> dict[str, float]:
        """Scale and bias against plain labels, as a ``MatcherWeights`` keeps them."""
        return {"plain scale": self.scales[1].exp().item(), "plain bias": self.common[1].item()}


class MatcherModel(nn.Module):
    """All that is taught: MiniLM and what is learnt of the labels."""

    def __init__(self, encoder: Any, labels: Labels) -> None:
        super().__init__()
        self.encoder, self.labels = encoder, labels

    def loss(self, batch: TokenBatch, wordings: Any) -> Any:
        """Of one batch, for unit vectors of one wording a label."""
        return self.labels.losses(embed(self.encoder, batch), wordings, batch)


def pretrained() -> Any:
    """MiniLM in float32, its embeddings left as they are: words that no training text has keep their meaning."""
    from transformers import BertConfig, BertModel

    config = BertConfig.from_pretrained(weights_folder())
    # Few texts are met twice, so that there is nothing for dropout to prevent; drawing it takes a tenth of the time.
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    # At a hundred tokens plain products beat PyTorch's fused kernel, whose way back is slow in bfloat16 on processors.
    model = BertModel.from_pretrained(
        weights_folder(), config=config, add_pooling_layer=False, attn_implementation="eager", dtype=torch.float32
    )
    model.embeddings.requires_grad_(False)
    return model


def embed(model: Any, batch: TokenBatch) -> Any:
    """Unit vectors of a batch, shape (texts, 384): the mean over tokens, as sentence-transformers has it."""
    tokens, mask = torch.from_numpy(batch.tokens), torch.from_numpy(batch.mask)
    with autocast("cpu"):
        hidden = model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
    weight = mask[..., None].float()
    return functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)
