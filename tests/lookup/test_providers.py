"""Each provider against a real server that speaks as it does, well and ill."""

import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

import pytest

from lookup.film import FilmQuery, FilmRecord, LookupFailure, ProviderFailure
from lookup.providers import PROVIDERS, Provider, omdb, order_of, tmdb
from lookup.wikipedia import wikipedia
from prompts.errors import UnknownName
from tests.lookup.film_server import LANTERN, OMDB_KEY, SALT, TMDB_KEY, TMDB_TOKEN, FilmServer, film_server
from tests.support.misbehaving import Behaviour, body, cuts, hangs

Make = Callable[[FilmServer], Provider]
MAKERS: dict[str, Make] = {
    "tmdb": lambda server: tmdb(TMDB_KEY, server.tmdb),
    "omdb": lambda server: omdb(OMDB_KEY, server.url),
    "wikipedia": lambda server: wikipedia("", server.wikipedia, "marquee@example.org"),
}
EVERY = pytest.mark.parametrize("name", MAKERS)


@pytest.fixture
def server() -> Iterator[FilmServer]:
    with film_server() as running:
        yield running


def soon(seconds: float = 60.0) -> float:
    return time.monotonic() + seconds


def ask(
    name: str, server: FilmServer, title: str, year: int | None = None, seconds: float = 60.0
) -> FilmRecord | LookupFailure:
    try:
        return MAKERS[name](server).find(FilmQuery(title, year), soon(seconds))
    except ProviderFailure as unanswered:
        return unanswered.failure


def test_every_provider_is_tried_here() -> None:
    assert MAKERS.keys() == PROVIDERS.keys()


@EVERY
def test_a_film_is_found_by_title_and_year(name: str, server: FilmServer) -> None:
    found = ask(name, server, "the paper lantern", 1984)
    assert isinstance(found, FilmRecord)
    assert (found.provider, found.title, found.year, found.same_title) == (name, "The Paper Lantern", 1984, 1)
    assert found.plot.startswith(LANTERN)
    expected = {"tmdb": ("Drama", "Mystery"), "omdb": ("Drama", "Mystery"), "wikipedia": ()}
    assert found.genres == expected[name]


@EVERY
def test_without_a_year_the_best_known_is_taken_and_their_number_told(name: str, server: FilmServer) -> None:
    found = ask(name, server, "The Paper Lantern")
    assert isinstance(found, FilmRecord)
    assert (found.year, found.same_title) == (1984, 2)


@EVERY
def test_a_title_that_matches_nothing_exactly_is_not_found(name: str, server: FilmServer) -> None:
    for title in ("Paper", "Lantern", "The Paper Lantern II", "zzz"):
        found = ask(name, server, title)
        assert isinstance(found, LookupFailure), title
        assert found.kind == "not_found", title


@EVERY
def test_a_year_that_no_film_of_the_title_has_is_not_found(name: str, server: FilmServer) -> None:
    found = ask(name, server, "The Paper Lantern", 1999)
    assert isinstance(found, LookupFailure)
    assert found.kind == "not_found"


@EVERY
def test_a_film_without_a_plot_is_told_as_such(name: str, server: FilmServer) -> None:
    found = ask(name, server, "Nothing Told", 2001)
    assert isinstance(found, LookupFailure)
    assert found.kind == "no_plot"


@EVERY
def test_accents_and_ampersands_are_no_difference(name: str, server: FilmServer) -> None:
    found = ask(name, server, "Salt and Mule", 1999)
    assert isinstance(found, FilmRecord)
    assert found.plot.startswith(SALT)
    assert isinstance(ask(name, server, "el ultimo tren", 1970), FilmRecord)


def test_tmdb_knows_original_titles(server: FilmServer) -> None:
    found = ask("tmdb", server, "Sal y Mula")
    assert isinstance(found, FilmRecord)
    assert found.id == "14"
    assert found.url == "https://www.themoviedb.org/movie/14"


def test_tmdb_takes_both_kinds_of_key(server: FilmServer) -> None:
    assert isinstance(tmdb(TMDB_TOKEN, server.tmdb).find(FilmQuery("Salt & Mule"), soon()), FilmRecord)
    assert all("api_key" not in query for _, query, _ in server.requests)


def test_wikipedia_reads_the_plot_with_its_subsections_and_nothing_behind_it(server: FilmServer) -> None:
    found = ask("wikipedia", server, "Salt & Mule", 1999)
    assert isinstance(found, FilmRecord)
    assert found.plot == f"{SALT}\nIt ends."
    assert found.url == f"{server.url}/wiki/Salt_%26_Mule"


@pytest.mark.parametrize(
    ("title", "description", "is_film"),
    [
        ("Alien (film)", "", True),
        ("The Fly (1986 film)", "", True),
        ("Drishyam (2015 Hindi film)", "", True),
        ("The Matrix", "1999 film by the Wachowskis", True),
        ("Metropolis", "1927 German science fiction silent film", True),
        ("Alien (franchise)", "American science fiction media franchise", False),
        ("Saw", "2004 film series", False),
        ("Cannes", "1946 film festival", False),
        ("Purple Rain", "1984 soundtrack to the film", False),
        ("It", "1986 novel, later a film", False),
        ("Elvis", "American singer and film actor", False),
        ("Heat", "", False),
    ],
)
def test_wikipedia_tells_films_from_other_things_of_the_name(title: str, description: str, is_film: bool) -> None:
    page = {"pageid": 7, "title": title, "index": 1, "description": description}
    bare = title.partition(" (")[0]
    pages, text = {"query": {"pages": [page]}}, {"query": {"pages": [{**page, "extract": "== Plot ==\nIt happens."}]}}
    with film_server(body(200, pages), body(200, text)) as server:
        assert isinstance(ask("wikipedia", server, bare), FilmRecord) is is_film


def test_wikipedia_is_told_who_asks(server: FilmServer) -> None:
    ask("wikipedia", server, "Salt & Mule")
    assert all("Marquee/1 (marquee@example.org)" in headers["user-agent"] for _, _, headers in server.requests)


def test_a_short_title_that_omdb_has_too_many_of_is_not_called_the_only_one() -> None:
    with film_server(body(200, {"Response": "False", "Error": "Too many results."})) as server:
        found = ask("omdb", server, "The Paper Lantern")
    assert isinstance(found, FilmRecord)
    assert found.same_title > 1


# --- faults ---


@pytest.mark.parametrize(
    "fault",
    [
        body(429, "slow down", "text/plain", Retry_After="1"),
        body(429, "slow down", "text/plain", Retry_After=formatdate(time.time() + 1, usegmt=True)),
        body(500, "<html>", "text/html"),
        body(503, {"success": False}),
        cuts,
    ],
    ids=["429", "429 until a date", "500", "503", "cut"],
)
def test_what_fails_by_chance_is_tried_again_after_the_pause_that_is_asked_for(fault: Behaviour) -> None:
    with film_server(fault) as server:
        assert isinstance(ask("tmdb", server, "Salt & Mule", 1999), FilmRecord)


@EVERY
def test_every_provider_is_tried_again(name: str) -> None:
    with film_server(body(503, "")) as server:
        assert isinstance(ask(name, server, "Salt & Mule", 1999), FilmRecord)


@EVERY
def test_a_host_that_asks_for_a_longer_pause_than_there_is_time_is_left_alone(name: str) -> None:
    with film_server(body(429, "", Retry_After="3600")) as server:
        provider = MAKERS[name](server)
        for _ in range(2):
            with pytest.raises(ProviderFailure) as raised:
                provider.find(FilmQuery("Salt & Mule", 1999), soon())
            assert raised.value.failure.kind == "busy"
        assert len(server.requests) == 1


@EVERY
@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (body(200, "<html>Sign in to the hotel's network</html>", "text/html"), "unreadable", "not in JSON"),
        (body(200, "[" * 100_000), "unreadable", "not in JSON"),
        (body(200, "\x00" * 5_000_000), "unreadable", "bytes"),
        (body(200, [1, 2]), "unreadable", "expected fields"),
        (body(200, {"results": [{"id": "x"}], "query": 7, "Response": None}), "unreadable", "expected fields"),
        (body(404, "gone"), "unreadable", "base URL"),
        (body(418, "teapot"), "unreadable", "418"),
    ],
    ids=["html", "nested", "endless", "list", "shape", "404", "418"],
)
def test_what_cannot_be_read_is_told_and_not_repeated(name: str, fault: Behaviour, kind: str, said: str) -> None:
    with film_server(fault) as server:
        found = ask(name, server, "Salt & Mule", 1999)
        assert isinstance(found, LookupFailure), found
        assert (found.kind, said in found.detail) == (kind, True), found
        assert len(server.requests) == 1


@EVERY
def test_a_host_that_hangs_is_given_up_in_time(name: str) -> None:
    with film_server(hangs(1)) as server:
        found = ask(name, server, "Salt & Mule", 1999, seconds=0.4)
    assert isinstance(found, LookupFailure)
    assert found.kind == "timeout"


def test_a_host_that_is_not_there_is_unreachable() -> None:
    with film_server() as server:
        pass
    found = ask("tmdb", server, "Salt & Mule", 1999)
    assert isinstance(found, LookupFailure)
    assert found.kind == "unreachable"


@EVERY
def test_redirects_are_not_followed(name: str) -> None:
    with film_server() as foreign, film_server(body(302, "", Location=f"{foreign.url}/3/search/movie")) as server:
        found = ask(name, server, "Salt & Mule", 1999)
        assert isinstance(found, LookupFailure)
        assert "redirects" in found.detail
        assert foreign.requests == []


@pytest.mark.parametrize("name", ["tmdb", "omdb"])
def test_a_refused_key_is_told_once_and_shown_to_nobody(name: str, server: FilmServer) -> None:
    make: Any = {"tmdb": lambda: tmdb("wrong-key", server.tmdb), "omdb": lambda: omdb("wrong-key", server.url)}[name]
    provider = make()
    for _ in range(3):
        with pytest.raises(ProviderFailure) as raised:
            provider.find(FilmQuery("Salt & Mule"), soon())
        assert raised.value.failure.kind == "refused"
        assert f"MARQUEE_{name.upper()}_KEY" in raised.value.failure.detail
        assert "wrong-key" not in raised.value.failure.detail
    assert len(server.requests) == 1
    assert "wrong-key" not in repr(provider)


def test_a_used_up_allowance_is_no_wrong_key() -> None:
    with film_server(body(401, {"Response": "False", "Error": "Request limit reached!"})) as server:
        found = ask("omdb", server, "Salt & Mule", 1999)
    assert isinstance(found, LookupFailure)
    assert (found.kind, "exhausted" in found.detail) == ("busy", True)


def test_what_a_host_says_is_told_without_the_key_in_it() -> None:
    with film_server(body(200, {"Response": "False", "Error": f"No luck for {OMDB_KEY}"})) as server:
        found = ask("omdb", server, "Salt & Mule", 1999)
    assert isinstance(found, LookupFailure)
    assert (found.kind, OMDB_KEY in found.detail, "No luck for ***" in found.detail) == ("unreadable", False, True)


def test_wikipedias_own_errors_are_told() -> None:
    error = body(200, {"error": {"code": "ratelimited", "info": "You've exceeded your rate limit."}})
    with film_server(error) as server:
        found = ask("wikipedia", server, "Salt & Mule")
    assert isinstance(found, LookupFailure)
    assert found.kind == "busy"


# --- nothing in a title leads anywhere else ---

NASTY = (
    "http://127.0.0.1:1/", "https://evil.example/3/movie/1", "//evil.example/", "../../etc/passwd", "..%2f..%2fadmin",
    "a\r\nHost: evil.example\r\n\r\n", "x&apikey=stolen&t=y", "x#fragment", "x?query=y", "@evil.example", "\x00",
    "{id}", "File:///etc/passwd", "Special:Export", "a|b|c", "\\\\evil\\share", "x" * 3_000, "%00", "insource:/secret/",
)  # fmt: skip


@EVERY
@pytest.mark.parametrize("title", NASTY)
def test_no_title_changes_host_path_or_parameters(name: str, title: str, server: FilmServer) -> None:
    server.films = (*server.films, {**server.films[0], "title": title, "year": 1984})
    ask(name, server, title, 1984)
    assert server.requests
    paths = {"tmdb": ("/3/search/movie", "/3/movie/11"), "omdb": ("/",), "wikipedia": ("/w/api.php",)}[name]
    host = server.url.removeprefix("http://")
    for path, query, headers in server.requests:
        assert path in paths
        assert headers["host"] == host
        assert query.get("apikey", OMDB_KEY) == OMDB_KEY
        assert query.get("api_key", TMDB_KEY) == TMDB_KEY


@EVERY
def test_nothing_in_a_reply_leads_anywhere_else(name: str, server: FilmServer) -> None:
    evil = {"results": [{"id": 14, "title": "A", "release_date": "1999-01-01", "url": "http://evil.example"}]}
    hit = {"Title": "A", "Year": "1999", "imdbID": "http://evil.example/?x=1#", "Plot": "P", "Response": "True"}
    page = {"pageid": 14, "title": "A", "index": 1, "description": "1999 film", "fullurl": "http://evil.example"}
    server.faults = [body(200, {**evil, **hit, "Search": [hit], "query": {"pages": [page]}})]
    found = ask(name, server, "A")
    assert all(headers["host"] == server.url.removeprefix("http://") for _, _, headers in server.requests)
    assert {path for path, _, _ in server.requests} <= {"/3/search/movie", "/3/movie/14", "/", "/w/api.php"}
    assert not isinstance(found, FilmRecord) or "http://evil" not in found.url


def test_the_order_of_providers_is_a_list_of_names() -> None:
    assert order_of("wikipedia, tmdb,wikipedia") == ["wikipedia", "tmdb"]
    assert order_of("none") == []
    with pytest.raises(UnknownName, match="did you mean 'tmdb'"):
        order_of("tmbd")
