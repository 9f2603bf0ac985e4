"""The routes of the review: who may read the texts, what they say, and feedback on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from llm.backends.backend import FakeBackend
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from marquee.feedback.store import FeedbackStore
from marquee.review.review_file import LiveReview
from marquee.settings import read_settings
from prompts.errors import InvalidDataset, InvalidSetting
from service.access_control import AccessControl, Keys
from service.app import create_app
from service.services import Services, build
from tests.marquee.test_review_exchange import NAMES, TEXTS, review_of


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    return FeedbackStore(tmp_path / "feedback.sqlite", with_texts=True)


@pytest.fixture
def review_file(tmp_path: Path) -> Path:
    path = tmp_path / "review.jsonl"
    review_of().write(path)
    return path


def serving(store: FeedbackStore | None, path: Path | None, access: AccessControl = AccessControl()) -> FlaskClient:
    model = LanguageModel(FakeBackend(lambda conversation: '["War"]'), JSONList())
    services = Services(lambda choice: model, lambda: None, lambda: None, "tmdb", access=access)
    review = LiveReview(path) if path else None
    return create_app(replace(services, feedback=store, review=review)).test_client()


def test_texts_have_suggestions_and_the_labels_of_feedback(store: FeedbackStore, review_file: Path) -> None:
    client = serving(store, review_file)
    body = client.get("/review/texts").get_json()
    assert [one["text"] for one in body["texts"]] == [text.body for text in TEXTS]
    assert body["labels"][0] == {"name": NAMES[0], "description": "food <and> drink"}
    assert (body["max_labels"], body["allow_none"]) == (3, True)
    assert {one["labels"] for one in body["texts"]} == {None}
    answer = client.post("/feedback", json={"review": "строка 3", "labels": ["наука"]})
    assert answer.status_code == 200
    assert {**answer.get_json(), "id": ""} == {
        "id": "", "kind": "corrected", "labels": [NAMES[3]], "answered": [NAMES[0]],
        "taxonomy": review_of().taxonomy.versioned_name, "text_digest": review_of().texts[2].answer.digest,
        "text_stored": True,
    }  # fmt: skip
    client.post("/feedback", json={"review": "05", "labels": []})
    again = {one["id"]: one["labels"] for one in client.get("/review/texts").get_json()["texts"]}
    assert again == {"1": None, "film:2": None, "строка 3": [NAMES[3]], "4,5": None, "05": []}
    assert {entry.answer.source.model for entry in store.entries() if entry.answer} == {"embedded/matcher.v2"}


def test_texts_and_their_feedback_need_a_key_and_the_page_does_not(
    tmp_path: Path, store: FeedbackStore, review_file: Path
) -> None:
    keys = Keys(tmp_path / "keys.json")
    key = {"X-API-Key": keys.add("ada")}
    other = {"X-API-Key": keys.add("bob")}
    client = serving(store, review_file, AccessControl(keys))
    assert client.get("/review/texts").status_code == 401
    assert client.get("/review/texts/").status_code == 401
    assert client.post("/feedback", json={"review": "1", "labels": []}).status_code == 401
    page = client.get("/review")
    assert page.status_code == 200
    assert not any(text.body in page.get_data(as_text=True) for text in TEXTS)
    stored = client.post("/feedback", json={"review": "1", "labels": [NAMES[1]]}, headers=key).get_json()
    assert client.get("/review/texts", headers=other).get_json()["texts"][0]["labels"] == [NAMES[1]]
    assert client.delete(f"/feedback/{stored['id']}", headers=other).get_json() == {"deleted": 0}
    assert client.delete(f"/feedback/{stored['id']}", headers=key).get_json() == {"deleted": 1}
    assert client.get("/review/texts", headers=key).get_json()["texts"][0]["labels"] is None


@pytest.mark.parametrize(
    ("body", "status", "field", "said"),
    [
        (
            {"review": "film:3", "labels": []},
            404,
            "review",
            "no text 'film:3' in the review file; did you mean 'film:2'",
        ),
        ({"review": "1", "labels": ["Nauka"]}, 422, "labels", "there is no label 'Nauka' in topics"),
        ({"review": "1", "text": "x", "labels": []}, 422, None, "send either review or text, not both"),
        ({"review": "1", "request_id": "r", "labels": []}, 422, None, "send either request_id or review, not both"),
        ({"review": "1", "taxonomy": "tmdb", "labels": []}, 422, None, "the review file has the taxonomy"),
    ],
)
def test_feedback_that_does_not_fit_is_refused(
    store: FeedbackStore, review_file: Path, body: dict[str, object], status: int, field: str | None, said: str
) -> None:
    response = serving(store, review_file).post("/feedback", json=body)
    problem = response.get_json()
    assert (response.status_code, problem.get("field")) == (status, field)
    assert said in problem["detail"]
    assert list(store.entries()) == []


def test_a_service_without_review_says_how_to_start_one(
    tmp_path: Path, store: FeedbackStore, review_file: Path
) -> None:
    for client in (serving(store, None), serving(store, tmp_path / "none.jsonl")):
        for response in (
            client.get("/review"),
            client.get("/review/texts"),
            client.post("/feedback", json={"review": "1", "labels": []}),
        ):
            assert (response.status_code, response.get_json()["type"]) == (501, "/problems/no-review")
    assert "MARQUEE_REVIEW_PATH" in serving(store, None).get("/review").get_json()["detail"]
    response = serving(None, review_file).get("/review/texts")
    assert response.get_json()["type"] == "/problems/no-feedback"
    assert 'href="./review"' not in serving(store, None).get("/docs").get_data(as_text=True)
    assert 'href="./review"' in serving(store, review_file).get("/docs").get_data(as_text=True)


def test_a_changed_file_is_shown_without_a_restart(store: FeedbackStore, review_file: Path) -> None:
    client, review = serving(store, review_file), review_of()
    assert len(client.get("/review/texts").get_json()["texts"]) == 5
    replace(review, texts=review.texts[:2]).write(review_file)
    assert len(client.get("/review/texts").get_json()["texts"]) == 2


def test_wrong_settings_are_errors_at_the_start(tmp_path: Path, review_file: Path) -> None:
    with pytest.raises(InvalidSetting, match="MARQUEE_REVIEW_PATH needs MARQUEE_FEEDBACK=true"):
        read_settings(review_path=review_file)
    with pytest.raises(InvalidDataset, match="cannot read"):
        build(read_settings(review_path=tmp_path / "none.jsonl", feedback=True))
