"""Trainable model of the general branch: MiniLM's upper layers over stored states, and a residual layer over labels.

The logit of a text and a label is the cosine of the text's vector, less a learned centre, to the label's vector. The
loss has two parts: a softmax of each true label against the wrong ones of the text's candidate labels (Radford et al.
2021, arXiv 2103.00020, with candidates in place of the batch), and a binary cross-entropy with labels of other fields,
which gives cosines an absolute scale, so that "none of these labels" can be recognised.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from training.matcher.model import pretrained

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

LOWER = 3  # layers that are not trained: their states are computed once, which makes a step twice as fast
_SCALE, _BINARY_SCALE, _BINARY_BIAS = 20.0, 15.0, -4.0  # initial values
_BINARY_WEIGHT = 0.3
_CANDIDATES = 6  # labels that a text's binary cross-entropy is divided by
_MASKED = -1e4


@dataclass(frozen=True)
class CandidateLabels:
    """Candidate labels of the texts of a batch.

    Attributes:
        labels: unit vectors of labels by plain MiniLM, shape (labels, 384).
        true: whether a label is true of a text, shape (texts, labels).
        included: whether a label is a candidate of a text, same shape; true labels are.
        others: vectors of labels of other fields, which are true of no text, shape (others, 384).
    """

    labels: torch.Tensor
    true: torch.Tensor
    included: torch.Tensor
    others: torch.Tensor


class GeneralModel(nn.Module):
    """The upper layers of MiniLM, the residual layer over labels, the centre of texts, and scales to logits."""

    def __init__(self, centre: Array) -> None:
        super().__init__()
        encoder = pretrained()
        width = encoder.config.hidden_size
        self.layers = nn.ModuleList(copy.deepcopy(encoder.encoder.layer[LOWER:]))
        self.hidden, self.out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.centre = nn.Parameter(torch.tensor(np.asarray(centre, np.float32)))
        self.scale = nn.Parameter(torch.tensor(_SCALE).log())
        self.binary_scale = nn.Parameter(torch.tensor(_BINARY_SCALE).log())
        self.binary_bias = nn.Parameter(torch.tensor(_BINARY_BIAS))

    def texts(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Unit vectors, shape (texts, 384), from states after the lower layers, shape (texts, longest, 384)."""
        unread = (1 - mask)[:, None, None, :] * _MASKED
        for layer in self.layers:
            found = layer(states, unread)
            states = found[0] if isinstance(found, tuple) else found
        weight = mask[..., None]
        return functional.normalize((states * weight).sum(1) / weight.sum(1), dim=-1)

    def labels(self, plain: torch.Tensor) -> torch.Tensor:
        """Unit vectors of labels from those of plain MiniLM, shape (labels, 384)."""
        return functional.normalize(plain + self.out(functional.gelu(self.hidden(plain))), dim=-1)

    def loss(self, texts: torch.Tensor, candidates: CandidateLabels) -> torch.Tensor:
        """Mean loss of the texts of a batch."""
        centred = texts - self.centre
        cosines = centred @ self.labels(candidates.labels).T
        distant = centred @ self.labels(candidates.others).T
        return self._contrast(cosines, candidates) + _BINARY_WEIGHT * self._binary(cosines, distant, candidates)

    def _contrast(self, cosines: torch.Tensor, candidates: CandidateLabels) -> torch.Tensor:
        """Softmax of each true label against the wrong candidates; texts without a true label do not count."""
        logits, true = self.scale.exp() * cosines, candidates.true
        wrong = torch.logsumexp(logits.masked_fill(~candidates.included | true, _MASKED), 1, keepdim=True)
        losses = (torch.logaddexp(logits, wrong) - logits) * true
        count = true.sum(1)
        labelled = count > 0
        return ((losses.sum(1) / count.clamp(min=1)) * labelled).sum() / labelled.sum().clamp(min=1)

    def _binary(self, cosines: torch.Tensor, distant: torch.Tensor, candidates: CandidateLabels) -> torch.Tensor:
        logits = torch.cat([cosines, distant], 1) * self.binary_scale.exp() + self.binary_bias
        true = torch.cat([candidates.true, torch.zeros_like(distant, dtype=torch.bool)], 1)
        counted = torch.cat([candidates.included, torch.ones_like(distant, dtype=torch.bool)], 1)
        losses = functional.binary_cross_entropy_with_logits(logits, true.float(), reduction="none") * counted
        return losses.sum(1).mean() / _CANDIDATES


def label_tower(model: GeneralModel, plain: Array) -> NDArray[np.float32]:
    """Unit vectors of labels from those of plain MiniLM, shape (labels, 384)."""
    with torch.inference_mode():
        return model.labels(torch.from_numpy(np.asarray(plain, np.float32))).numpy()


def lower_states(texts: Sequence[Sequence[int]], width: int, on_text: Any) -> list[NDArray[np.float16]]:
    """States of each text after the lower layers of plain MiniLM, shape (tokens, width), in half precision.

    Args:
        texts: word pieces without ends.
        width: texts per batch.
        on_text: called with the number of finished texts.
    """
    from similarity.encoders.tokens import ends

    encoder, (first, last) = pretrained().eval(), ends()
    rows = [[first, *text, last] for text in texts]
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    found: list[Any] = [None] * len(rows)
    for start in range(0, len(order), width):
        part = order[start : start + width]
        tokens = torch.zeros(len(part), max(len(rows[row]) for row in part), dtype=torch.long)
        mask = torch.zeros(tokens.shape)
        for place, row in enumerate(part):
            tokens[place, : len(rows[row])] = torch.tensor(rows[row])
            mask[place, : len(rows[row])] = 1
        with torch.inference_mode():
            states = encoder.embeddings(input_ids=tokens)
            for layer in encoder.encoder.layer[:LOWER]:
                result = layer(states, (1 - mask)[:, None, None, :] * _MASKED)
                states = result[0] if isinstance(result, tuple) else result
        for place, row in enumerate(part):
            found[row] = states[place, : len(rows[row])].to(torch.float16).numpy()
        on_text(start + len(part))
    return found


def padded(states: Sequence[NDArray[np.float16]]) -> tuple[torch.Tensor, torch.Tensor]:
    """States and mask of a batch, shapes (texts, longest, 384) and (texts, longest), in float32."""
    longest = max(map(len, states))
    found, mask = torch.zeros(len(states), longest, states[0].shape[1]), torch.zeros(len(states), longest)
    for row, one in enumerate(states):
        found[row, : len(one)] = torch.from_numpy(np.asarray(one, np.float32))
        mask[row, : len(one)] = 1
    return found, mask
