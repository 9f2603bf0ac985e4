"""A LoRA adapter on a base with trained word embeddings.

Training texts get their labels, where the base answers at random; other texts get better labels than from the base.
"""

from pathlib import Path

import httpx2
import pytest

from benchmarks.lora import compare
from llm.backends.local_backend import LocalBackend
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from tests.support.process import service
from tests.support.trained_adapter import train_tiny_adapter, training_films
from tests.support.trained_qwen2 import PROMPT
from tests.support.worded_qwen2 import GENRES, films, worded


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worded(tmp_path_factory.mktemp("worded") / "qwen2")


def test_an_adapter_generalizes_to_films_outside_its_training_data(tmp_path: Path) -> None:
    frequent, base, trained = compare(*films(), tmp_path).values()
    assert trained["micro-F1"] > base["micro-F1"] + 0.1
    assert trained["micro-F1"] > frequent["micro-F1"]
    assert trained["macro-F1"] > frequent["macro-F1"]


def test_noise_becomes_the_right_genres(base: Path, tmp_path: Path) -> None:
    made = train_tiny_adapter(base, tmp_path / "films")
    assert made["validation"]["before"]["micro-F1"] < 0.4
    backend = LocalBackend(str(base), device="cpu", dtype="float32", adapter=tmp_path / "films")
    found = LanguageModel(backend, STRATEGIES["json_list"], PROMPT).classify(
        [one.text for one in training_films()], GENRES
    )
    right = sum(bool(set(one.labels) & set(film.labels)) for one, film in zip(found, training_films(), strict=True))
    assert right >= 7


def test_a_service_answers_with_an_adapter_merged_in_its_worker(base: Path, tmp_path: Path) -> None:
    train_tiny_adapter(base, tmp_path / "films", epochs=1)
    settings = {"MARQUEE_CACHE_PATH": str(tmp_path / "cache"), "OMP_NUM_THREADS": "2"}
    with service("--local", str(base), "--adapter", str(tmp_path / "films"), **settings) as running:
        reply = httpx2.post(
            f"{running.url}/classify", json={"text": "A plot.", "labels": ["War", "Western"]}, timeout=60
        )
        assert reply.status_code == 200, running.printed
        assert "+films@" in reply.json()["model"]
