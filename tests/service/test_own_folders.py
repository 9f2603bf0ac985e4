"""A running service takes over changed files of own taxonomies and prompts: in every worker, past its caches."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from flask.testing import FlaskClient

from marquee.settings import read_settings
from prompts import folders, registry
from service.app import create_app
from service.services import build
from tests.support.misbehaving import endpoint, says
from tests.support.process import service

PROMPT = "--- system ---\n{{ taxonomy.name }} %s\n--- user ---\n{{ text }}\n"
TEXT = {"text": "My parcel is late.", "taxonomy": "parcels"}


def write(path: Path, content: str, age: float = 60.0) -> None:
    """Write a file that was last changed some seconds ago."""
    path.write_text(content, encoding="utf-8")
    os.utime(path, (time.time() - age,) * 2)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(folders, "_CHECK_SECONDS", 0.0)
    folder = tmp_path / "own"
    folder.mkdir()
    write(folder / "parcels.yaml", "labels: [delay, damage]\nallow_none: true")
    yield folder
    registry.use_folders(None, None)


@pytest.fixture
def client(own: Path, tmp_path: Path) -> Iterator[FlaskClient]:
    """A service whose language model always answers "delay"."""
    with endpoint(says('{"labels": ["delay"]}')) as model:
        yield create_app(build(_settings(model.url, tmp_path, taxonomies=own, prompts=own))).test_client()


def _settings(url: str, folder: Path, **more: Any) -> Any:
    return read_settings(
        openai_base_url=url, model="m", strategy="json_list", retries=0,
        cache_path=folder / "cache", probe_path=folder / "probe", **more,
    )  # fmt: skip


def labels(client: FlaskClient, **fields: Any) -> list[str]:
    response = client.post("/classify", json=TEXT | fields)
    assert response.status_code == 200, response.text
    return list(response.get_json()["labels"])


def test_a_changed_taxonomy_is_used_also_where_the_response_is_cached(own: Path, client: FlaskClient) -> None:
    assert [labels(client) for _ in range(3)] == [["delay"]] * 3
    write(own / "parcels.yaml", "labels: [lateness, damage]\nallow_none: true", age=30)
    assert client.post("/classify", json=TEXT).status_code == 502  # "delay" is no label any more
    write(own / "parcels.yaml", "labels: [{name: lateness, aliases: [delay]}, damage]\nallow_none: true", age=20)
    assert labels(client) == ["lateness"]


def test_a_changed_prompt_is_used(own: Path, client: FlaskClient) -> None:
    write(own / "letter.v1.jinja", PROMPT % "one")
    assert labels(client, prompt="letter") == ["delay"]
    sent = client.post("/prompt", json=TEXT | {"prompt": "letter"}).get_json()["messages"][0]["content"]
    write(own / "letter.v1.jinja", PROMPT % "two", age=30)
    assert sent == "parcels one"
    sent = client.post("/prompt", json=TEXT | {"prompt": "letter"}).get_json()["messages"][0]["content"]
    assert sent == "parcels two"


def test_the_default_taxonomy_may_be_an_own_one(own: Path, tmp_path: Path) -> None:
    with endpoint(says('{"labels": ["delay"]}')) as model:
        settings = _settings(model.url, tmp_path, taxonomies=own, taxonomy=str(own / "parcels.yaml"))
        client = create_app(build(settings)).test_client()
        assert client.post("/classify", json={"text": "x"}).get_json()["labels"] == ["delay"]
        write(own / "parcels.yaml", "labels: [{name: lateness, aliases: [delay]}, damage]", age=30)
        assert client.post("/classify", json={"text": "x"}).get_json()["labels"] == ["lateness"]
        (own / "parcels.yaml").unlink()
        assert client.post("/classify", json={"text": "x"}).get_json()["labels"] == ["delay"]  # as at the start


def test_a_faulty_file_is_reported_and_the_service_works(own: Path, client: FlaskClient) -> None:
    assert client.get("/healthz").get_json() == {"status": "ok"}
    write(own / "bad.yaml", "labels: [a, a]")
    write(own / "bad.v1.jinja", "no sections")
    said = client.get("/healthz").get_json()
    assert said["status"] == "ok"
    assert ["bad" in message for message in said["skipped"]] == [True, True]
    assert client.get("/taxonomies").get_json()["skipped"] == said["skipped"][:1]
    assert client.get("/prompts").get_json()["skipped"] == said["skipped"][1:]
    assert labels(client) == ["delay"]
    refused = client.post("/classify", json=TEXT | {"taxonomy": "bad"})
    assert (refused.status_code, refused.get_json()["type"]) == (422, "/problems/invalid-request")


def test_every_worker_finds_a_change_by_itself(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    with endpoint(says('{"labels": ["delay"]}')) as model:
        settings = {"MARQUEE_TAXONOMIES": str(own), "MARQUEE_PROMPTS": str(own), "MARQUEE_WORKERS": "2"}
        with service(**settings, OPENAI_BASE_URL=model.url, MARQUEE_MODEL="m") as running:
            write(own / "parcels.yaml", "labels: [delay, damage]", age=5)
            write(own / "letter.v1.jinja", PROMPT % "one", age=5)
            own.chmod(0o555)  # mounted read-only
            time.sleep(1.1)  # workers check once per second
            for _ in range(12):  # new connections, which both workers accept
                found = httpx2.get(f"{running.url}/taxonomies", timeout=60).json()["taxonomies"]
                assert "parcels" in [one["name"] for one in found]
                found = httpx2.get(f"{running.url}/prompts", timeout=60).json()["prompts"]
                assert "letter.v1" in [one["name"] for one in found]
            assert httpx2.post(f"{running.url}/classify", json=TEXT, timeout=60).json()["labels"] == ["delay"]
    own.chmod(0o755)
