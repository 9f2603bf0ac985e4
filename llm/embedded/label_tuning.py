"""Tuning of the embedded classifier for one taxonomy by descriptions of its labels, and the file that keeps it.

A vector per label is learned over frozen vectors of plain MiniLM: names, aliases and descriptions of a label are the
positives of a multi-positive InfoNCE loss (van den Oord et al. 2018, arXiv 1807.03748; descriptions as the only
supervision: OpenReview z3bntsNwG0), those of the other labels its negatives. With frozen vectors the loss is convex.
The learned vectors add log-odds to those of the classifier, whatever it computes them from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from llm.embedded.cosine import COHORT, TextEncoder
from prompts.errors import InvalidSetting
from prompts.files import digest_of, replacing
from similarity.native import one_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Numbers = TypeVar("Numbers", NDArray[np.float32], NDArray[np.float64])

FEWEST = 5
"""Descriptions that every label needs; the source of the method has five or more."""
# Chosen on the validation rows of seven families of labels that the classifier was not trained on, with five
# descriptions of each label (``eval/RESULTS.md``).
_SCALE = 10.0  # from cosines to logits, in training
_PULL = 0.03  # weight of the squared distance to the mean of name and descriptions
WEIGHT = 10.0
"""From cosines with the learned vectors to log-odds. More helps topics and intents, and costs grades of reviews."""
_STEPS, _RATE = 150, 0.01
_FORMAT = "1"


@dataclass(frozen=True)
class LabelWords:
    """What there is about a label: its name, other spellings, and descriptions."""

    name: str
    aliases: tuple[str, ...]
    descriptions: tuple[str, ...]
    known: str  # name and description, as the classifier reads them

    @property
    def positives(self) -> tuple[str, ...]:
        """Each of them once, names first."""
        return tuple(dict.fromkeys((self.name, *self.aliases, *self.descriptions)))


@dataclass(frozen=True)
class MadeFrom:
    """What a tuning depends on.

    Attributes:
        labels: ``Taxonomy.labels_digest``.
        descriptions: digest of the descriptions in the taxonomy's file.
        classifier: name and digest of the classifier's weights.
    """

    labels: str
    descriptions: str
    classifier: str

    def changes(self, now: MadeFrom) -> str:
        """What is different now, for a message; empty if nothing is."""
        if self.labels != now.labels:
            return "its labels"
        if self.descriptions != now.descriptions:
            return "its descriptions"
        return f"the classifier from {self.classifier} to {now.classifier}" * (self.classifier != now.classifier)


@dataclass(frozen=True)
class LabelTuning:
    """Log-odds that are added to a classifier's, linear in the plain MiniLM vector of a text.

    Attributes:
        vectors: shape (labels, 384), in taxonomy order.
        offsets: shape (labels,).
        made_from: it is used for the same labels, descriptions and classifier only.
    """

    vectors: Array
    offsets: Array
    made_from: MadeFrom

    @cached_property
    def digest(self) -> str:
        """8 hex digits that change whenever the added log-odds do; the same before and after ``save``."""
        return digest_of(self.vectors.astype(np.float16).tobytes() + self.offsets.tobytes(), 8)

    def log_odds(self, texts: Array) -> Array:
        """Of texts' unit vectors, shape (texts, labels)."""
        return np.asarray(texts @ self.vectors.T + self.offsets, np.float32)


def train(labels: Sequence[LabelWords], encoder: TextEncoder) -> tuple[Array, Array]:
    """Learn the vectors and offsets of a ``LabelTuning`` from names, aliases and descriptions.

    What is added to the classifier is the learned vector less that of name and description, which the classifier knows.

    Args:
        labels: two or more, each with a description or more.
        encoder: plain MiniLM.

    Raises:
        InvalidSetting: fewer than two labels, which have nothing to be distinguished from.
    """
    if len(labels) < 2:
        raise InvalidSetting("a taxonomy of one label cannot be tuned; tuning separates labels from each other")
    words = list(dict.fromkeys(one for label in labels for one in (*label.positives, label.known)))
    encoded = encoder.encode([*words, *COHORT])
    centre = encoded[len(words) :].mean(axis=0)  # of topics of all kinds
    vector = dict(zip(words, encoded, strict=False))
    known = np.stack([_unit(vector[label.name] + vector[label.known]) for label in labels])
    with one_thread():
        found = np.float32(WEIGHT) * (_learned(labels, vector, centre) - known)
    return found, np.asarray(-found @ centre, np.float32)


def _learned(labels: Sequence[LabelWords], vector: Mapping[str, Array], centre: Array) -> Array:
    owners = np.repeat(np.arange(len(labels)), [len(label.positives) for label in labels])
    positives = np.stack([vector[one] for label in labels for one in label.positives])
    means = [_unit(np.mean([vector[one] for one in label.descriptions], axis=0)) for label in labels]
    starts = np.stack([_unit(vector[label.name] + 2 * mean) for label, mean in zip(labels, means, strict=True)])
    return _descend(positives - centre, owners, starts)


def _descend(positives: Array, owners: NDArray[Any], starts: Array) -> Array:
    """The label vectors that minimise the loss, by Adam (Kingma and Ba 2015, arXiv 1412.6980).

    The mean over labels of the mean cross-entropy of each one's positives, and ``_PULL`` times the mean squared
    distance to ``starts``.
    """
    counts = np.bincount(owners, minlength=len(starts))
    weights = (1 / counts[owners] / len(starts)).astype(np.float32)[:, None]
    rows = np.arange(len(owners))
    moved, first, second = np.zeros_like(starts), np.zeros_like(starts), np.zeros_like(starts)
    for step in range(1, _STEPS + 1):
        found = softmax(_SCALE * positives @ (starts + moved).T)
        found[rows, owners] -= 1
        slope = _SCALE * (weights * found).T @ positives + 2 * _PULL / len(starts) * moved
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        moved -= _RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return np.asarray(starts + moved, np.float32)


def settings_of_training() -> dict[str, float | str]:
    """What the manifest records."""
    return {
        "loss": "multi-positive InfoNCE",
        "scale": _SCALE,
        "pull": _PULL,
        "weight": WEIGHT,
        "steps": _STEPS,
        "rate": _RATE,
    }


def tuned_path(taxonomy_file: Path) -> Path:
    """The file beside a taxonomy's file that has its tuning."""
    return taxonomy_file.with_name(f"{taxonomy_file.stem}.tuned.safetensors")


def manifest_path(taxonomy_file: Path) -> Path:
    """The manifest beside it, for people."""
    return taxonomy_file.with_name(f"{taxonomy_file.stem}.tuned.json")


def save(tuning: LabelTuning, path: Path) -> None:
    """Write the tuning in half precision; a reader sees the old file or the new one."""
    from safetensors.numpy import save

    tensors: dict[str, Any] = {
        "vectors": tuning.vectors.astype(np.float16),
        "offsets": tuning.offsets.astype(np.float32),
    }
    metadata = {"format": _FORMAT, **asdict(tuning.made_from)}
    with replacing(path) as new:
        new.write_bytes(save(tensors, metadata))


def load(path: Path) -> LabelTuning:
    """Read what ``save`` wrote.

    Raises:
        InvalidSetting: the file is damaged, or of another version.
    """
    from safetensors import SafetensorError, safe_open

    advice = "run `main.py taxonomies tune` again, or remove it"
    try:
        with safe_open(str(path), "np") as file:
            metadata = dict(file.metadata() or {})
            vectors, offsets = (file.get_tensor(name).astype(np.float32) for name in ("vectors", "offsets"))
        if metadata.pop("format") != _FORMAT:
            raise InvalidSetting(f"{path} is of another version; {advice}")
        return LabelTuning(vectors, offsets, MadeFrom(**metadata))
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise InvalidSetting(f"{path} cannot be read ({error}); {advice}") from None


def _unit(vector: Array) -> Array:
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def softmax(logits: Numbers) -> Numbers:
    """Shares of each row, which sum to 1, in the precision of the logits; shape (rows, columns)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return cast("Numbers", powers / powers.sum(axis=1, keepdims=True))
