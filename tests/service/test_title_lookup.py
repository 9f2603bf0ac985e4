"""Titles looked up by the service and the command line, against a real local server of films."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from llm.backends.backend import FakeBackend
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from main import main
from marquee.settings import Settings, read_settings
from prompts.errors import InvalidSetting
from service.app import create_app
from service.services import Limits, Services
from service.title_lookup import lookup_of
from tests.lookup.film_server import LANTERN, OMDB_KEY, SALT, TMDB_KEY, FilmServer, film_server
from tests.support.misbehaving import body, hangs

pytestmark = pytest.mark.usefixtures("away")


@pytest.fixture
def server() -> Iterator[FilmServer]:
    with film_server() as running:
        yield running


def settings_of(server: FilmServer, **more: Any) -> Settings:
    urls = {"tmdb_url": server.tmdb, "omdb_url": server.url, "wikipedia_url": server.wikipedia}
    return read_settings(**urls, **{"tmdb_key": TMDB_KEY, "omdb_key": OMDB_KEY, "lookup_timeout": 60, **more})


class Service:
    """A service whose model notes what it is asked."""

    def __init__(self, settings: Settings) -> None:
        self.prompts: list[str] = []
        model = LanguageModel(FakeBackend(self._reply, "a-model"), JSONList())
        limits = Limits(text_chars=1_000, lookup_seconds=settings.lookup_timeout)
        parts = Services(lambda choice: model, lambda: None, lambda: None, "tmdb", limits, lookup=lookup_of(settings))
        self.client: FlaskClient = create_app(parts).test_client()

    def _reply(self, conversation: Any) -> str:
        self.prompts.append(conversation[-1]["content"])
        return '["Drama"]'

    def ask(self, headers: dict[str, str] | None = None, **sent: Any) -> Any:
        raw = json.dumps(sent)
        return self.client.post("/classify", data=raw, headers=headers, content_type="application/json").get_json()


def test_a_bare_title_is_looked_up_and_the_answer_says_so(server: FilmServer) -> None:
    service = Service(settings_of(server))
    answer = service.ask(title="The Paper Lantern", year=1984, lookup=True)
    assert answer["genres"] == ["Drama"]
    told = answer["lookup"]
    assert (told["found"], told["provider"], told["title"], told["year"]) == (True, "tmdb", "The Paper Lantern", 1984)
    assert (told["id"], told["url"], told["text_from"]) == ("11", "https://www.themoviedb.org/movie/11", "overview")
    assert (told["known_genres"], told["cached"], told["tried"]) == (["Drama", "Mystery"], False, [])
    assert LANTERN in service.prompts[0]
    assert service.ask(title="The Paper Lantern", year=1984, lookup=True)["lookup"]["cached"]


def test_without_being_asked_nothing_is_looked_up(server: FilmServer) -> None:
    answer = Service(settings_of(server)).ask(title="The Paper Lantern")
    assert "lookup" not in answer
    assert server.requests == []


def test_a_placeholder_is_no_text_but_a_text_is(server: FilmServer) -> None:
    service = Service(settings_of(server))
    assert service.ask(title="Salt & Mule", overview="Add a Plot", lookup=True)["lookup"]["found"]
    assert SALT in service.prompts[-1]
    asked = len(server.requests)
    told = service.ask(title="Salt & Mule", overview="A real plot.", lookup=True)["lookup"]
    assert (told["found"], told["note"]) == (False, "not needed: the request has a text")
    assert "A real plot." in service.prompts[-1]
    assert len(server.requests) == asked


def test_namesakes_are_told(server: FilmServer) -> None:
    told = Service(settings_of(server)).ask(title="The Paper Lantern", lookup=True)["lookup"]
    assert (told["year"], told["same_title"]) == (1984, 2)
    assert "send year for another" in told["note"]
    later = Service(settings_of(server)).ask(title="The Paper Lantern (2011)", lookup=True)["lookup"]
    assert later["id"] == "12"


def test_a_batch_is_looked_up_where_it_needs_to_be(server: FilmServer) -> None:
    texts = [{"title": "Salt & Mule", "year": 1999}, "A plot of its own.", {"title": "zzz"}, {"text": "add a plot"}]
    service = Service(settings_of(server))
    told = [answer["lookup"] for answer in service.ask(texts=texts, lookup=True)["results"]]
    assert [one["found"] for one in told] == [True, False, False, False]
    assert "title alone" in told[2]["note"]
    assert "no title" in told[3]["note"]
    assert "zzz" in service.prompts[2]


def test_without_a_key_the_next_provider_answers_and_the_lack_is_told(server: FilmServer) -> None:
    told = Service(settings_of(server, tmdb_key="", omdb_key="")).ask(title="Salt & Mule", lookup=True)["lookup"]
    assert told["provider"] == "wikipedia"
    assert [one["kind"] for one in told["tried"]] == ["no_key", "no_key"]
    assert "MARQUEE_TMDB_KEY" in told["tried"][0]["detail"]


def test_without_any_provider_or_network_the_title_alone_is_read_and_that_is_told() -> None:
    with film_server() as gone:
        pass
    nobody = Service(read_settings(lookup_providers="none")).ask(title="Salt & Mule", lookup=True)
    assert nobody["genres"] == ["Drama"]
    assert "MARQUEE_LOOKUP_PROVIDERS" in nobody["lookup"]["note"]
    offline = Service(settings_of(gone, lookup_timeout=0.5))
    answer = offline.ask(title="Salt & Mule", text="Add a plot", lookup=True)
    assert answer["genres"] == ["Drama"]
    assert {one["kind"] for one in answer["lookup"]["tried"]} <= {"unreachable", "timeout"}
    assert "Add a plot" not in offline.prompts[0]
    assert "Salt & Mule" in offline.prompts[0]


def test_the_order_is_a_setting(server: FilmServer) -> None:
    told = Service(settings_of(server, lookup_providers="omdb,tmdb")).ask(title="Salt & Mule", lookup=True)["lookup"]
    assert (told["provider"], told["url"]) == ("omdb", "https://www.imdb.com/title/tt0000014/")


def test_a_request_keeps_time_for_its_answer(server: FilmServer) -> None:
    server.faults = [hangs(10)] * 3
    service = Service(settings_of(server))
    answer = service.ask({"X-Request-Timeout": "4"}, title="Salt & Mule", lookup=True)
    assert answer["genres"] == ["Drama"]
    assert {one["kind"] for one in answer["lookup"]["tried"]} == {"timeout"}


def test_the_prompt_shown_is_the_one_that_would_be_sent(server: FilmServer) -> None:
    client = Service(settings_of(server)).client
    shown = client.post("/prompt", json={"title": "Salt & Mule", "lookup": True}).get_json()
    assert SALT in shown["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"title": "A", "year": 1999}, "lookup"),
        ({"texts": ["A"], "year": 1999, "lookup": True}, "year of each text"),
        ({"title": "A", "year": 99, "lookup": True}, "year"),
        ({"title": "A", "year": "1999", "lookup": True}, "year"),
        ({"title": "A", "lookup": "http://evil.example"}, "lookup"),
        ({"title": "A", "lookup": True, "lookup_url": "http://evil.example"}, "unknown key"),
        ({"title": "A", "lookup": True, "provider": "http://evil.example"}, "unknown key"),
        ({"title": ["http://evil.example"], "lookup": True}, "title"),
    ],
)
def test_no_field_of_a_request_says_whom_to_ask(server: FilmServer, sent: dict[str, Any], said: str) -> None:
    problem = Service(settings_of(server)).ask(**sent)
    assert problem["status"] == 422
    assert said in problem["detail"]
    assert server.requests == []


@pytest.mark.parametrize("title", ["http://127.0.0.1:1/x", "//evil.example", "../..", "a\r\nHost: b", "\ud800", "\x00"])
def test_no_title_leads_elsewhere(server: FilmServer, title: str) -> None:
    answer = Service(settings_of(server)).ask(title=title, lookup=True)
    assert answer["lookup"]["found"] is False
    hosts = {headers["host"] for _, _, headers in server.requests}
    assert hosts <= {server.url.removeprefix("http://")}
    assert {path for path, _, _ in server.requests} <= {"/3/search/movie", "/", "/w/api.php"}


def test_an_endless_title_is_nobodys(server: FilmServer) -> None:
    answer = Service(settings_of(server)).ask(title="\u00e9x" * 490, lookup=True)
    assert answer["genres"] == ["Drama"]
    assert "too long" in answer["lookup"]["note"]
    assert server.requests == []


def test_a_foreign_host_behind_a_redirect_is_never_asked() -> None:
    with film_server() as foreign, film_server() as server:
        server.faults = [body(code, "", Location=f"{foreign.url}/") for code in (301, 307, 308)]
        answer = Service(settings_of(server)).ask(title="Salt & Mule", lookup=True)
        assert answer["lookup"]["found"] is False
        assert (foreign.requests, len(server.requests)) == ([], 3)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("tmdb_url", "http://api.example.org/3", "https"),
        ("tmdb_url", "https://api.example.org/3?key=1", "without query"),
        ("wikipedia_url", "file:///etc/passwd", "https"),
        ("omdb_url", "https://u:p@example.org", "password"),
        ("tmdb_key", "a\nb", "one line"),
        ("lookup_providers", "tmbd", "did you mean 'tmdb'"),
        ("lookup_timeout", 0, "a number above 0$"),
    ],
)
def test_a_wrong_setting_stops_the_start(name: str, value: Any, said: str) -> None:
    with pytest.raises(InvalidSetting, match=said):
        read_settings(**{name: value})


def test_keys_are_never_shown() -> None:
    settings = read_settings(tmdb_key="a-secret", omdb_key="a-secret")
    assert "a-secret" not in repr(settings) + settings.model_dump_json() + repr(lookup_of(settings))


def test_the_figures_tell_who_was_asked(server: FilmServer) -> None:
    service = Service(settings_of(server))
    service.ask(texts=[{"title": "Salt & Mule"}, {"title": "zzz"}], lookup=True)
    figures = service.client.get("/metrics").text
    assert 'marquee_lookups_total{provider="tmdb"} 1.0' in figures
    assert 'marquee_lookups_total{provider="none"} 1.0' in figures


def test_the_command_line_looks_up_too(server: FilmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TMDB_URL", server.tmdb), ("TMDB_KEY", TMDB_KEY), ("LOOKUP_PROVIDERS", "tmdb")):
        monkeypatch.setenv(f"MARQUEE_{name}", value)
    call = ["classify", "--title", "The Paper Lantern", "--year", "2011", "--lookup"]
    said = CliRunner().invoke(main, call, catch_exceptions=False).stderr
    assert "look-up: classified the overview from tmdb https://www.themoviedb.org/movie/12" in said
    assert CliRunner().invoke(main, ["classify", "--title", "A", "--year", "2011"]).exit_code == 2


def test_the_command_line_lets_a_service_look_up(server: FilmServer, away: Path) -> None:
    told = {"found": True, "note": "read the overview", "url": "https://www.themoviedb.org/movie/1"}
    answer = {"labels": ["War"], "model": "m", "prompt": None, "taxonomy": "t@1", "cached": False, "lookup": told}
    from tests.support.misbehaving import endpoint

    with endpoint(body(200, {"results": [answer]})) as there:
        call = ["classify", "--title", "A", "--year", "2011", "--lookup", "--url", there.url.removesuffix("/v1")]
        result = CliRunner().invoke(main, call, catch_exceptions=False)
    assert result.stdout == "War\n"
    assert "look-up: read the overview https://www.themoviedb.org/movie/1" in result.stderr
    assert there.requests[0]["texts"] == [{"text": "", "title": "A", "year": 2011}]
    assert there.requests[0]["lookup"] is True
