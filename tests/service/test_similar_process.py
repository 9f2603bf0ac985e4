"""Similar films from a real service over HTTP, while its index grows."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llm.embedded.matcher import Matcher
from similarity.encoders.minilm import MiniLM
from similarity.index.builder import FilmSource, build
from similarity.index.catalog import Film
from similarity.index.reloading import load_index
from tests.support.process import ServiceProcess, service

PLOTS = [
    "Cowboys defend a ranch from cattle thieves.",
    "A spaceship crew is hunted by an alien creature.",
    "Two rivals fall in love while planning a wedding.",
    "Young soldiers lose their illusions in the trenches.",
]
FILMS = [Film(f"f{number}", f"Film {number}", 2000, ("Drama",), plot) for number, plot in enumerate(PLOTS)]
ASKED = [
    "A rancher fights rustlers.",
    "An extraterrestrial monster kills astronauts.",
    "Enemies become a couple before a marriage.",
    "Recruits suffer at the front in the first world war.",
]


@pytest.fixture(scope="module")
def encoder(embedded: Matcher) -> MiniLM:
    assert isinstance(embedded.encoder, MiniLM)
    return embedded.encoder


@pytest.fixture(scope="module")
def folder(encoder: MiniLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("index")
    build(made, FilmSource(FILMS, ""), encoder)
    return made


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[ServiceProcess]:
    with service(MARQUEE_INDEX=str(folder)) as process:
        yield process


def ask(running: ServiceProcess, text: str) -> dict[str, Any]:
    response = httpx2.post(f"{running.url}/similar", json={"text": text, "k": 1}, timeout=60)
    response.raise_for_status()
    return dict(response.json())


def test_many_clients_at_once_all_get_their_own_answer_while_films_are_added(
    running: ServiceProcess, folder: Path, encoder: MiniLM
) -> None:
    assert ask(running, ASKED[0])["index"]["version"] == "000001"
    with ThreadPoolExecutor(32) as pool:
        answers = pool.map(lambda n: ask(running, f"{ASKED[n % 4]} {n}"), range(128))
        build(folder, FilmSource([Film("new", text="Penguins cross the ice.")], "more"), encoder, append=True)
        found = [answer["films"][0]["id"] for answer in answers]
    assert found == [f"f{n % 4}" for n in range(128)]
    deadline = time.monotonic() + 30
    while (newest := ask(running, "A colony of penguins walks.")["films"][0]["id"]) != "new":
        assert time.monotonic() < deadline, newest
        time.sleep(0.05)


def test_a_killed_service_leaves_the_index_whole(running: ServiceProcess, folder: Path, encoder: MiniLM) -> None:
    ask(running, ASKED[1])
    running.process.send_signal(signal.SIGKILL)
    running.process.wait(30)
    assert len(load_index(folder, encoder.name, encoder.dimension).vectors) >= len(FILMS)
