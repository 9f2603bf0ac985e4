"""The course of the matcher's training: in what order the student sees texts and wordings, and how fast it learns.

Wordings change from step to step. When the learning rate has come down, it rises again to a part of its height and
comes down once more, and the weights at the ends of these cycles are averaged (stochastic weight averaging; Izmailov
et al. 2018, arXiv 1803.05407).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from llm.embedded.weights import MatcherWeights, no_words
from training.matcher.checkpoint import Checkpoints
from training.matcher.dataset import Item, TokenBatch, batches
from training.matcher.label_phrasings import Concept
from training.matcher.model import ENCODER, Labels, MatcherModel, pretrained

if TYPE_CHECKING:
    from similarity.encoders.minilm import MiniLM, Vectors

_WARM_UP = 60  # steps, or a tenth of all where that is less
_WEIGHT_DECAY = 0.01
_CLIP = 1.0
_KEPT_EVERY = 200  # steps: a few minutes

OnProgress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class MatcherSchedule:
    """How long and how fast is learnt: a cycle of ``epochs`` first, then others of ``again``, at lower rates."""

    epochs: float = 2.0
    again: tuple[float, ...] = (1.0, 1.0)
    encoder_rate: float = 8e-5
    label_rate: float = 5e-4
    again_rate: float = 0.5  # share of the first cycle's
    seed: int = 0

    @property
    def rounds(self) -> float:
        """Epochs of all cycles."""
        return self.epochs + sum(self.again)

    def cycles(self) -> list[tuple[int, float, float]]:
        """Of each, the seed of its first epoch, its epochs, and the share of the rates at its height."""
        lengths = [self.epochs, *self.again]
        seeds = np.cumsum([self.seed, *map(math.ceil, lengths)]).tolist()
        shares = [1.0, *[self.again_rate] * len(self.again)]
        return list(zip(seeds, lengths, shares, strict=False))


def learn(
    given: Sequence[Item],
    concepts: Sequence[Concept],
    encoder: MiniLM,
    name: str,
    recipe: MatcherSchedule,
    kept: Checkpoints,
    on_progress: OnProgress,
) -> MatcherWeights:
    """Train the weights over vectors.

    ``word_features`` trains those over words, and ``zero_shot_calibration`` those for taxonomies far from films.

    Args:
        given: training texts only.
        concepts: the labels, in the order of the items' columns.
        encoder: plain MiniLM; it is not changed.
        name: under which the matcher will go.
        recipe: how long and how fast.
        kept: takes states on the way, from which the same training goes on.
        on_progress: called after every step with its number, the number of all steps and the loss.
    """
    torch.manual_seed(recipe.seed)
    wordings = [wording for concept in concepts for wording in concept.wordings]
    owner = np.repeat(np.arange(len(concepts)), [len(concept.wordings) for concept in concepts])
    vectors = encoder.encode(wordings)
    student = MatcherModel(pretrained(), Labels(len(concepts), encoder.dimension))
    before = _copied(student)
    after = _taught(student, given, _Wordings(vectors, owner), recipe, kept, on_progress)
    student.load_state_dict(after)
    changes = {
        key.removeprefix(ENCODER): (after[key] - before[key]).numpy() for key in before if key.startswith(ENCODER)
    }
    labels = student.labels
    return MatcherWeights(
        name,
        {key: change for key, change in changes.items() if change.any()},
        vectors,
        owner,
        labels.tower(),
        labels.offsets.detach().numpy(),
        np.full(len(concepts), labels.scales[0].exp().item(), np.float32),
        (labels.biases + labels.common[0]).detach().numpy(),
        no_words(),
        np.zeros(encoder.dimension, np.float32),
        labels.numbers(),
    )


def _taught(
    student: MatcherModel,
    given: Sequence[Item],
    wordings: _Wordings,
    recipe: MatcherSchedule,
    kept: Checkpoints,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """The mean of the weights at the ends of all cycles."""
    ends, done = list[dict[str, Any]](), 0.0
    for seed, epochs, share in recipe.cycles():
        wordings.begin(seed)
        tell = _of_all(on_progress, done / epochs, recipe.rounds / epochs)
        _cycle(student, _order(given, epochs, seed), wordings, share, recipe, kept, tell)
        ends.append(_copied(student))
        done += epochs
    return _mean(ends)


def _mean(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """In double precision, where the mean of equal weights is the very same weight: what is frozen stays so."""
    first = states[0]
    return {key: torch.stack([one[key].double() for one in states]).mean(0).to(first[key].dtype) for key in first}


def _of_all(on_progress: OnProgress, before: float, whole: float) -> OnProgress:
    """Tells the steps of one cycle as steps of the training, both in lengths of that cycle."""

    def tell(step: int, steps: int, loss: float) -> None:
        on_progress(round(steps * before) + step, round(steps * whole), loss)

    return tell


def _copied(student: MatcherModel) -> dict[str, Any]:
    return {key: value.clone() for key, value in student.state_dict().items()}


class _Wordings:
    """One wording of every label, another one each time."""

    def __init__(self, vectors: Vectors, owner: Any) -> None:
        self.vectors, self._random = torch.from_numpy(vectors), np.random.default_rng(0)
        counts = np.bincount(owner)
        self._starts, self._counts = np.cumsum(counts) - counts, counts

    def begin(self, seed: int) -> None:
        """Draw from now on as this seed has it."""
        self._random = np.random.default_rng(seed)

    def draw(self) -> Any:
        """Unit vectors, shape (labels, 384)."""
        return self.vectors[self._starts + self._random.integers(self._counts)]


def _order(given: Sequence[Item], epochs: float, seed: int) -> list[TokenBatch]:
    """The batches of a cycle."""
    found = [list(batches(given, seed + number)) for number in range(math.ceil(epochs))]
    return [batch for epoch in found for batch in epoch][: max(1, round(len(found[0]) * epochs))]


def _cycle(
    student: MatcherModel,
    order: Sequence[TokenBatch],
    wordings: _Wordings,
    share: float,
    recipe: MatcherSchedule,
    kept: Checkpoints,
    on_progress: OnProgress,
) -> None:
    optimiser = _optimiser(student, recipe)
    peaks = [share * group["lr"] for group in optimiser.param_groups]
    name = _name(order, wordings, recipe)
    done = _resumed(student, optimiser, kept.state(name))
    student.train()
    for step, batch in enumerate(order, start=1):
        drawn = wordings.draw()  # for steps that are done too, so that later ones draw what they would have
        if step <= done:
            continue
        for group, peak in zip(optimiser.param_groups, peaks, strict=True):
            group["lr"] = peak * _share(step - 1, len(order))
        loss = student.loss(batch, drawn)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([one for group in optimiser.param_groups for one in group["params"]], _CLIP)
        optimiser.step()
        on_progress(step, len(order), loss.item())
        if step % _KEPT_EVERY == 0 or step == len(order):
            kept.keep(name, {"done": step, "student": student.state_dict(), "optimiser": optimiser.state_dict()})


def _name(order: Sequence[TokenBatch], wordings: _Wordings, recipe: MatcherSchedule) -> str:
    """Of a cycle: another one for other texts, other labels, another order or another recipe."""
    digest = hashlib.sha256(repr(replace(recipe, again=())).encode())
    digest.update(wordings.vectors.numpy().tobytes())
    for batch in order:
        for part in (batch.tokens, batch.true, batch.weight):
            digest.update(part.tobytes())
    return digest.hexdigest()[:16]


def _resumed(student: MatcherModel, optimiser: torch.optim.Optimizer, state: Mapping[str, Any] | None) -> int:
    """How many steps are done."""
    if state is None:
        return 0
    student.load_state_dict(state["student"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["done"])


def _optimiser(student: MatcherModel, recipe: MatcherSchedule) -> torch.optim.Optimizer:
    learnt, rate = [one for one in student.encoder.parameters() if one.requires_grad], recipe.encoder_rate
    return torch.optim.AdamW(
        [
            {
                "params": [one for one in learnt if one.ndim > 1],
                "lr": rate,
                "weight_decay": _WEIGHT_DECAY,
            },
            {"params": [one for one in learnt if one.ndim == 1], "lr": rate, "weight_decay": 0.0},
            {"params": list(student.labels.parameters()), "lr": recipe.label_rate, "weight_decay": 0.0},
        ]
    )


def _share(step: int, steps: int) -> float:
    """Share of the peak learning rate: a short warm-up, then half a cosine."""
    return min(1.0, (step + 1) / min(_WARM_UP, steps / 10)) * max(0.02, 0.5 * (1 + math.cos(math.pi * step / steps)))
