"""The embedded classifier as it comes: all that is learnt is from which probability on each label is given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from eval.baselines import manifest
from eval.baselines.data import Probabilities, TrainingData
from eval.baselines.dummy import NoSettings
from llm.embedded.matcher import SHIPPED, Matcher, matcher
from prompts.files import digest_of
from prompts.taxonomy import Taxonomy

_FILE = "weights.json"


@dataclass(frozen=True)
class EmbeddedScores:
    """The probabilities of the embedded classifier for one taxonomy."""

    taxonomy: Taxonomy

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """See ``Scorer.probabilities``."""
        answers = _shipped().classify(texts, self.taxonomy)
        return np.array([[one.scores[name] for name in self.taxonomy.names] for one in answers], dtype=np.float32)

    def save(self, folder: Path) -> None:
        """See ``Scorer.save``: the weights come with the program, so that only which they are is kept."""
        (folder / _FILE).write_text(json.dumps(self.notes()) + "\n", encoding="utf-8")

    def notes(self) -> dict[str, object]:
        """See ``Scorer.notes``."""
        return {"weights": SHIPPED.name, "sha256": _digest()}


def fit(material: TrainingData, settings: NoSettings) -> EmbeddedScores:
    """Nothing to learn; thresholds are tuned by who asks for this."""
    return EmbeddedScores(material.taxonomy)


def restore(folder: Path, labels: int, multi: bool) -> EmbeddedScores:
    """What ``EmbeddedScores.save`` wrote.

    Raises:
        ValueError: the program comes with other weights by now, to which the thresholds were not tuned.
    """
    if json.loads((folder / _FILE).read_text(encoding="utf-8"))["sha256"] != _digest():
        raise ValueError("its thresholds belong to other weights than the program comes with now")
    return EmbeddedScores(manifest.parts_of(folder)[1])


@cache
def _shipped() -> Matcher:
    return matcher()


@cache
def _digest() -> str:
    return digest_of(SHIPPED)
