"""Training of the general branch, which labels texts away from films: steps, folds, and the constants fitted after it.

Each fold trains without some families and is measured on them, so the table of the manifest shows the quality on labels
and texts that are unlike those of the training. The constants that turn cosines into probabilities are fitted on the
same texts. The shipped weights are trained on all families. They are a mean of the trained and the original weights
(Wortsman et al. 2021, arXiv 2109.01903), since that is more accurate on unseen families.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from prompts.files import digest_of, replacing
from similarity.encoders.minilm import MiniLM
from similarity.encoders.tokens import ENDS
from training.matcher.general_data import FamilyTexts, digest
from training.matcher.general_model import CandidateLabels, GeneralModel, lower_states, padded
from training.matcher.model import Checkpoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

_CLIP, _WEIGHT_DECAY, _WARM_UP = 1.0, 0.01, 30
_HEAD_RATE = 2.5  # of the residual layer and the scales, as a multiple of the layers' rate
_SAVE_EVERY = 50  # steps: about two minutes on a core
_MOST_LABELS = 64  # candidates of a batch
_MOST_OF_TEXT = 20  # candidates of a text that has a random part of them
_OTHERS = 12  # labels of other fields
_WIDTH = 32  # texts of a batch that is not trained on
_POOL = 8  # batches whose texts are sorted by length together

OnProgress = Callable[[str, int, int], None]  # what, done, of how many


@dataclass(frozen=True)
class GeneralSchedule:
    """How long and how fast the general branch is trained.

    Attributes:
        steps: updates of the weights.
        sets: label sets of a step.
        texts: texts of each label set in a step.
        most: texts of a label set; more are not read.
        rate: peak learning rate of the layers.
        share: of the trained weights in the mean with the original ones.
    """

    steps: int = 300
    sets: int = 3
    texts: int = 24
    most: int = 1800
    rate: float = 2e-4
    share: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class ReadySet:
    """A label set with the states of its texts and the vectors of its phrasings, one array a label."""

    content: FamilyTexts
    states: Sequence[NDArray[np.float16]]
    vectors: Sequence[Array]


def ready(sets: Sequence[FamilyTexts], encoder: MiniLM, folder: Path, on_progress: OnProgress) -> list[ReadySet]:
    """Compute the states of all texts and the vectors of all phrasings, each once; states are kept in ``folder``."""
    texts = list(dict.fromkeys(text for one in sets for text in one.texts))
    states = dict(zip(texts, _states(texts, folder, on_progress), strict=True))
    words = list(dict.fromkeys(word for one in sets for words in one.phrasings for word in words))
    vectors = dict(zip(words, encoder.encode(words), strict=True))
    return [
        ReadySet(
            one, [states[text] for text in one.texts],
            [np.stack([vectors[word] for word in words]) for words in one.phrasings],
        )
        for one in sets
    ]  # fmt: skip


def _states(texts: Sequence[tuple[int, ...]], folder: Path, on_progress: OnProgress) -> Sequence[NDArray[np.float16]]:
    """States of the texts after the lower layers, from the folder's file if it has them."""
    path = folder / f"states-{digest_of(repr(texts), 16)}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        found = lower_states(texts, _WIDTH, lambda done: on_progress("states", done, len(texts)))
        with replacing(path) as new, new.open("wb") as file:
            np.save(file, np.concatenate(found))
    every = np.load(path, mmap_mode="r")
    bounds = np.cumsum([0, *(len(text) + len(ENDS) for text in texts)])
    return [every[start:end] for start, end in pairwise(bounds.tolist())]


def train(
    sets: Sequence[ReadySet],
    centre: Array,
    schedule: GeneralSchedule,
    checkpoints: Checkpoints,
    on_progress: OnProgress,
) -> GeneralModel:
    """Train on the label sets; an interrupted training resumes with the same weights as an uninterrupted one."""
    torch.manual_seed(schedule.seed)
    model, stage = GeneralModel(centre), f"general-{_stage(sets, schedule)}"
    optimiser = _optimiser(model, schedule)
    done = _restore(model, optimiser, checkpoints.load(stage))
    peaks, feed = [group["lr"] for group in optimiser.param_groups], _Feed(sets, schedule)
    model.train()
    for step, batches in enumerate(feed.steps(), start=1):
        if step <= done:
            continue
        for group, peak in zip(optimiser.param_groups, peaks, strict=True):
            group["lr"] = peak * _rate(step - 1, schedule.steps)
        optimiser.zero_grad()
        for batch in batches:
            loss = model.loss(model.texts(*padded(batch.states)), batch.candidates(sets)) / len(batches)
            loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        optimiser.step()
        on_progress("steps", step, schedule.steps)
        if step % _SAVE_EVERY == 0 or step == schedule.steps:
            state = {"done": step, "student": model.state_dict(), "optimiser": optimiser.state_dict()}
            checkpoints.save(stage, state)
    return _mean(model, GeneralModel(centre), schedule.share)


@dataclass(frozen=True)
class _SetBatch:
    """Texts of a label set; ``seed`` draws their candidates."""

    set: ReadySet
    rows: Sequence[int]
    seed: str

    @property
    def states(self) -> list[NDArray[np.float16]]:
        return [self.set.states[row] for row in self.rows]

    def candidates(self, sets: Sequence[ReadySet]) -> CandidateLabels:
        """Draw the candidates: a phrasing of each label, and the labels that each text is compared with."""
        draw, content = random.Random(self.seed), self.set.content
        true = np.zeros((len(self.rows), len(content.labels)), bool)
        for place, row in enumerate(self.rows):
            true[place, list(content.true[row])] = True
        columns = self._columns(true, draw)
        labels = np.stack([draw.choice(self.set.vectors[column]) for column in columns])
        included = _included(true[:, columns], labels, draw)
        return CandidateLabels(
            torch.from_numpy(labels), torch.from_numpy(true[:, columns]), torch.from_numpy(included),
            torch.from_numpy(self._others(sets, draw)),
        )  # fmt: skip

    def _columns(self, true: NDArray[np.bool_], draw: random.Random) -> list[int]:
        """The true labels of all texts, and others up to ``_MOST_LABELS``."""
        used = np.flatnonzero(true.any(axis=0)).tolist()
        rest = np.flatnonzero(~true.any(axis=0)).tolist()
        return [*used, *draw.sample(rest, max(0, min(len(rest), _MOST_LABELS - len(used))))]

    def _others(self, sets: Sequence[ReadySet], draw: random.Random) -> Array:
        distant = [one for one in sets if one.content.field != self.set.content.field]
        found = [draw.choice(draw.choice(draw.choice(distant).vectors)) for _ in range(_OTHERS if distant else 0)]
        return np.stack(found) if found else np.zeros((0, self.set.vectors[0].shape[1]), np.float32)


def _included(true: NDArray[np.bool_], labels: Array, draw: random.Random) -> NDArray[np.bool_]:
    """Half of the texts have all labels as candidates, a quarter random ones, a quarter those like a true label."""
    count = true.shape[1]
    found = np.ones_like(true)
    for row in range(len(true) if count > 4 else 0):
        if draw.random() < 0.5:
            continue
        chance = np.array([draw.random() for _ in range(count)])
        places = np.flatnonzero(true[row])
        if draw.random() < 0.5 and len(places):
            chance = chance / 2 + labels @ labels[places[0]]
        found[row] = true[row]
        found[row, np.argsort(-chance)[: draw.randint(2, min(count, _MOST_OF_TEXT))]] = True
    return found


class _Feed:
    """The batches of every step; each label set is as frequent as any other, and its texts are of similar length."""

    def __init__(self, sets: Sequence[ReadySet], schedule: GeneralSchedule) -> None:
        self._sets, self._schedule = sets, schedule
        self._queues: list[list[list[int]]] = [[] for _ in sets]
        self._draw = random.Random(schedule.seed)

    def steps(self) -> Iterator[list[_SetBatch]]:
        for step in range(self._schedule.steps):
            chosen = self._draw.sample(range(len(self._sets)), min(self._schedule.sets, len(self._sets)))
            yield [_SetBatch(self._sets[at], self._next(at), f"{self._schedule.seed} {step} {at}") for at in chosen]

    def _next(self, at: int) -> list[int]:
        queue = self._queues[at]
        if not queue:
            states, size = self._sets[at].states, self._schedule.texts
            rows = list(range(len(states)))
            self._draw.shuffle(rows)
            for start in range(0, len(rows), size * _POOL):
                pool = sorted(rows[start : start + size * _POOL], key=lambda row: len(states[row]))
                queue += [pool[first : first + size] for first in range(0, len(pool), size)]
            self._draw.shuffle(queue)
        return queue.pop()


def _optimiser(model: GeneralModel, schedule: GeneralSchedule) -> torch.optim.Optimizer:
    layers = list(model.layers.parameters())
    head = [value for name, value in model.named_parameters() if not name.startswith("layers.")]
    return torch.optim.AdamW(
        [
            {"params": layers, "lr": schedule.rate, "weight_decay": _WEIGHT_DECAY},
            {"params": head, "lr": _HEAD_RATE * schedule.rate, "weight_decay": 0.0},
        ]
    )


def _rate(step: int, steps: int) -> float:
    """Learning rate as a share of its peak: a short warm-up, then a cosine decay."""
    return min(1.0, (step + 1) / min(_WARM_UP, max(1, steps / 10))) * max(
        0.02, 0.5 * (1 + math.cos(math.pi * step / steps))
    )


def _restore(model: GeneralModel, optimiser: torch.optim.Optimizer, state: Any) -> int:
    if state is None:
        return 0
    model.load_state_dict(state["student"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["done"])


def _mean(trained: GeneralModel, original: GeneralModel, share: float) -> GeneralModel:
    before = original.state_dict()
    trained.load_state_dict(
        {name: share * value + (1 - share) * before[name] for name, value in trained.state_dict().items()}
    )
    return trained.eval()


def _stage(sets: Sequence[ReadySet], schedule: GeneralSchedule) -> str:
    return digest_of(repr((asdict(schedule), digest([one.content for one in sets]))), 16)


def text_vectors(model: GeneralModel, states: Sequence[NDArray[np.float16]]) -> Array:
    """Unit vectors of texts from their states after the lower layers, shape (texts, 384)."""
    order = sorted(range(len(states)), key=lambda row: len(states[row]))
    found: list[Any] = [None] * len(states)
    with torch.inference_mode():
        for start in range(0, len(order), _WIDTH):
            part = order[start : start + _WIDTH]
            for row, vector in zip(part, model.texts(*padded([states[at] for at in part])).numpy(), strict=True):
                found[row] = vector
    return np.stack(found)


def stages(out: Path) -> Checkpoints:
    """Where a training of ``out`` keeps its state."""
    return Checkpoints(out.with_suffix(".stages"))
