"""What a transformer is taught from: texts as rows of tokens, rows as batches, and the loss of a batch's logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eval.baselines.data import Split
from eval.baselines.transformer import TokenWindow, padded, tokens_of

Row = dict[str, Any]
BatchLoss = Callable[[Tensor, Mapping[str, Tensor]], Tensor]  # logits and what was collated with them; a scalar


@dataclass(frozen=True)
class TrainingSet:
    """What is learnt from, and how.

    Attributes:
        rows: training texts.
        collate: rows as a batch.
        loss: of a batch.
    """

    rows: Sequence[Row]
    collate: Callable[[Sequence[Row]], Mapping[str, Tensor]]
    loss: BatchLoss


def rows_of(split: Split, tokeniser: Any, reading: TokenWindow) -> list[Row]:
    """One row a text; ``length`` counts the tokens before the cut."""
    known, truth = split.known, split.truth
    return [
        {"input_ids": reading.cut(tokens), "length": len(tokens), "labels": truth[row], "known": known[row]}
        for row, tokens in enumerate(tokens_of(tokeniser, split.texts))
    ]


def collated(rows: Sequence[Row], fill: int) -> dict[str, Tensor]:
    """Collate rows to tensors.

    Shapes: ``input_ids`` and ``attention_mask`` (texts, tokens); ``labels`` and ``known`` (texts, labels); ``lengths``
    (texts,).

    Args:
        rows: of one batch.
        fill: the token that fills up shorter texts.
    """
    tokens, mask = padded([row["input_ids"] for row in rows], fill)
    sides = {name: torch.from_numpy(np.stack([row[name] for row in rows])).float() for name in ("labels", "known")}
    lengths = torch.tensor([float(row["length"]) for row in rows])
    return {"input_ids": tokens, "attention_mask": mask, "lengths": lengths, **sides}
