"""Systems of one evaluation share vectors: each text is encoded once, and every system's time counts it."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from eval import shared_vectors
from eval.baselines.thresholds import Decoding
from eval.baselines.trained import Probabilities, Scorer, Trained
from eval.datasets import Example
from eval.manifest import EvaluationData
from eval.results import RunResults
from eval.run import EvaluationRun, OpenedSystem, RunOptions, System
from eval.shared_vectors import SharedEncoder, saved_seconds, sharing
from prompts import registry
from prompts.text import Text
from tests.similarity.words import Vectors, Words

TMDB = registry.taxonomy("tmdb")
TEXTS = [f"w{number} w{number % 7}" for number in range(20)]


class Slow(Words):
    """An encoder each of whose calls takes as long as a clock of its own says."""

    seconds = 0.0

    def encode(self, texts: Sequence[str]) -> Vectors:
        Slow.seconds += 10.0
        return super().encode(texts)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.perf_counter", lambda: Slow.seconds)


class Sums(Scorer):
    """A probability of each label from a text's vector."""

    def __init__(self, encoder: SharedEncoder) -> None:
        self.encoder = encoder

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        vectors = self.encoder.encode(texts)[:, : len(TMDB.names)]
        return np.asarray(1 / (1 + np.exp(-vectors)), np.float32)

    def save(self, folder: Path) -> None:
        """It has nothing to save."""


def run(folder: Path, encoder: Words) -> RunResults:
    """A run of a trained system over the texts, the first two of them alone."""
    data = folder.parent / "data.jsonl"
    data.write_text("x")
    model = Trained("sums", TMDB, Sums(SharedEncoder(encoder)), Decoding("global", (0.5,)), {})
    examples = [Example(text, Text(text), ("War",)) for text in TEXTS]
    system = System("sums", {}, lambda: OpenedSystem(model))
    EvaluationRun(system, EvaluationData(data, None, None, TMDB, examples), folder, RunOptions(2, 6)).execute()
    return RunResults.read(folder)


def test_a_second_system_encodes_nothing_and_has_the_same_rows_and_times(tmp_path: Path) -> None:
    first, second = Slow(), Slow()
    with sharing():
        runs = [run(tmp_path / "first", first), run(tmp_path / "second", second)]
    assert first.calls == [1, 1, 6, 6, 6]
    assert second.calls == []
    assert runs[0].rows == runs[1].rows
    assert [row.seconds for row in runs[1].rows[:3]] == [10, 10, pytest.approx(10 / 6, abs=1e-4)]


def test_each_evaluation_encodes_for_itself(tmp_path: Path) -> None:
    encoders = [Slow(), Slow()]
    for number, encoder in enumerate(encoders):
        with sharing():
            run(tmp_path / str(number), encoder)
    assert [len(encoder.calls) for encoder in encoders] == [5, 5]


def test_only_new_texts_are_encoded_and_the_order_is_kept() -> None:
    encoder = Words()
    shared = SharedEncoder(encoder)
    with sharing():
        shared.encode(TEXTS[:4])
        found = shared.encode([TEXTS[9], *TEXTS[2:5], TEXTS[9]])
    assert encoder.calls == [4, 3]
    assert found == pytest.approx(Words().encode([TEXTS[9], *TEXTS[2:5], TEXTS[9]]))
    assert shared.dimension == Words.dimension


def test_encoders_of_other_names_share_nothing() -> None:
    first, second = Words(), Words()
    second.name = "other"
    with sharing():
        for encoder in (first, second):
            SharedEncoder(encoder).encode(TEXTS)
    assert (len(first.calls), len(second.calls)) == (1, 1)


def test_no_more_vectors_are_kept_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_vectors, "_MOST", 5)
    encoder = Words()
    with sharing():
        for _ in range(2):
            SharedEncoder(encoder).encode(TEXTS)
    assert encoder.calls == [20, 15]


def test_outside_of_an_evaluation_nothing_is_kept() -> None:
    encoder = Words()
    for _ in range(2):
        SharedEncoder(encoder).encode(TEXTS)
    assert len(encoder.calls) == 2
    assert math.isclose(saved_seconds(), 0)
