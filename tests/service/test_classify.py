"""POST /classify and its neighbours, through Flask's client."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from llm.backends.backend import Conversation, FakeBackend
from llm.classifier import Classifier, Problem, ProblemKind
from llm.embedded.matcher import Matcher
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from marquee.factory import RequestOptions
from prompts import registry
from service.app import create_app
from service.problem_kinds import KINDS
from service.services import Limits, Services

PLOT = "A young wizard learns magic to defeat a dragon."
LIMITS = Limits(body_bytes=100_000, texts=10, text_chars=1_000, labels=20)


def served(classifier: Classifier, problem: Problem | None = None) -> FlaskClient:
    return create_app(Services(lambda choice: classifier, lambda: problem, lambda: None, "tmdb", LIMITS)).test_client()


def replying(*replies: str | Problem) -> FlaskClient:
    """A service over a model that gives these replies, one a text."""
    waiting = list(replies)

    def reply(conversation: Conversation) -> str | Problem:
        return waiting.pop(0)

    return served(LanguageModel(FakeBackend(reply, "a-model"), JSONList()))


@pytest.fixture(scope="module")
def client(embedded: Matcher) -> FlaskClient:
    return served(embedded)


def problem_of(response: TestResponse, status: int, slug: str) -> dict[str, Any]:
    """The response is a problem document of this kind and tells no secrets."""
    body = response.get_json()
    assert response.mimetype == "application/problem+json"
    assert (response.status_code, body["status"], body["type"]) == (status, status, f"/problems/{slug}"), body
    assert body["detail"]
    assert "Traceback" not in response.text
    return dict(body)


# --- answers ---


def test_a_description_gets_genres(client: FlaskClient) -> None:
    response = client.post("/classify", json={"description": PLOT})
    body = response.get_json()
    assert response.status_code == 200
    assert body["genres"][0] == "Fantasy"
    assert body["labels"] == body["genres"]
    assert body["model"] == "embedded/matcher.v2"
    assert body["prompt"] is None
    assert body["taxonomy"] == f"tmdb@{registry.taxonomy('tmdb').digest}"
    assert (body["cached"], body["dropped"]) == (False, 0)
    assert "scores" not in body
    assert "problem" not in body


@pytest.mark.parametrize("name", ["text", "description", "overview"])
def test_the_text_may_bear_any_of_its_names(client: FlaskClient, name: str) -> None:
    assert client.post("/classify", json={name: PLOT}).get_json()["genres"][0] == "Fantasy"


def test_a_title_may_stand_beside_the_text_or_alone(client: FlaskClient) -> None:
    assert client.post("/classify", json={"title": "Dragon Magic", "overview": PLOT}).status_code == 200
    assert client.post("/classify", json={"title": "The Haunted House of Ghosts"}).get_json()["genres"][0] == "Horror"


def test_predict_genre_is_the_same_door(client: FlaskClient) -> None:
    assert client.post("/predict_genre", json={"text": PLOT}).get_json()["genres"][0] == "Fantasy"


@pytest.mark.parametrize("path", ["/classify/", "/predict_genre/", "/prompt/"])
def test_a_slash_at_the_end_of_a_path_changes_nothing(client: FlaskClient, path: str) -> None:
    sent = {"text": PLOT, "taxonomy": "tickets"}
    assert client.post(path, json=sent).data == client.post(path.rstrip("/"), json=sent).data


def test_a_batch_answers_in_order(client: FlaskClient) -> None:
    texts = [
        PLOT,
        {"overview": "Cowboys and outlaws on the frontier.", "title": "Dust"},
        {"title": "The Haunted House"},
    ]
    results = client.post("/classify", json={"texts": texts}).get_json()["results"]
    assert [result["genres"][0] for result in results] == ["Fantasy", "Western", "Horror"]


def test_own_labels_make_it_zero_shot_for_anything(client: FlaskClient) -> None:
    labels = ["billing", {"name": "crash", "description": "the program stops working", "aliases": ["bug"]}]
    body = client.post("/classify", json={"text": "The app closes itself at start", "labels": labels}).get_json()
    assert body["labels"] == ["crash"]
    assert body["taxonomy"].startswith("custom@")


def test_the_shape_of_the_answer_can_be_asked_for(client: FlaskClient) -> None:
    def labels(**shape: Any) -> list[str]:
        answer: list[str] = client.post("/classify", json={"text": PLOT, **shape}).get_json()["labels"]
        return answer

    assert len(labels(multi=False)) == 1
    assert len(labels(max_labels=1)) == 1
    assert len(labels(taxonomy="sentiment")) == 1
    assert set(labels(taxonomy="imdb")) <= set(registry.taxonomy("imdb").names)
    assert labels(labels=["tax law", "plumbing"], allow_none=True) == []
    assert len(labels(labels=["tax law", "plumbing"], allow_none=False)) == 1


def test_scores_come_for_every_label_best_first(client: FlaskClient) -> None:
    scores = client.post("/classify", json={"text": PLOT, "scores": True}).get_json()["scores"]
    assert set(scores) == set(registry.taxonomy("tmdb").names)
    assert list(scores.values()) == sorted(scores.values(), reverse=True)


def test_what_a_model_says_beyond_the_taxonomy_is_counted() -> None:
    body = replying('["Cooking", "War"]').post("/classify", json={"text": "x"}).get_json()
    assert (body["genres"], body["dropped"], body["model"]) == (["War"], 1, "a-model")
    assert body["prompt"] == f"plot.v2@{registry.prompt('plot').digest}"


def test_prompt_strategy_and_cache_reach_the_classifier(embedded: Matcher) -> None:
    seen: list[RequestOptions] = []

    def classifier_for(choice: RequestOptions) -> Classifier:
        seen.append(choice)
        return embedded

    client = create_app(Services(classifier_for, lambda: None, lambda: None, "tmdb", LIMITS)).test_client()
    client.post("/classify", json={"text": "x"})
    client.post("/classify", json={"text": "x", "prompt": "auto", "strategy": "label_tokens", "cache": False})
    assert seen == [RequestOptions(), RequestOptions(registry.prompt("auto"), "label_tokens", False)]


def test_text_that_is_no_ascii_comes_back_as_itself(client: FlaskClient) -> None:
    response = client.post("/classify", json={"text": "宇宙", "labels": ["宇宙", "料理"]})
    assert "宇宙" in response.text


def test_a_lone_surrogate_is_survived(client: FlaskClient) -> None:
    raw = '{"text": "a dragon \\ud800 and \\ud83d\\ude00"}'
    assert client.post("/classify", data=raw, content_type="application/json").status_code == 200


# --- problems ---


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"text", "not JSON"),
        (b'{"text": NaN}', "NaN"),
        (b"\xff\xfe", "it is empty"),
        (b'{"text": "caf\xe9"}', "not UTF-8 (byte 0xe9"),
        (b"[" * 90_000, "nested too deeply"),
    ],
)
def test_what_is_not_json_is_400(client: FlaskClient, raw: bytes, said: str) -> None:
    body = problem_of(client.post("/classify", data=raw, content_type="application/json"), 400, "not-json")
    assert said in body["detail"]


@pytest.mark.parametrize(
    ("sent", "field", "said"),
    [
        ({}, "text", "empty"),
        ({"text": ""}, "text", "empty"),
        ({"text": " \n"}, "text", "empty"),
        ({"text": None}, "text", "empty"),
        ({"text": 7}, "text", "text is 7; give a string"),
        ({"text": ["a"]}, "text", "text is a list; give a string"),
        ({"txet": "a"}, "txet", "did you mean 'text'"),
        ({"text": "a", "description": "b"}, None, "names of the same field"),
        ({"text": "a", "texts": ["b"]}, None, "either texts or text"),
        ({"texts": []}, "texts", "give 1 or more"),
        ({"texts": [{"txet": "a"}]}, "texts.0.txet", "unknown key"),
        ({"text": "a", "labels": []}, "labels", "give 1 or more"),
        ({"text": "a", "labels": ["x", "X"]}, "labels", "differ only in case"),
        ({"text": "a", "labels": ["x", "x"]}, "labels", "occurs twice"),
        ({"text": "a", "labels": [" "]}, "labels", "empty name"),
        ({"text": "a", "labels": [{"nmae": "x"}]}, "labels.0.nmae", "did you mean 'name'"),
        ({"text": "a", "labels": ["x"], "taxonomy": "tmdb"}, None, "either labels or taxonomy"),
        ({"text": "a", "multi": "yes"}, "multi", "give true or false"),
        ({"text": "a", "max_labels": 0}, "max_labels", "1 or more"),
        ({"text": "a", "max_labels": 2, "multi": False}, "labels", "max_labels cannot be 2"),
        (["text"], None, "the body is a list; give an object"),
        ("text", None, 'the body is "text"; give an object'),
    ],
)
def test_what_breaks_a_rule_is_422_and_names_the_field(
    client: FlaskClient, sent: Any, field: str | None, said: str
) -> None:
    body = problem_of(client.post("/classify", json=sent), 422, "invalid-request")
    assert body.get("field") == field
    assert said in body["detail"]


def test_a_key_that_stands_twice_is_not_guessed_at(client: FlaskClient) -> None:
    raw = '{"text": "a", "text": "b"}'
    body = problem_of(client.post("/classify", data=raw, content_type="application/json"), 422, "invalid-request")
    assert body["field"] == "text"


def test_unknown_names_are_404_with_the_likely_one(client: FlaskClient) -> None:
    taxonomy = client.post("/classify", json={"text": "a", "taxonomy": "tmbd"})
    assert "did you mean 'tmdb'" in problem_of(taxonomy, 404, "unknown-taxonomy")["detail"]
    prompt = client.post("/classify", json={"text": "a", "prompt": "plott"})
    assert "'plot'" in problem_of(prompt, 404, "unknown-prompt")["detail"]
    problem_of(client.get("/nowhere"), 404, "not-found")


def test_too_much_is_413(client: FlaskClient) -> None:
    problem_of(client.post("/classify", json={"text": "a" * 200_000}), 413, "too-large")
    problem_of(client.post("/classify", json={"texts": ["a"] * 11}), 413, "too-large")
    problem_of(client.post("/classify", json={"text": "a", "labels": [str(n) for n in range(21)]}), 413, "too-large")
    body = problem_of(client.post("/classify", json={"text": "b" * 1_001}), 413, "text-too-long")
    assert body["field"] == "text"


def test_another_content_type_is_415_and_says_which_one_is_right(client: FlaskClient) -> None:
    body = problem_of(client.post("/classify", data={"text": "a"}), 415, "unsupported-media-type")
    assert "application/json" in body["detail"]


def test_another_method_is_405_and_says_which_one_is_right(client: FlaskClient) -> None:
    response = client.get("/classify")
    assert "POST" in problem_of(response, 405, "method-not-allowed")["detail"]
    assert "POST" in response.headers["Allow"]


@pytest.mark.parametrize(
    ("kind", "status", "retry"),
    [
        ("unreachable", 503, "5"),
        ("busy", 503, "17"),
        ("misconfigured", 503, None),
        ("rejected", 502, None),
        ("unreadable", 502, None),
        ("too_long", 413, None),
    ],
)
def test_a_models_trouble_has_its_status(kind: ProblemKind, status: int, retry: str | None) -> None:
    response = replying(Problem(kind, "as it is", 16.2 if kind == "busy" else None)).post(
        "/classify", json={"text": "x"}
    )
    slug = "text-too-long" if kind == "too_long" else f"model-{kind}"
    assert problem_of(response, status, slug)["detail"] == "as it is"
    assert response.headers.get("Retry-After") == retry


def test_rubbish_from_the_model_is_502_and_not_a_label() -> None:
    problem_of(
        replying("I would rather talk about the weather.").post("/classify", json={"text": "x"}),
        502,
        "model-unreadable",
    )


def test_one_failed_text_of_a_batch_is_told_in_its_place() -> None:
    response = replying('["War"]', Problem("busy", "later")).post("/classify", json={"texts": ["a", "b"]})
    first, second = response.get_json()["results"]
    assert response.status_code == 200
    assert (first["genres"], "problem" in first) == (["War"], False)
    assert (second["genres"], second["problem"]["type"]) == ([], "/problems/model-busy")


def test_a_batch_without_any_answer_fails_as_one() -> None:
    down = Problem("unreachable", "down")
    problem_of(replying(down, down).post("/classify", json={"texts": ["a", "b"]}), 503, "model-unreachable")


def test_a_surprise_is_500_without_its_story(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        name = "broken"

        def classify(self, texts: object, taxonomy: object) -> Any:
            raise ZeroDivisionError("secret-path")

    response = served(Broken()).post("/classify", json={"text": "x"})
    problem_of(response, 500, "internal")
    assert "secret-path" not in response.text
    assert "secret-path" in caplog.text


# --- other routes ---


def test_taxonomies_and_prompts_are_listed(client: FlaskClient) -> None:
    listed = client.get("/taxonomies").get_json()
    assert listed["default"] == "tmdb"
    labels_of = {taxonomy["name"]: taxonomy["labels"] for taxonomy in listed["taxonomies"]}
    assert labels_of.keys() == {"emotions", "imdb", "intents", "news", "sentiment", "tickets", "tmdb"}
    drama = next(label for label in labels_of["tmdb"] if label["name"] == "Drama")
    assert drama["description"]
    assert {prompt["name"] for prompt in client.get("/prompts").get_json()["prompts"]} == set(registry.prompts())


def test_health_and_readiness_differ(embedded: Matcher) -> None:
    down = served(embedded, Problem("unreachable", "no connection to 127.0.0.1"))
    assert down.get("/healthz").get_json() == down.get("/health").get_json() == {"status": "ok"}
    response = down.get("/readyz")
    assert "no connection" in problem_of(response, 503, "model-unreachable")["detail"]
    assert response.headers["Retry-After"] == "5"
    ready = served(embedded).get("/readyz")
    assert (ready.status_code, ready.get_json()["model"]) == (200, embedded.name)


def test_the_root_says_what_there_is(client: FlaskClient) -> None:
    assert "POST /classify" in client.get("/").get_json()["routes"]


def test_every_problem_type_leads_to_what_it_means(client: FlaskClient) -> None:
    for slug in KINDS:
        assert client.get(f"/problems/{slug}").get_json()["title"] == KINDS[slug].title
    problem_of(client.get("/problems/nothing"), 404, "not-found")


def test_answers_are_json_that_ends_in_a_line(client: FlaskClient) -> None:
    response = client.post("/classify", json={"text": PLOT})
    assert json.loads(response.text)
    assert response.text.endswith("\n")
