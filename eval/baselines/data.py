"""What a baseline learns from: two splits of labelled texts as matrices; the test split has no place here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from eval.baselines.thresholds import Decoding
from eval.datasets import Example
from eval.metrics.classification import Labels, indicator
from prompts.errors import InvalidDataset
from prompts.files import digest_of
from prompts.taxonomy import Taxonomy
from prompts.text import Text

Probabilities = NDArray[np.float32]
Item = TypeVar("Item")
_LEAST = 1e-6


class Track(Protocol):
    """Passes items on while it shows how far they are; ``total`` where the items do not know their number."""

    def __call__(self, items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]: ...


def untracked(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Passes items on and shows nothing."""
    yield from items


@dataclass(frozen=True)
class Split:
    """Labelled texts as arrays.

    Attributes:
        texts: what is read, one string per example.
        truth: shape (texts, labels), columns in taxonomy order.
        complete: shape (texts,); False where a label that is not named may hold all the same.
        digest: 12 hex digits of ids, texts and labels.
        soft: how sure a teacher was of each label, from 0 to 1, same shape as ``truth``; None where the labels are
            people's.
    """

    texts: tuple[str, ...]
    truth: Labels
    complete: NDArray[np.bool_]
    digest: str
    soft: Probabilities | None = None

    @classmethod
    def of(cls, examples: Sequence[Example], taxonomy: Taxonomy) -> Split:
        """The examples as arrays, in their order."""
        rows = [[one.id, one.text.title, one.text.body, one.labels, one.complete] for one in examples]
        digest = digest_of(json.dumps(rows), 12)
        truth = indicator([one.labels for one in examples], taxonomy)
        complete = np.array([one.complete for one in examples], dtype=bool)
        return cls(tuple(sentence(one.text) for one in examples), truth, complete, digest)

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def known(self) -> Labels:
        """Whether a label's truth is known, shape (texts, labels): all of a complete row, else what it names."""
        return self.truth | self.complete[:, None]

    @property
    def targets(self) -> Probabilities:
        """What a scorer that can take doubt should answer: the teacher's figures where there are any, else 0 and 1."""
        return self.truth.astype(np.float32) if self.soft is None else self.soft

    @cached_property
    def frequencies(self) -> NDArray[np.float64]:
        """Share of texts with each label among those where that is known; never quite 0 or 1."""
        return np.asarray((self.truth.sum(axis=0) + 0.5) / (self.known.sum(axis=0) + 1.0))

    def judged(self) -> Split:
        """The rows by which answers may be judged: those whose labels are complete.

        Raises:
            InvalidDataset: there are none.
        """
        if not self.complete.any():
            raise InvalidDataset("no validation row has complete labels; thresholds cannot be tuned without")
        return self if self.complete.all() else self.take(np.flatnonzero(self.complete))

    def joined(self, other: Split) -> Split:
        """These rows, and after them the other's."""
        soft = None if self.soft is None and other.soft is None else np.concatenate([self.targets, other.targets])
        digest = digest_of(f"{self.digest} {other.digest}", 12)
        truth, complete = (
            np.concatenate([getattr(self, name), getattr(other, name)]) for name in ("truth", "complete")
        )
        return Split((*self.texts, *other.texts), truth, complete, digest, soft)

    def take(self, rows: NDArray[np.intp]) -> Split:
        """The given rows, in the given order; a row may come more than once."""
        texts = tuple(self.texts[row] for row in rows)
        soft = None if self.soft is None else self.soft[rows]
        return Split(texts, self.truth[rows], self.complete[rows], self.digest, soft)


@dataclass(frozen=True)
class TrainingData:
    """All that a training sees.

    Attributes:
        taxonomy: the taxonomy to learn.
        train: what weights are learnt from.
        validation: what settings, stopping and thresholds are chosen by.
        seed: of everything random.
        cache: folder for what need not be computed twice.
        scratch: folder for what is thrown away after the training.
        track: shows progress.
    """

    taxonomy: Taxonomy
    train: Split
    validation: Split
    seed: int
    cache: Path
    scratch: Path
    track: Track = untracked


class Scorer(Protocol):
    """What a training leaves: texts to one probability per label."""

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Shape (texts, labels), columns in taxonomy order; rows sum to 1 where only one label may be given."""

    def save(self, folder: Path) -> None:
        """Write the weights into an existing folder."""

    def notes(self) -> dict[str, object]:
        """What the training chose or saw, for the manifest."""


@runtime_checkable
class FixedDecoding(Protocol):
    """A scorer that needs no tuning, since it knows its decoding."""

    def decoding(self) -> Decoding:
        """How its scores become labels where nothing else is asked for."""


def sentence(text: Text) -> str:
    """Title and body as one string; the same at training and at answering."""
    return f"{text.title.strip()}. {text.body.strip()}" if text.title.strip() else text.body.strip()


def shaped(odds: NDArray[np.floating], multi: bool) -> Probabilities:
    """Log-odds per label as probabilities: each for itself, or sharing 1 where only one label may be given."""
    alone = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
    return np.asarray(alone if multi else alone / alone.sum(axis=1, keepdims=True), dtype=np.float32)


def likelihoods(scores: Probabilities, truth: Labels, multi: bool) -> NDArray[np.float64]:
    """Probability that was given to the truth, never exactly 0.

    One value per text and label; one per text where a text has one label.
    """
    right = np.where(truth, scores, 1 - scores).ravel() if multi else scores[truth]
    return np.clip(np.asarray(right, np.float64), _LEAST, None)
