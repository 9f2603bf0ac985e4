"""One hidden layer over vectors of a frozen MiniLM, plain or as in the matcher.

Settings come from a random search on validation texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from eval.baselines.data import Probabilities, Split, TrainingData, likelihoods
from eval.baselines.embeddings import AsRead, embeddings
from eval.baselines.losses import weighted_bce
from eval.baselines.thresholds import f1, tune
from eval.metrics.classification import Labels
from llm.embedded.matcher import SHIPPED
from prompts.errors import InvalidSetting
from similarity.encoders.minilm import MiniLM
from similarity.index.builder import IndexEncoder

_BATCH = 128
_WEIGHTS = "perceptron.safetensors"
_EPOCHS = "stopped after"

Score = tuple[float, float]  # on validation texts: of the answers, and the mean log-likelihood of the truth
_WORST: Score = (-1.0, 0.0)


ENCODERS: Mapping[str, Callable[[], IndexEncoder]] = {"minilm": MiniLM, "matcher": lambda: AsRead(SHIPPED)}


@dataclass(frozen=True)
class PerceptronSettings:
    """Settings of the hidden layer and of its random search.

    Attributes:
        trials: settings to draw and try; the best on validation texts is kept.
        epochs: at most so many rounds through the training texts, per trial.
        patience: rounds without a better validation score after which a trial stops.
        encoder: ``minilm`` as it comes, or ``matcher``: vectors and words as the embedded classifier reads them.
    """

    trials: int = 12
    epochs: int = 40
    patience: int = 4
    encoder: str = "minilm"

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise InvalidSetting(f"there is no encoder {self.encoder!r}; give {' or '.join(ENCODERS)}")
        for name in ("trials", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise InvalidSetting(f"{name} is {getattr(self, name)}; give 1 or more")


@dataclass(frozen=True)
class Draw:
    """One trial's settings."""

    hidden: int
    dropout: float
    lr: float
    weight_decay: float


@dataclass(frozen=True)
class Perceptron:
    """MiniLM's vectors to label scores."""

    kind: str
    encoder: IndexEncoder
    layers: nn.Sequential
    multi: bool
    chosen: dict[str, object]
    cache: Path | None = None

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """See ``Scorer.probabilities``."""
        if self.cache:  # while training, the same texts are scored again and again
            return self.of_vectors(embeddings(self.encoder, texts, self.cache))
        return self.of_vectors(self.encoder.encode(list(texts)))

    def of_vectors(self, vectors: NDArray[np.float32]) -> Probabilities:
        """The same from vectors."""
        self.layers.eval()
        with torch.inference_mode():
            return to_probabilities(self.layers(torch.from_numpy(vectors)), self.multi)

    def save(self, folder: Path) -> None:
        """See ``Scorer.save``."""
        save_file(self.layers.state_dict(), folder / _WEIGHTS, metadata={"encoder": self.kind})

    def notes(self) -> dict[str, object]:
        """See ``Scorer.notes``."""
        return {"encoder": self.encoder.name, **self.chosen}


def fit(material: TrainingData, settings: PerceptronSettings) -> Perceptron:
    """Encode once, then try ``trials`` draws."""
    encoder = ENCODERS[settings.encoder]()
    training = embeddings(encoder, material.train.texts, material.cache, material.track)
    judged = material.validation.judged()
    validation = embeddings(encoder, judged.texts, material.cache, material.track)
    random = np.random.default_rng(material.seed)
    best, best_score = None, _WORST
    for _ in material.track(range(settings.trials), "trials"):
        trial = _Trial(_draw(random), material, training)
        score = trial.run(settings, validation, judged)
        if score > best_score:
            best, best_score = trial, score
    assert best is not None  # there is at least one trial, and nothing is as bad as the worst
    best.layers.load_state_dict(best.weights)
    chosen = {**asdict(best.draw), _EPOCHS: best.epoch, "validation score": round(best_score[0], 4)}
    return Perceptron(settings.encoder, encoder, best.layers, material.taxonomy.multi, chosen, material.cache)


def again(material: TrainingData, settings: PerceptronSettings, notes: Mapping[str, Any]) -> Perceptron:
    """One training with the draw that an earlier search chose, for as many rounds."""
    encoder = ENCODERS[settings.encoder]()
    vectors = embeddings(encoder, material.train.texts, material.cache, material.track)
    trial = _Trial(Draw(**{one.name: notes[one.name] for one in fields(Draw)}), material, vectors)
    for _ in range(notes[_EPOCHS]):
        trial.learn()
    chosen = {**asdict(trial.draw), _EPOCHS: notes[_EPOCHS]}
    return Perceptron(settings.encoder, encoder, trial.layers, material.taxonomy.multi, chosen, material.cache)


def restore(folder: Path, labels: int, multi: bool) -> Perceptron:
    """What ``Perceptron.save`` wrote."""
    weights = load_file(folder / _WEIGHTS)
    with safe_open(folder / _WEIGHTS, "pt") as file:
        kind = file.metadata()["encoder"]
    hidden, dimension = weights["0.weight"].shape
    layers = _layers(dimension, hidden, 0.0, labels)
    layers.load_state_dict(weights)
    return Perceptron(kind, ENCODERS[kind](), layers, multi, {})


def to_probabilities(logits: Tensor, multi: bool) -> Probabilities:
    """Logits as probabilities: each label for itself, or all sharing 1."""
    found = logits.float().sigmoid() if multi else logits.float().softmax(dim=1)
    return np.asarray(found.cpu().numpy(), dtype=np.float32)


def validation_score(scores: Probabilities, truth: Labels, most: int, multi: bool) -> float:
    """What settings are chosen and stopped by: the mean of micro- and macro-F1 at the best global threshold."""
    rule = tune(scores, truth, "global" if multi else "best", "micro", most)
    chosen = rule.choose(scores, most)
    return (f1(chosen, truth, "micro") + f1(chosen, truth, "macro")) / 2


class _Trial:
    """One training with drawn settings, stopped early."""

    def __init__(self, draw: Draw, material: TrainingData, training: NDArray[np.float32]) -> None:
        torch.manual_seed(material.seed)
        self.draw, self.epoch, self._taxonomy = draw, 0, material.taxonomy
        self.layers = _layers(training.shape[1], draw.hidden, draw.dropout, len(material.taxonomy.names))
        self.weights = self.layers.state_dict()
        self._vectors = torch.from_numpy(training)
        self._truth = torch.from_numpy(material.train.targets)
        self._known = torch.from_numpy(material.train.known).float()
        self._optimiser = torch.optim.AdamW(self.layers.parameters(), lr=draw.lr, weight_decay=draw.weight_decay)

    def run(self, settings: PerceptronSettings, validation: NDArray[np.float32], judged: Split) -> Score:
        """The best validation score; ``weights`` and ``epoch`` are those of its round."""
        best = _WORST
        for epoch in range(1, settings.epochs + 1):
            self.learn()
            if (score := self._score(torch.from_numpy(validation), judged)) > best:
                best, self.epoch = score, epoch
                self.weights = {name: value.clone() for name, value in self.layers.state_dict().items()}
            elif epoch - self.epoch >= settings.patience:
                break
        return best

    def learn(self) -> None:
        """One round."""
        self.layers.train()
        for rows in torch.split(torch.randperm(len(self._vectors)), _BATCH):
            self._optimiser.zero_grad()
            loss = self._loss(self.layers(self._vectors[rows]), self._truth[rows], self._known[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()

    def _loss(self, logits: Tensor, truth: Tensor, known: Tensor) -> Tensor:
        if self._taxonomy.multi:
            return weighted_bce(logits, truth, known, None)
        return nn.functional.cross_entropy(logits, truth)

    def _score(self, validation: Tensor, judged: Split) -> Score:
        """Of rounds that answer alike, as they soon do of few texts, the surer is the better."""
        self.layers.eval()
        with torch.inference_mode():
            scores = to_probabilities(self.layers(validation), self._taxonomy.multi)
        multi, truth = self._taxonomy.multi, judged.truth
        sure = float(np.log(likelihoods(scores, truth, multi)).mean())
        return validation_score(scores, truth, self._taxonomy.max_labels, multi), sure


def _layers(dimension: int, hidden: int, dropout: float, labels: int) -> nn.Sequential:
    parts = (nn.Linear(dimension, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, labels))
    return nn.Sequential(*parts)


def _draw(random: np.random.Generator) -> Draw:
    return Draw(
        hidden=int(random.choice([128, 256, 512, 1024])),
        dropout=float(random.choice([0.1, 0.2, 0.3, 0.4, 0.5])),
        lr=float(10 ** random.uniform(-3.5, -2.3)),
        weight_decay=float(10 ** random.uniform(-4, -1)),
    )
