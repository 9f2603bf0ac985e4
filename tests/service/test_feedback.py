"""The routes of feedback, over real stores, and a real service with two worker processes."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from flask.testing import FlaskClient

from llm.backends.backend import FakeBackend
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from llm.wrappers.cache import AnswerStore, Cached
from marquee.feedback.store import FeedbackStore
from service.access_control import AccessControl, Keys
from service.app import create_app
from service.services import Limits, Services
from tests.support.process import service

LABELS = {"labels": ["Sport", "Science"]}


def serving(tmp_path: Path, store: FeedbackStore | None, access: AccessControl = AccessControl()) -> FlaskClient:
    model = LanguageModel(FakeBackend(lambda conversation: '["War", "Sport"]'), JSONList())
    cached = Cached(model, AnswerStore(tmp_path / "answers.sqlite"))
    limits = Limits(text_chars=1_000, labels=60)
    services = Services(lambda choice: cached, lambda: None, lambda: None, "tmdb", limits, access=access)
    return create_app(replace(services, feedback=store)).test_client()


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    return FeedbackStore(tmp_path / "feedback.sqlite", with_texts=True)


@pytest.fixture
def client(tmp_path: Path, store: FeedbackStore) -> FlaskClient:
    return serving(tmp_path, store)


def send(client: FlaskClient, **body: Any) -> tuple[int, dict[str, Any]]:
    headers = body.pop("headers", {})
    response = client.post("/feedback", json=body, headers=headers)
    return response.status_code, response.get_json()


def test_an_answer_is_corrected_by_its_request_id(client: FlaskClient, store: FeedbackStore) -> None:
    request_id = client.post("/classify", json={"text": "Two armies meet."}).headers["X-Request-ID"]
    status, body = send(client, request_id=request_id, labels="drama")
    assert status == 200
    assert (body["kind"], body["labels"], body["answered"]) == ("corrected", ["Drama"], ["War"])
    assert body["text_stored"] is True
    (entry,) = store.entries()
    assert (entry.id, entry.taxonomy.name, entry.request_id) == (body["id"], "tmdb", request_id)
    assert entry.text is not None
    assert entry.text.body == "Two armies meet."
    metrics = client.get("/metrics").get_data(as_text=True)
    assert 'marquee_feedback_total{kind="corrected",taxonomy="tmdb"} 1.0' in metrics


def test_a_repeated_request_has_an_answer_of_its_own(client: FlaskClient) -> None:
    """Cached responses would have no record."""
    for request_id in ("first", "second", "third"):
        client.post("/classify", json={"text": "Two armies meet."}, headers={"X-Request-ID": request_id})
        assert send(client, request_id=request_id, labels=["War"])[1]["kind"] == "confirmed"


def test_a_text_of_a_batch_is_found_by_its_place(client: FlaskClient, store: FeedbackStore) -> None:
    batch = {"texts": ["one", "", "three"], **LABELS}
    client.post("/classify", json=batch, headers={"X-Request-ID": "b"})
    assert send(client, request_id="b", index=2, labels=["Science"])[1]["kind"] == "corrected"
    status, body = send(client, request_id="b", index=1, labels=["Science"])  # it had no answer
    assert (status, body["type"]) == (404, "/problems/unknown-answer")
    assert [entry.text.body for entry in store.entries() if entry.text] == ["three"]


def test_one_of_several_taxonomies_is_named(client: FlaskClient) -> None:
    several = {"texts": ["one", "two"], "taxonomies": ["tmdb", {"name": "topic", **LABELS}]}
    assert client.post("/classify", json=several, headers={"X-Request-ID": "s"}).status_code == 200
    status, body = send(client, request_id="s", index=1, labels=["Sport"])
    assert (status, body["field"]) == (422, "taxonomy")
    assert "the request has answers under tmdb, topic; name one of them" in body["detail"]
    assert send(client, request_id="s", index=1, labels=["Sport"], taxonomy="topic")[1]["kind"] == "confirmed"
    assert send(client, request_id="s", index=1, labels=["Horror"], taxonomy="tmdb")[1]["answered"] == ["War"]


def test_a_text_is_labelled_under_a_name_or_own_labels(client: FlaskClient) -> None:
    status, body = send(client, text="a goal", labels=["Sport"], taxonomy=LABELS)
    assert (status, body["kind"], body["taxonomy"].partition("@")[0]) == (200, "labelled", "custom")
    assert send(client, title="Alien", labels=["Horror"], taxonomy="tmdb")[1]["labels"] == ["Horror"]
    client.post("/classify", json={"text": "a goal", **LABELS})
    assert send(client, text="a goal", labels=["Science"], taxonomy=LABELS)[1]["kind"] == "corrected"


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"text": "x", "labels": ["Horor"]}, "labels", "there is no label 'Horor' in tmdb; did you mean 'Horror'?"),
        ({"text": "x", "labels": []}, "labels", "has no answer without labels; give a label"),
        ({"text": "x", "labels": ["War"] * 1_001}, "labels", "1001 labels in one request; at most 60"),
        ({"text": "x", "labels": ["Sport", "Science"], "taxonomy": LABELS}, "labels", "a text has 1 at most"),
        ({"text": "x"}, "labels", "is missing; give it"),
        ({"text": " ", "labels": ["War"]}, "text", "text is empty; send a text, or a title"),
        ({"labels": ["War"]}, "text", "text is empty; send a text, or a title"),
        ({"text": "x" * 1_001, "labels": ["War"]}, "text", "text has 1001 characters; at most 1000"),
        ({"text": "x", "request_id": "r", "labels": ["War"]}, None, "send either request_id or text, not both"),
        ({"request_id": "r", "labels": ["War"], "taxonomy": LABELS}, None, "send only the name of its taxonomy"),
        ({"text": "x", "index": 1, "labels": ["War"]}, None, "send request_id with it"),
        ({"text": "x", "labels": ["War"], "taxonomy": "tmbd"}, "taxonomy", "did you mean 'tmdb'?"),
        ({"request_id": "r", "label": ["War"]}, "label", "unknown key; did you mean 'labels'?"),
    ],
)
def test_what_does_not_fit_is_refused(
    client: FlaskClient, store: FeedbackStore, body: dict[str, Any], field: str | None, said: str
) -> None:
    status, problem = send(client, **body)
    assert status in (404, 413, 422)
    assert said in problem["detail"]
    assert problem.get("field") == field
    assert list(store.entries()) == []


def test_unknown_answers_and_a_service_without_feedback(client: FlaskClient, tmp_path: Path) -> None:
    status, body = send(client, request_id="never", labels=["War"])
    assert (status, body["type"], body["field"]) == (404, "/problems/unknown-answer", "request_id")
    assert "answers are recorded for 24 hours" in body["detail"]
    without = serving(tmp_path, None)
    for response in (without.post("/feedback", json={"text": "x", "labels": ["War"]}), without.delete("/feedback")):
        assert (response.status_code, response.get_json()["type"]) == (501, "/problems/no-feedback")
        assert "MARQUEE_FEEDBACK=true" in response.get_json()["detail"]


def test_a_full_or_damaged_file_refuses_feedback_and_answers_texts(tmp_path: Path) -> None:
    full = serving(tmp_path, FeedbackStore(tmp_path / "full.sqlite", with_texts=True, max_bytes=100_000))
    replies = [send(full, text=f"{number} " * 200, labels=["War"]) for number in range(200)]
    assert [replies[0][0], replies[-1][0]] == [200, 507]
    assert replies[-1][1]["type"] == "/problems/feedback-full"
    assert full.post("/classify", json={"text": "x"}).status_code == 200
    (tmp_path / "damaged").write_bytes(b"no database" * 100)
    damaged = serving(tmp_path, FeedbackStore(tmp_path / "damaged"))
    response = damaged.post("/feedback", json={"text": "x", "labels": ["War"]})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert damaged.post("/classify", json={"text": "x"}).status_code == 200


# --- keys ---


def test_feedback_needs_a_key_and_reaches_no_further_than_it(tmp_path: Path, store: FeedbackStore) -> None:
    keys = Keys(tmp_path / "keys.json")
    web, app = ({"X-API-Key": keys.add(name)} for name in ("web", "app"))
    client = serving(tmp_path, store, AccessControl(keys, rate_limit="1000 per minute"))
    assert send(client, text="x", labels=["War"])[0] == 401
    assert client.delete("/feedback").status_code == 401
    client.post("/classify", json={"text": "mine"}, headers=web | {"X-Request-ID": "r"})
    assert send(client, request_id="r", labels=["War"], headers=app)[0] == 404
    entry = send(client, request_id="r", labels=["War"], headers=web)[1]
    send(client, text="mine", labels=["Drama"], headers=app)
    other = f"/feedback/{entry['id']}", f"/feedback/texts/{entry['text_digest']}"
    assert client.delete(other[0], headers=app).get_json() == {"deleted": 0}
    assert client.delete(other[1].upper().replace("/FEEDBACK/TEXTS", "/feedback/texts"), headers=app).get_json() == {
        "deleted": 1
    }
    assert [one.key for one in store.entries()] == ["web"]
    assert client.delete(other[0], headers=web).get_json() == {"deleted": 1}
    send(client, text="mine", labels=["Drama"], headers=web)
    assert client.delete("/feedback", headers=web).get_json() == {"deleted": 1}
    assert send(client, request_id="r", labels=["War"], headers=web)[0] == 404  # its answers are deleted, too


def test_without_keys_nothing_is_deleted_over_http(client: FlaskClient, store: FeedbackStore) -> None:
    entry = send(client, text="x", labels=["War"])[1]
    for path in ("/feedback", f"/feedback/{entry['id']}", f"/feedback/texts/{entry['text_digest']}"):
        response = client.delete(path)
        assert (response.status_code, response.get_json()["type"]) == (401, "/problems/no-key")
        assert "main.py feedback delete" in response.get_json()["detail"]
    assert len(list(store.entries())) == 1


# --- a real service ---


def test_two_workers_store_the_feedback_of_many_clients(tmp_path: Path) -> None:
    path = tmp_path / "feedback.sqlite"
    settings = {"MARQUEE_FEEDBACK": "true", "MARQUEE_FEEDBACK_PATH": str(path)}
    secret = "A zebra of Xanadu"

    def judge(number: int) -> str:
        text = {"text": f"{secret} paints picture {number}."}
        answered = httpx2.post(f"{url}/classify", json=text, timeout=60)
        correction = {"request_id": answered.headers["X-Request-ID"], "labels": ["Documentary"]}
        reply = httpx2.post(f"{url}/feedback", json=correction, timeout=60)
        assert reply.status_code == 200, reply.text
        return str(reply.json()["id"])

    with service("--workers", "2", **settings) as running:
        url = running.url
        with ThreadPoolExecutor(8) as pool:
            ids = set(pool.map(judge, range(40)))
        counted = httpx2.get(f"{url}/metrics").text
        content = b"".join(file.read_bytes() for file in tmp_path.iterdir())  # while it runs: with the journal
    assert {entry.id for entry in FeedbackStore(path).entries()} == ids
    assert len(ids) == 40
    assert (
        sum(float(line.split()[-1]) for line in counted.splitlines() if line.startswith("marquee_feedback_total")) == 40
    )
    assert b"Documentary" in content
    assert b"Xanadu" not in content
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
