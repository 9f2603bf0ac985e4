"""The service as a real process over HTTP, and its client."""

import json
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner

from main import main
from marquee.client import Client
from prompts import registry
from tests.support.misbehaving import body, endpoint, says
from tests.support.process import ROOT, ServiceProcess, service
from tests.support.tiny_qwen2 import build

TMDB = registry.taxonomy("tmdb")


@pytest.fixture(scope="module")
def running() -> Iterator[ServiceProcess]:
    with service() as process:
        yield process


def test_it_says_who_answers_and_its_curl_line_works(running: ServiceProcess) -> None:
    url = running.url
    assert "Answers: embedded/matcher.v2" in running.printed
    line = re.search(r"curl -X POST .*'", running.printed, re.DOTALL)
    assert line
    answer = subprocess.run([*shlex.split(line[0].replace("\\\n", " ")), "-s"], capture_output=True, check=True)
    body = json.loads(answer.stdout)
    assert body["genres"]
    assert set(body["genres"]) <= set(TMDB.names)
    assert url.startswith("http://127.0.0.1:")


def test_many_clients_at_once_all_get_their_own_answer(running: ServiceProcess) -> None:
    plots = [
        "Cowboys and outlaws in a frontier town.",
        "Aliens attack a starship in space.",
        "Ghosts haunt a cursed house.",
    ]
    expected = [prediction.labels for prediction in Client(running.url).classify(plots, TMDB)]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: Client(running.url).classify([plots[n % 3]], TMDB)[0].labels, range(96)))
    assert found == [expected[n % 3] for n in range(96)]


def test_the_client_is_a_classifier_like_any_other(running: ServiceProcess) -> None:
    first, second = Client(running.url).classify(["A war.", "A love story."], TMDB)
    assert first.source.model == "embedded/matcher.v2"
    assert set(first.scores) == set(TMDB.names)
    assert (first.problem, second.problem) == (None, None)


def test_the_client_tells_what_the_service_told(running: ServiceProcess) -> None:
    (empty,) = Client(running.url).classify([" "], TMDB)
    assert empty.problem is not None
    assert (empty.problem.kind, empty.problem.detail) == ("empty", "there is no text to label")
    (gone,) = Client("http://127.0.0.1:1").classify(["x"], TMDB)
    assert gone.problem is not None
    assert gone.problem.kind == "unreachable"


def test_evaluate_measures_a_running_service(running: ServiceProcess, tmp_path: Path) -> None:
    data = ["--data", str(ROOT / "data/sample/films.jsonl"), "--text-field", "plot", "--labels-field", "tmdb_genres"]
    command = ["evaluate", *data, "--limit", "20", "--url", running.url, "--out", str(tmp_path)]
    printed = CliRunner().invoke(main, command, catch_exceptions=False).stdout
    assert re.search(r"^service:\S+ +0\.\d{3} ", printed, re.MULTILINE)
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 20
    assert json.loads((tmp_path / "metrics.json").read_text())["problems"] == 0


def test_a_language_model_answers_where_an_endpoint_is_set_and_is_remembered(tmp_path: Path) -> None:
    with endpoint(says('{"labels": ["War", "Cooking"]}')) as model:
        settings = {"OPENAI_BASE_URL": model.url, "MARQUEE_CACHE_PATH": str(tmp_path / "c")}
        with service(**settings) as running:
            url = running.url
            assert "Answers: Qwen/Qwen2-7B-Instruct at http://127.0.0.1" in running.printed
            asked = len(model.requests)
            first, again, overwrite = (
                httpx2.post(f"{url}/classify", json={"text": "a plot"} | more).json()
                for more in ({}, {}, {"cache": False})
            )
            assert (first["genres"], first["dropped"], first["cached"]) == (["War"], 1, False)
            assert (again["genres"], again["cached"], overwrite["cached"]) == (["War"], True, False)
            assert len(model.requests) - asked == 2


def test_a_dead_endpoint_is_told_at_the_start_and_in_every_answer(tmp_path: Path) -> None:
    settings = {
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
        "OPENAI_API_KEY": "sk-secret",
        "MARQUEE_RETRIES": "0",
        "MARQUEE_CACHE_PATH": str(tmp_path / "c"),
    }
    with service(**settings) as running:
        reply = httpx2.post(f"{running.url}/classify", json={"text": "a plot"})
        assert (reply.status_code, reply.headers["Retry-After"]) == (503, "5")
        assert httpx2.get(f"{running.url}/readyz").status_code == 503
        assert httpx2.get(f"{running.url}/healthz").status_code == 200
        assert "warning: no connection to 127.0.0.1" in running.printed
        assert "sk-secret" not in running.printed + reply.text


def test_with_fallback_the_small_model_steps_in_and_says_so(tmp_path: Path) -> None:
    with endpoint(body(503, {})) as model:
        settings = {"OPENAI_BASE_URL": model.url, "MARQUEE_RETRIES": "0", "MARQUEE_FALLBACK": "true"}
        with service(**settings, MARQUEE_CACHE_PATH=str(tmp_path / "c")) as running:
            reply = httpx2.post(f"{running.url}/classify", json={"text": "Cowboys and outlaws."}, timeout=60)
            assert reply.json()["model"] == "embedded/matcher.v2"
            assert httpx2.get(f"{running.url}/readyz").status_code == 200


def test_a_model_in_this_process_answers_without_any_server(tmp_path: Path) -> None:
    settings = {"MARQUEE_LOCAL_MODEL": str(build(tmp_path / "tiny-qwen2")), "MARQUEE_CACHE_PATH": str(tmp_path / "c")}
    with service(**settings) as running:
        url = running.url
        body = {"text": "A plot.", "scores": True}
        answer = httpx2.post(f"{url}/classify", json=body | {"strategy": "json_list"}, timeout=60).json()
        assert set(answer["labels"]) <= set(TMDB.names), answer
        assert (answer["model"], answer["strategy"]) == ("tiny-qwen2", "json_list")
        noise = httpx2.post(f"{url}/classify", json=body | {"strategy": "label_tokens"}, timeout=60)
        assert (noise.status_code, noise.json()["type"]) == (502, "/problems/model-unreadable"), noise.text
        assert "in this process" in running.printed


def test_a_local_model_that_is_not_there_stops_the_start_with_one_line(tmp_path: Path) -> None:
    with service(MARQUEE_LOCAL_MODEL=str(tmp_path / "nothing")) as running:
        assert running.process.wait(60) != 0
        assert "Traceback" not in running.printed, running.printed
        assert "nothing" in running.printed


def test_it_stops_when_told_to_and_closes_its_port() -> None:
    with service() as running:
        port = int(running.url.rpartition(":")[2])
        assert httpx2.get(f"{running.url}/healthz").status_code == 200
        assert running.stop() == 0
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.1", port), timeout=2):
        pass


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"MARQUEE_TIMEOUT": "soon"}, 'Error: MARQUEE_TIMEOUT is "soon"; give a number'),
        (
            {"MARQUEE_HOST": "0.0.0.0"},
            "allow anonymous clients (--allow-anonymous",
        ),
        ({"MARQUEE_MAX_PENDING": "96"}, "MARQUEE_MAX_PENDING should be below MARQUEE_THREADS"),
        ({"MARQUEE_TAXONOMY": "tmbd"}, "Error: there is no taxonomy 'tmbd'; did you mean 'tmdb'?"),
        ({"MARQUEE_HOST": "203.0.113.7", "MARQUEE_ALLOW_ANONYMOUS": "true"}, "Error: cannot listen on 203.0.113.7"),
    ],
)
@pytest.mark.usefixtures("away")
def test_a_wrong_setting_stops_the_start_with_one_line(
    settings: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # set by the command; restored after the test
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(main, ["serve", "--port", "0"])
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert said in line


def test_a_taken_port_is_told(running: ServiceProcess) -> None:
    port = running.url.rpartition(":")[2]
    command = [sys.executable, "main.py", "serve", "--port", port]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use; set PORT or HOST" in second.stderr
