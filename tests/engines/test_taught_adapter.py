"""An adapter trained on a base that knows words.

Trained texts are answered right where the base answers at random; other texts are answered better than before.
"""

from pathlib import Path

import httpx2
import pytest

from benchmarks.lora import compare
from llm.backends.local_backend import LocalBackend
from llm.language_model import LanguageModel
from llm.strategies.registry import STRATEGIES
from tests.support.process import service
from tests.support.taught_adapter import lessons, taught
from tests.support.trained_qwen2 import PROMPT
from tests.support.worded_qwen2 import GENRES, films, worded


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worded(tmp_path_factory.mktemp("worded") / "qwen2")


def test_what_it_was_taught_about_some_films_holds_for_others(tmp_path: Path) -> None:
    found = compare(*films(), tmp_path)
    always, untaught, taught_it = (one["micro-F1"] for one in found.values())
    assert taught_it > untaught + 0.1
    assert taught_it > always
    assert found["the base with its adapter"]["macro-F1"] > found["the two most frequent genres for every film"]["macro-F1"]


def test_noise_becomes_the_right_genres(base: Path, tmp_path: Path) -> None:
    made = taught(base, tmp_path / "films")
    assert made["validation"]["before"]["micro-F1"] < 0.4
    backend = LocalBackend(str(base), device="cpu", dtype="float32", adapter=tmp_path / "films")
    found = LanguageModel(backend, STRATEGIES["json_list"], PROMPT).classify([one.text for one in lessons()], GENRES)
    right = sum(bool(set(one.labels) & set(film.labels)) for one, film in zip(found, lessons(), strict=True))
    assert right >= 7


def test_a_service_answers_with_an_adapter_merged_in_its_worker(base: Path, tmp_path: Path) -> None:
    taught(base, tmp_path / "films", epochs=1)
    settings = {"MARQUEE_CACHE_PATH": str(tmp_path / "cache"), "OMP_NUM_THREADS": "2"}
    with service("--local", str(base), "--adapter", str(tmp_path / "films"), **settings) as running:
        reply = httpx2.post(
            f"{running.url}/classify", json={"text": "A plot.", "labels": ["War", "Western"]}, timeout=60
        )
        assert reply.status_code == 200, running.printed
        assert "+films@" in reply.json()["model"]
