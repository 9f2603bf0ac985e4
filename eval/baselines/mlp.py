"""An MLP with one hidden layer over frozen MiniLM vectors; its hyperparameters are chosen by random search."""

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

from eval.baselines.embeddings import MatcherEncoder, embeddings
from eval.baselines.losses import weighted_bce
from eval.baselines.thresholds import f1, tune
from eval.baselines.trained import Probabilities, Scorer, Split, TrainingData, likelihoods
from eval.metrics import Labels
from eval.shared_vectors import SharedEncoder, plain_minilm
from llm.embedded.matcher import SHIPPED
from prompts.errors import InvalidSetting
from similarity.index.builder import IndexEncoder

_BATCH = 128
_WEIGHTS = "perceptron.safetensors"
_EPOCHS = "stopped after"

Score = tuple[float, float]  # on validation texts: ``validation_score``, and the mean log-likelihood of the truth

ENCODERS: Mapping[str, Callable[[], IndexEncoder]] = {
    "minilm": lambda: SharedEncoder(plain_minilm()),
    "matcher": lambda: SharedEncoder(MatcherEncoder(SHIPPED)),
}


@dataclass(frozen=True)
class MLPSettings:
    """Settings of an MLP.

    Attributes:
        trials: number of draws of the random search; the best on validation texts is kept.
        epochs: maximum number of epochs of a trial.
        patience: epochs without a better validation score after which a trial stops.
        encoder: ``minilm`` for plain vectors, or ``matcher`` for vectors and word features of the embedded classifier.
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
    """Hyperparameters of a trial."""

    hidden: int
    dropout: float
    lr: float
    weight_decay: float


@dataclass(frozen=True)
class MLP(Scorer):
    """MiniLM vectors to probabilities; ``kind`` is a name in ``ENCODERS``, ``chosen`` is for the manifest."""

    kind: str
    encoder: IndexEncoder
    layers: nn.Sequential
    multi: bool
    chosen: dict[str, object]
    cache: Path | None = None

    @classmethod
    def restore(cls, folder: Path, labels: int, multi: bool) -> MLP:
        weights = load_file(folder / _WEIGHTS)
        with safe_open(folder / _WEIGHTS, "pt") as file:
            kind = file.metadata()["encoder"]
        hidden, dimension = weights["0.weight"].shape
        layers = _layers(dimension, hidden, 0.0, labels)
        layers.load_state_dict(weights)
        return cls(kind, ENCODERS[kind](), layers, multi, {})

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        vectors = embeddings(self.encoder, texts, self.cache) if self.cache else self.encoder.encode(list(texts))
        self.layers.eval()
        with torch.inference_mode():
            return to_probabilities(self.layers(torch.from_numpy(vectors)), self.multi)

    def save(self, folder: Path) -> None:
        save_file(self.layers.state_dict(), folder / _WEIGHTS, metadata={"encoder": self.kind})

    def train_info(self) -> dict[str, object]:
        return {"encoder": self.encoder.name, **self.chosen}


def fit(data: TrainingData, settings: MLPSettings) -> MLP:
    """Encode all texts once, then run ``trials`` trials and keep the best."""
    encoder = ENCODERS[settings.encoder]()
    training = embeddings(encoder, data.train.texts, data.cache, data.track)
    validation = data.validation.complete_rows()
    vectors = embeddings(encoder, validation.texts, data.cache, data.track)
    random = np.random.default_rng(data.seed)
    trials = (_Trial(_draw(random), data, training) for _ in data.track(range(settings.trials), "trials"))
    best = max((trial.run(settings, vectors, validation) for trial in trials), key=lambda trial: trial.score)
    best.layers.load_state_dict(best.weights)
    chosen = {**asdict(best.draw), _EPOCHS: best.epoch, "validation score": round(best.score[0], 4)}
    return MLP(settings.encoder, encoder, best.layers, data.taxonomy.multi, chosen, data.cache)


def refit(data: TrainingData, settings: MLPSettings, train_info: Mapping[str, Any]) -> MLP:
    """Train once with the hyperparameters and the number of epochs of an earlier search."""
    encoder = ENCODERS[settings.encoder]()
    vectors = embeddings(encoder, data.train.texts, data.cache, data.track)
    trial = _Trial(Draw(**{one.name: train_info[one.name] for one in fields(Draw)}), data, vectors)
    for _ in range(train_info[_EPOCHS]):
        trial.train_epoch()
    chosen = {**asdict(trial.draw), _EPOCHS: train_info[_EPOCHS]}
    return MLP(settings.encoder, encoder, trial.layers, data.taxonomy.multi, chosen, data.cache)


def to_probabilities(logits: Tensor, multi: bool) -> Probabilities:
    """Logits as probabilities: a sigmoid per label, or a softmax for single-label taxonomies."""
    found = logits.float().sigmoid() if multi else logits.float().softmax(dim=1)
    return np.asarray(found.cpu().numpy(), dtype=np.float32)


def validation_score(scores: Probabilities, truth: Labels, max_labels: int, multi: bool) -> float:
    """Criterion of model selection and early stopping: the mean of micro- and macro-F1 at the best global threshold."""
    decoding = tune(scores, truth, "global" if multi else "best", "micro", max_labels)
    return f1(decoding.choose(scores, max_labels), truth, "both")


class _Trial:
    """One training with early stopping; ``weights``, ``epoch`` and ``score`` are those of the best epoch."""

    def __init__(self, draw: Draw, data: TrainingData, training: NDArray[np.float32]) -> None:
        torch.manual_seed(data.seed)
        self.draw, self.epoch, self._taxonomy = draw, 0, data.taxonomy
        self.score: Score = (-1.0, 0.0)
        self.layers = _layers(training.shape[1], draw.hidden, draw.dropout, len(data.taxonomy.names))
        self.weights = self.layers.state_dict()
        self._vectors = torch.from_numpy(training)
        self._truth = torch.from_numpy(data.train.targets)
        self._known = torch.from_numpy(data.train.known).float()
        self._optimiser = torch.optim.AdamW(self.layers.parameters(), lr=draw.lr, weight_decay=draw.weight_decay)

    def run(self, settings: MLPSettings, vectors: NDArray[np.float32], validation: Split) -> _Trial:
        """Train until early stopping."""
        for epoch in range(1, settings.epochs + 1):
            self.train_epoch()
            if (score := self._score(torch.from_numpy(vectors), validation)) > self.score:
                self.score, self.epoch = score, epoch
                self.weights = {name: value.clone() for name, value in self.layers.state_dict().items()}
            elif epoch - self.epoch >= settings.patience:
                break
        return self

    def train_epoch(self) -> None:
        """Train one epoch."""
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

    def _score(self, vectors: Tensor, validation: Split) -> Score:
        """The likelihood breaks ties of the F1, which are frequent on few texts."""
        self.layers.eval()
        with torch.inference_mode():
            scores = to_probabilities(self.layers(vectors), self._taxonomy.multi)
        multi, truth = self._taxonomy.multi, validation.truth
        log_likelihood = float(np.log(likelihoods(scores, truth, multi)).mean())
        return validation_score(scores, truth, self._taxonomy.max_labels, multi), log_likelihood


def _layers(dimension: int, hidden: int, dropout: float, labels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dimension, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, labels))


def _draw(random: np.random.Generator) -> Draw:
    return Draw(
        hidden=int(random.choice([128, 256, 512, 1024])),
        dropout=float(random.choice([0.1, 0.2, 0.3, 0.4, 0.5])),
        lr=float(10 ** random.uniform(-3.5, -2.3)),
        weight_decay=float(10 ** random.uniform(-4, -1)),
    )
