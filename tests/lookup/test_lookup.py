"""The look-up over several providers: their order, what is remembered, ambiguity, and time."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm.wrappers.cache import AnswerStore
from lookup.film import FilmQuery, FilmRecord, LookupFailure
from lookup.lookup import Lookup
from lookup.providers import omdb, tmdb
from lookup.wikipedia import wikipedia
from tests.lookup.film_server import OMDB_KEY, TMDB_KEY, FilmServer, film_server
from tests.support.misbehaving import body, hangs

MULE = FilmQuery("Salt & Mule", 1999)
LANTERN = FilmQuery("The Paper Lantern")


@pytest.fixture
def server() -> Iterator[FilmServer]:
    with film_server() as running:
        yield running


def looking(server: FilmServer, store: AnswerStore | None = None, days: float = 30) -> Lookup:
    """TMDB, then Wikipedia."""
    return Lookup((tmdb(TMDB_KEY, server.tmdb), wikipedia("", server.wikipedia)), store, days)


def test_the_first_provider_that_tells_is_the_only_one_asked(server: FilmServer) -> None:
    outcome = looking(server).find(MULE)
    assert outcome.film
    assert outcome.film.provider == "tmdb"
    assert not outcome.cached
    assert {path for path, _, _ in server.requests} == {"/3/search/movie", "/3/movie/14"}


def test_where_one_fails_the_next_is_asked_and_the_failure_told(server: FilmServer) -> None:
    server.faults = [body(401, {"status_code": 7})]
    outcome = looking(server).find(MULE)
    assert outcome.film
    assert outcome.film.provider == "wikipedia"
    assert [(one.provider, one.failure.kind) for one in outcome.attempts] == [("tmdb", "refused")]


def test_where_nobody_tells_every_reason_is_told(server: FilmServer) -> None:
    outcome = looking(server).find(FilmQuery("Nothing Told", 2001))
    assert outcome.film is None
    assert [one.failure.kind for one in outcome.attempts] == ["no_plot", "no_plot"]
    assert not outcome.may_succeed_later
    assert "tmdb: " in outcome.reason
    assert "wikipedia: " in outcome.reason


def test_several_films_of_a_title_are_told_or_none_is_taken(server: FilmServer) -> None:
    best = looking(server).find(LANTERN, ambiguous="best-known")
    assert best.film
    assert (best.film.year, best.film.same_title) == (1984, 2)
    none = looking(server).find(LANTERN, ambiguous="none")
    assert none.film is None
    assert [(one.provider, one.failure.kind) for one in none.attempts] == [("tmdb", "ambiguous")]


def test_films_and_their_absence_are_remembered(server: FilmServer, tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "lookups.sqlite")
    looking(server, store).find(MULE)
    looking(server, store).find(FilmQuery("zzz"))
    asked = len(server.requests)
    again = looking(server, AnswerStore(tmp_path / "lookups.sqlite"))
    film = again.find(FilmQuery("SALT AND MULE", 1999))
    assert film.cached
    assert film.film
    assert film.film.genres == ("Comedy",)
    assert again.find(FilmQuery("zzz")).film is None
    assert len(server.requests) == asked


def test_what_was_remembered_too_long_ago_is_asked_anew(server: FilmServer, tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "lookups.sqlite")
    looking(server, store).find(MULE)
    assert not looking(server, store, days=0).find(MULE).cached


def test_failures_are_not_remembered(server: FilmServer, tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "lookups.sqlite")
    server.faults = [body(200, "<html>"), body(200, "<html>")]
    assert looking(server, store).find(MULE).film is None
    assert looking(server, store).find(MULE).film


def test_a_damaged_memory_costs_its_help_alone(server: FilmServer, tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "lookups.sqlite")
    looking(server, store).find(MULE)
    for rubbish in ("[]", "{", '{"timestamp": 9e99, "film": {"x": 1}}', '{"film": null}'):
        keys = {json.dumps([2, "tmdb", server.tmdb, "salt and mule", 1999]): rubbish}
        assert store.get(list(keys))
        store.put(keys)
        assert looking(server, store).find(MULE).film
    (tmp_path / "no.sqlite").write_text("this is no database" * 100)
    assert looking(server, AnswerStore(tmp_path / "no.sqlite")).find(MULE).film


def test_what_one_host_said_is_not_remembered_as_anothers(server: FilmServer, tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "lookups.sqlite")
    looking(server, store).find(MULE)
    with film_server() as other:
        assert not looking(other, store).find(MULE).cached
        assert other.requests


def test_many_are_answered_in_their_order_and_each_title_is_asked_once(server: FilmServer) -> None:
    outcomes = looking(server).find_all([MULE, LANTERN, MULE])
    assert [outcome.film and outcome.film.id for outcome in outcomes] == ["14", "11", "14"]
    assert len([path for path, _, _ in server.requests if path == "/3/movie/14"]) == 1


def test_the_time_is_kept_whatever_a_host_does(server: FilmServer) -> None:
    server.faults = [hangs(2)] * 4
    start = time.monotonic()
    outcomes = looking(server).find_all([MULE, LANTERN], deadline=start + 0.3)
    assert [outcome.film for outcome in outcomes] == [None, None]
    assert all(one.failure.kind == "timeout" for outcome in outcomes for one in outcome.attempts)
    assert all(outcome.may_succeed_later for outcome in outcomes)


def test_nobody_to_ask_is_told(server: FilmServer) -> None:
    outcome = Lookup((), skipped={"tmdb": "set a key"}).find_all([MULE])[0]
    assert (outcome.film, outcome.reason) == (None, "tmdb: set a key")
    assert "no provider" in Lookup().find(MULE).reason
    assert Lookup().find(FilmQuery(" ")).film is None


def test_a_table_is_answered_in_its_order(server: FilmServer) -> None:
    wanted = [FilmQuery("Salt & Mule", year) for year in range(1950, 2010)]
    outcomes = list(Lookup((omdb(OMDB_KEY, server.url),)).each(wanted[47:52], patience=60))
    assert [outcome.film is not None for outcome in outcomes] == [False, True, True, True, False]
    assert all(isinstance(one.failure, LookupFailure) for outcome in outcomes for one in outcome.attempts)


def test_a_plot_of_any_length_is_held_to_a_bound(server: FilmServer) -> None:
    server.films = ({**server.films[3], "plot": "mule " * 100_000},)
    found = looking(server).find(MULE).film
    assert isinstance(found, FilmRecord)
    assert len(found.plot) == 20_000
