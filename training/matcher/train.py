"""Training of the matcher: the neural weights, then the parts fitted after them, and the file of all weights.

Phrasings change from step to step. The learning rate falls in a first cycle; in later, shorter cycles it rises to a
part of its peak and falls again. The weights at the ends of the cycles are averaged (stochastic weight averaging;
Izmailov et al. 2018, arXiv 1803.05407).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from eval.datasets import Example
from eval.manifest import commit, libraries
from llm.embedded.saved_weights import save
from llm.embedded.weights import MatcherWeights, load, no_words, untrained
from prompts.installation import SAMPLE
from similarity.encoders.minilm import MiniLM
from similarity.encoders.tokens import tokenizer
from training.matcher.calibration import general, with_words, with_zero_shot
from training.matcher.dataset import Concept, Item, TokenBatch, batches, concepts, held_out, items
from training.matcher.model import ENCODER, Checkpoints, Labels, MatcherModel, pretrained

if TYPE_CHECKING:
    from similarity.encoders.tokens import Vectors

_RANK = 64  # of the changes of weights: 5 MB of factors; lower ranks have not been measured
_WARM_UP = 60  # steps, at most a tenth of all
_WEIGHT_DECAY = 0.01
_CLIP = 1.0
_SAVE_EVERY = 200  # steps: a few minutes

OnProgress = Callable[[int, int, float], None]  # step, number of steps, loss


@dataclass(frozen=True)
class MatcherSchedule:
    """Cycles and learning rates.

    Attributes:
        epochs: length of the first cycle.
        again: lengths of the later cycles, in epochs.
        encoder_rate: peak learning rate of the encoder.
        label_rate: peak learning rate of the label parameters.
        again_rate: peak of the later cycles, as a share of the first one's.
    """

    epochs: float = 2.0
    again: tuple[float, ...] = (1.0, 1.0)
    encoder_rate: float = 8e-5
    label_rate: float = 5e-4
    again_rate: float = 0.5
    seed: int = 0

    def cycles(self) -> list[tuple[int, float, float]]:
        """Seed of the first epoch, number of epochs, and share of the peak rates, of each cycle."""
        lengths = [self.epochs, *self.again]
        seeds = np.cumsum([self.seed, *map(math.ceil, lengths)]).tolist()
        shares = [1.0, *[self.again_rate] * len(self.again)]
        return list(zip(seeds, lengths, shares, strict=False))


def train_matcher(
    films: Sequence[Example],
    reviews: Sequence[Example],
    out: Path,
    schedule: MatcherSchedule,
    command: str,
    on_progress: OnProgress,
) -> None:
    """Train the matcher and write ``out`` (weights) and its manifest (``.json`` in place of ``.safetensors``).

    An interrupted run is resumed by the same call, from ``.stages`` in that place. The texts are of all splits:
    ``train`` is for the weights, the films' ``validation`` for the weight of the word features, and sub-genres are
    excluded by their frequency in all films.
    """
    excluded = held_out([film.extra for film in films])
    labels = concepts(excluded)
    opinions = [review for review in reviews if review.split == "train"]
    training = [*(film for film in films if film.split == "train"), *opinions]
    validation = [film for film in films if film.split == "validation"]
    encoder, texts = MiniLM(), items(training, labels, tokenizer())
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(out.with_suffix(".stages"))
    save(fit(texts, labels, encoder, out.stem, schedule, checkpoints, on_progress), out, _RANK)
    # The other parts are fitted to the weights as they are read back, with the loss of precision that they have in use.
    calibrated = with_zero_shot(load(out), encoder, general(SAMPLE, "validation"))
    save(with_words(calibrated, texts, validation, labels, encoder), out, _RANK)
    manifest = {
        "command": command,
        "recipe": asdict(schedule),
        "texts": {"films": len(training) - len(opinions), "reviews": len(opinions)},
        "labels": [concept.name for concept in labels],
        "held_out": list(excluded),
        "rank": _RANK,
        "git": commit(),
        "libraries": libraries(),
    }
    out.with_suffix(".json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    checkpoints.remove()


def fit(
    texts: Sequence[Item],
    labels: Sequence[Concept],
    encoder: MiniLM,
    name: str,
    schedule: MatcherSchedule,
    checkpoints: Checkpoints,
    on_progress: OnProgress,
) -> MatcherWeights:
    """Train the neural weights; ``calibration`` adds the other parts.

    ``labels`` are in the order of the items' columns. The plain ``encoder`` is not changed. An interrupted training
    resumes from ``checkpoints``.
    """
    torch.manual_seed(schedule.seed)
    vectors = encoder.encode([wording for label in labels for wording in label.wordings])
    owner = np.repeat(np.arange(len(labels)), [len(label.wordings) for label in labels])
    model = MatcherModel(pretrained(), Labels(len(labels), encoder.dimension))
    before = _state(model)
    phrasings = _Phrasings(vectors, owner)
    after = _NeuralTraining(model, texts, phrasings, schedule, checkpoints, on_progress).averaged()
    model.load_state_dict(after)
    changes = {key: (after[key] - before[key]).numpy() for key in before if key.startswith(ENCODER)}
    head = model.labels
    return MatcherWeights(
        name,
        {key.removeprefix(ENCODER): change for key, change in changes.items() if change.any()},
        vectors,
        owner,
        head.tower(),
        head.offsets.detach().numpy(),
        np.full(len(labels), head.scales[0].exp().item(), np.float32),
        (head.biases + head.common[0]).detach().numpy(),
        no_words(),
        np.zeros(encoder.dimension, np.float32),
        untrained(np.zeros(encoder.dimension, np.float32)),
        head.numbers(),
    )


@dataclass(frozen=True)
class _NeuralTraining:
    """Trains the neural weights of a model in cycles."""

    model: MatcherModel
    texts: Sequence[Item]
    phrasings: _Phrasings
    schedule: MatcherSchedule
    checkpoints: Checkpoints
    on_progress: OnProgress

    def averaged(self) -> dict[str, Any]:
        """Train all cycles; returns the mean of the weights at their ends."""
        ends, done, total = list[dict[str, Any]](), 0.0, self.schedule.epochs + sum(self.schedule.again)
        for seed, epochs, share in self.schedule.cycles():
            self.phrasings.seed(seed)
            order = _cycle_batches(self.texts, epochs, seed)
            self._train_cycle(order, share, round(len(order) * (done / epochs)), round(len(order) * (total / epochs)))
            ends.append(_state(self.model))
            done += epochs
        # In double precision the mean of equal weights is the same weight, so frozen weights do not change.
        return {key: torch.stack([end[key].double() for end in ends]).mean(0).to(ends[0][key].dtype) for key in ends[0]}

    def _train_cycle(self, order: Sequence[TokenBatch], share: float, steps_before: int, all_steps: int) -> None:
        model, optimiser = self.model, _optimiser(self.model, self.schedule)
        peaks = [share * group["lr"] for group in optimiser.param_groups]
        stage = _stage(order, self.phrasings, self.schedule)
        done = _restore(model, optimiser, self.checkpoints.load(stage))
        model.train()
        for step, batch in enumerate(order, start=1):
            drawn = self.phrasings.draw()  # also for finished steps: later steps then draw the same phrasings
            if step <= done:
                continue
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * _rate(step - 1, len(order))
            loss = model.loss(batch, drawn)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([one for group in optimiser.param_groups for one in group["params"]], _CLIP)
            optimiser.step()
            self.on_progress(steps_before + step, all_steps, loss.item())
            if step % _SAVE_EVERY == 0 or step == len(order):
                state = {"done": step, "student": model.state_dict(), "optimiser": optimiser.state_dict()}
                self.checkpoints.save(stage, state)


def _state(model: MatcherModel) -> dict[str, Any]:
    return {key: value.clone() for key, value in model.state_dict().items()}


class _Phrasings:
    """Draws a phrasing of every label."""

    def __init__(self, vectors: Vectors, owner: Any) -> None:
        self.vectors, self._random = torch.from_numpy(vectors), np.random.default_rng(0)
        counts = np.bincount(owner)
        self._starts, self._counts = np.cumsum(counts) - counts, counts

    def seed(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def draw(self) -> Any:
        """Unit vectors, shape (labels, 384)."""
        return self.vectors[self._starts + self._random.integers(self._counts)]


def _cycle_batches(texts: Sequence[Item], epochs: float, seed: int) -> list[TokenBatch]:
    found = [list(batches(texts, seed + number)) for number in range(math.ceil(epochs))]
    return [batch for epoch in found for batch in epoch][: max(1, round(len(found[0]) * epochs))]


def _stage(order: Sequence[TokenBatch], phrasings: _Phrasings, schedule: MatcherSchedule) -> str:
    """Digest of a cycle: of its texts, labels, order and schedule."""
    digest = hashlib.sha256(repr(replace(schedule, again=())).encode())
    digest.update(phrasings.vectors.numpy().tobytes())
    for batch in order:
        for part in (batch.tokens, batch.true, batch.weight):
            digest.update(part.tobytes())
    return digest.hexdigest()[:16]


def _restore(model: MatcherModel, optimiser: torch.optim.Optimizer, state: Mapping[str, Any] | None) -> int:
    """Load a checkpoint; returns the number of finished steps."""
    if state is None:
        return 0
    model.load_state_dict(state["student"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["done"])


def _optimiser(model: MatcherModel, schedule: MatcherSchedule) -> torch.optim.Optimizer:
    trained, rate = [one for one in model.encoder.parameters() if one.requires_grad], schedule.encoder_rate
    matrices, vectors = [one for one in trained if one.ndim > 1], [one for one in trained if one.ndim == 1]
    return torch.optim.AdamW(
        [
            {"params": matrices, "lr": rate, "weight_decay": _WEIGHT_DECAY},
            {"params": vectors, "lr": rate, "weight_decay": 0.0},
            {"params": list(model.labels.parameters()), "lr": schedule.label_rate, "weight_decay": 0.0},
        ]
    )


def _rate(step: int, steps: int) -> float:
    """Learning rate as a share of its peak: a short warm-up, then a cosine decay."""
    return min(1.0, (step + 1) / min(_WARM_UP, steps / 10)) * max(0.02, 0.5 * (1 + math.cos(math.pi * step / steps)))
