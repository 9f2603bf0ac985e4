"""Linear probe: a head trained over the frozen encoder.

Fine-tuning from such a head distorts the encoder less than from a new head (Kumar et al. 2022, arXiv 2202.10054).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from eval.baselines.data import Track
from eval.baselines.torch_dataset import TrainingSet
from eval.baselines.transformer import Labeller
from similarity.encoders.precision import autocast

_BATCH = 64
_STEPS = 100  # of L-BFGS, each over all texts
_HELD = 0.05  # what the squares of weights cost where vectors have length 1, beside the sum of all losses (C = 10)


def fit_head(model: Labeller, course: TrainingSet, track: Track) -> None:
    """Learn ``model.head`` in place, from where it stands; the encoder is left as it is."""
    vectors, batch = _pooled(model, course, track)
    held = _HELD * vectors.square().sum(dim=1).mean() / batch["labels"].numel()
    optimiser = torch.optim.LBFGS(list(model.head.parameters()), max_iter=_STEPS, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimiser.zero_grad()
        found = course.loss(model.head(vectors), batch) + held * model.head.weight.square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimiser.step(step)  # type: ignore[no-untyped-call]


def _pooled(model: Labeller, course: TrainingSet, track: Track) -> tuple[Tensor, dict[str, Tensor]]:
    """The head's inputs, shape (texts, dimension), and all else of the rows, in one order."""
    device = next(model.parameters()).device
    order = sorted(course.rows, key=lambda row: len(row["input_ids"]))
    vectors, sides = list[Tensor](), list[Mapping[str, Tensor]]()
    model.eval()
    with torch.no_grad(), autocast(device.type):
        for start in track(range(0, len(order), _BATCH), "batches read"):
            batch = {name: one.to(device) for name, one in course.collate(order[start : start + _BATCH]).items()}
            vectors.append(model.pooled(batch.pop("input_ids"), batch.pop("attention_mask")).float())
            sides.append(batch)
    return torch.cat(vectors), {name: torch.cat([one[name] for one in sides]) for name in sides[0]}
