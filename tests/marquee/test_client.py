"""The client, against endpoints that misbehave, and the command line that uses it."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llm.classifier import LabelsOffered
from main import main
from marquee.client import Client
from prompts import registry
from prompts.errors import InvalidSetting
from prompts.taxonomy import Label, Taxonomy
from tests.support.misbehaving import Behaviour, body, cuts, endpoint

TMDB = registry.taxonomy("tmdb")


def root(url: str) -> str:
    return url.removesuffix("/v1")


def answering(*labels: str) -> Behaviour:
    """A service that gives a single text these labels."""
    answer = {"genres": labels, "labels": labels, "model": "m", "prompt": None, "taxonomy": "tmdb@1", "cached": False}
    return body(200, {"results": [answer | {"dropped": 0, "strategy": None}]})


def refusing(status: int, slug: str, **headers: str) -> Behaviour:
    document = {"type": f"/problems/{slug}", "title": "t", "status": status, "detail": "as it is"}
    return body(status, document, "application/problem+json", **headers)


@pytest.mark.parametrize(
    "trouble",
    [
        refusing(503, "model-busy", Retry_After="0"),
        refusing(429, "too-many-requests", Retry_After="0"),
        refusing(504, "timeout"),
        body(502, "<html>", "text/html"),
        cuts,
    ],
)
def test_what_fails_by_chance_is_tried_again(trouble: Behaviour) -> None:
    with endpoint(trouble, answering("War")) as server:
        (found,) = Client(root(server.url)).classify(["x"], TMDB)
    assert (found.labels, found.problem, len(server.requests)) == (("War",), None, 2)


def test_the_size_of_a_shortlist_is_that_of_the_service() -> None:
    answer = {"labels": ["War"], "model": "m", "prompt": None, "taxonomy": "tmdb@1", "cached": False}
    results = [answer | {"shortlist": {"offered": 5, "total": 18}}, answer]
    with endpoint(body(200, {"results": results})) as server:
        narrowed, whole = Client(root(server.url)).classify(["x", "y"], TMDB)
    assert (narrowed.shortlist, whole.shortlist) == (LabelsOffered(5, 18), None)


def test_an_answer_names_the_strategy_of_the_service() -> None:
    answer = {"labels": ["War"], "model": "m", "prompt": "p.v1@1", "strategy": "yes_no", "taxonomy": "tmdb@1"}
    with endpoint(body(200, {"results": [{**answer, "cached": False}]})) as server:
        (found,) = Client(root(server.url)).classify(["A war."], registry.taxonomy("tmdb"))
    assert (found.source.prompt, found.source.strategy) == ("p.v1@1", "yes_no")


def test_warnings_are_those_of_the_service() -> None:
    answer = {"labels": ["War"], "model": "m", "prompt": None, "taxonomy": "tmdb@1", "cached": False}
    with endpoint(body(200, {"results": [answer | {"warnings": ["in Korean"]}, answer]})) as server:
        found = Client(root(server.url)).classify(["x", "y"], TMDB)
    assert [one.warnings for one in found] == [("in Korean",), ()]


@pytest.mark.parametrize(("status", "slug"), [(401, "no-key"), (422, "invalid-request"), (413, "too-large")])
def test_what_fails_for_a_reason_is_told_and_not_repeated(status: int, slug: str) -> None:
    with endpoint(refusing(status, slug)) as server:
        (found,) = Client(root(server.url)).classify(["x"], TMDB)
    assert found.problem is not None
    assert found.problem.detail == "as it is"
    assert len(server.requests) == 1


def test_after_the_last_attempt_the_reason_is_told() -> None:
    with endpoint(refusing(503, "model-busy", Retry_After="0")) as server:
        (found,) = Client(root(server.url), retries=1).classify(["x"], TMDB)
    assert found.problem is not None
    assert found.problem.kind == "busy"
    assert len(server.requests) == 2


def test_texts_go_in_batches_and_come_back_in_order() -> None:
    def batch(*labels: str) -> Behaviour:
        answer = {"model": "m", "prompt": None, "taxonomy": "tmdb@1", "cached": False}
        return body(200, {"results": [answer | {"labels": [label]} for label in labels]})

    with endpoint(batch("War", "Drama"), batch("Crime")) as server:
        found = Client(root(server.url), batch=2).classify(["a", "b", "c"], TMDB)
    assert [prediction.labels for prediction in found] == [("War",), ("Drama",), ("Crime",)]
    assert [len(asked["texts"]) for asked in server.requests] == [2, 1]


def test_one_failed_batch_does_not_cost_the_others() -> None:
    with endpoint(refusing(422, "invalid-request"), answering("War")) as server:
        first, second = Client(root(server.url), batch=1).classify(["a", "b"], TMDB)
    assert first.problem is not None
    assert second.labels == ("War",)


def test_key_and_time_go_along() -> None:
    with endpoint(answering("War")) as server:
        Client(root(server.url), key="mq_1", timeout=7).classify(["x"], TMDB)
    assert server.headers[0]["authorization"] == "Bearer mq_1"
    assert server.headers[0]["x-request-timeout"] == "7"


def test_a_taxonomy_of_ones_own_is_sent_along_and_a_known_one_by_its_name() -> None:
    own = Taxonomy("mine", (Label("a", "first", ("one",)), Label("b")), multi=False)
    films = Taxonomy.of(["a", "b"], name="tmdb", attribute=TMDB.attribute)
    with endpoint(answering("a")) as server:
        for taxonomy in (TMDB, TMDB.shaped(max_labels=2), own, TMDB.shaped(attribute="style"), films):
            Client(root(server.url)).classify(["x"], taxonomy)
    named, shaped, sent, other, other_labels = server.requests
    assert [one.get("attribute") for one in server.requests] == [None, None, None, "style", "genre"]
    assert (other["taxonomy"], "taxonomy" in other_labels) == ("tmdb", False)
    assert named["taxonomy"] == "tmdb"
    assert "max_labels" not in named
    assert (shaped["taxonomy"], shaped["max_labels"]) == ("tmdb", 2)
    assert "taxonomy" not in sent
    assert sent["labels"][0] == {"name": "a", "description": "first", "aliases": ["one"], "predict": True}
    assert sent["multi"] is False


@pytest.mark.parametrize(
    "reply",
    [
        body(200, []),
        body(200, {"results": []}),
        body(200, "no JSON", "text/plain"),
        body(200, {"results": [{}]}),
        body(200, {"results": ["War"]}),
        body(200, {"results": [None]}),
        body(200, {"results": [{"labels": None, "model": "m", "taxonomy": "t", "prompt": None, "cached": False}]}),
        body(422, {"detail": [{"loc": ["body"], "msg": "Field required"}]}),  # as FastAPI answers
        body(404, {"detail": None, "type": 7}),
    ],
)
def test_what_is_no_marquee_is_a_problem_and_not_a_crash(reply: Behaviour) -> None:
    with endpoint(reply) as server:
        (found,) = Client(root(server.url)).classify(["x"], TMDB)
    assert found.problem is not None


def test_a_url_that_is_none_is_an_error_in_words() -> None:
    for url, key, said in (
        ("http://[", "", "a URL looks like"),
        ("marquee:5000", "", "a URL looks like"),
        ("http://127.0.0.1:port", "", "a URL looks like"),
        ("http://127.0.0.1", "ключ", "API key"),
        ("http://127.0.0.1", "mq_a\nb", "API key"),
    ):
        with pytest.raises(InvalidSetting, match=said):
            Client(url, key=key)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["classify", *arguments], catch_exceptions=False)


@pytest.mark.usefixtures("away")
def test_the_command_line_asks_a_running_service(monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoint(answering("War")) as server:
        assert call("a plot", "--url", root(server.url), "--key", "mq_1", "--taxonomy", "imdb").stdout == "War\n"
        monkeypatch.setenv("MARQUEE_KEY", "mq_2")
        shown = call("a plot", "--title", "T", "--url", root(server.url), "--labels", "a,b", "--single", "--json")
    assert [headers["authorization"] for headers in server.headers] == ["Bearer mq_1", "Bearer mq_2"]
    first, second = server.requests
    assert (first["taxonomy"], first["texts"]) == ("imdb", [{"text": "a plot", "title": ""}])
    assert (second["multi"], second["labels"]) == (False, ["a", "b"])
    assert json.loads(shown.stdout)["labels"] == ["War"]


@pytest.mark.usefixtures("away")
def test_the_command_line_sends_each_of_several_taxonomies_to_the_service() -> None:
    with endpoint(answering("War")) as server:
        shown = call("a plot", "--url", root(server.url), "--taxonomy", "imdb", "--taxonomy", "tmdb", "--top-k", "2")
    assert [line.partition("  ")[0] for line in shown.stdout.splitlines()] == ["imdb: War", "tmdb: War"]
    assert [(one["taxonomy"], one["top_k"]) for one in server.requests] == [("imdb", 2), ("tmdb", 2)]


@pytest.mark.usefixtures("away")
def test_a_service_that_refuses_is_an_error_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoint(refusing(401, "no-key")) as server:
        result: Any = call("a plot", "--url", root(server.url))
    assert (result.exit_code, "as it is" in result.stderr) == (1, True)
