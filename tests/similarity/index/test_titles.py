"""A title that the catalogue does not have is an error that names those spelled like it."""

import json
from collections.abc import Sequence
from difflib import SequenceMatcher, get_close_matches
from itertools import islice, product
from pathlib import Path

import pytest
from click.testing import CliRunner

from llm.embedded.matcher import Matcher
from main import main
from service.app import create_app
from service.services import Services
from similarity.errors import UnknownTitle
from similarity.index.builder import FilmSource, build
from similarity.index.catalog import Film, Titles
from similarity.index.reloading import ReloadingIndex, live
from similarity.index.search import Query, Similar
from tests.service.test_classify import problem_of
from tests.similarity.words import Words

FILMS = [
    Film("1", "Alien", 1979, ("Horror",), "a creature hunts a crew"),
    Film("2", "Aliens", 1986, ("Action",), "marines fight creatures"),
    Film("3", "The Matrix", 1999, ("Action",), "a hacker learns that the world is a simulation"),
    Film("4", "Amélie", 2001, ("Comedy",), "a waitress helps strangers"),
    Film("5", "Heat", 1995, ("Crime",), "a detective follows a thief"),
    Film("6", "Heat", 1986, ("Crime",), "a bodyguard in a desert town"),
    Film("7", "七人の侍", 1954, ("Drama",), "seven fighters defend a village"),
    Film("8", "", None, (), "a film without a title"),
]
MISSPELT = [
    ("Alein", "Alien"),
    ("ALIIEN", "Alien"),
    ("Matrix", "The Matrix"),
    ("the matirx", "The Matrix"),
    ("Amelie", "Amélie"),
    ("七人の待", "七人の侍"),
    ("Alein (1979)", "Alien"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("titles")
    build(folder, FilmSource(FILMS, ""), Words())
    return folder


@pytest.fixture(scope="module")
def similar(folder: Path) -> Similar:
    return Similar(ReloadingIndex(folder, "words", Words.dimension), Words())


@pytest.mark.parametrize(("title", "meant"), MISSPELT)
def test_the_error_names_the_title_that_was_meant(similar: Similar, title: str, meant: str) -> None:
    with pytest.raises(UnknownTitle, match=f"did you mean {meant!r}") as raised:
        similar.search(Query(title=title))
    assert raised.value.close[0] == meant


@pytest.mark.parametrize(
    "title", ["zzz", "x", "A creature hunts the crew of a spaceship far from Earth", "Alien (1980)"]
)
def test_a_title_like_none_of_them_is_an_error_too(similar: Similar, title: str) -> None:
    with pytest.raises(UnknownTitle, match="no film of the catalogue has the title"):
        similar.search(Query(title=title))


def test_titles_of_the_catalogue_are_found_as_before(similar: Similar) -> None:
    found = [
        similar.search(Query(title=title)).query_film
        for title in ("alien", " THE  matrix", "Alien (1979)", "Heat (1986)")
    ]
    assert [film and film.id for film in found] == ["1", "3", "1", "6"]


def test_a_title_beside_a_text_need_not_be_known(similar: Similar) -> None:
    assert similar.search(Query("a creature", "Alein")).query_film is None


@pytest.mark.parametrize(("title", "meant"), MISSPELT[:3])
def test_the_service_says_so_with_404(embedded: Matcher, folder: Path, title: str, meant: str) -> None:
    films = Similar(live(folder, Words()), Words())
    parts = Services(lambda choice: embedded, lambda: None, lambda: None, "tmdb", similar=lambda: films)
    client = create_app(parts).test_client()
    body = problem_of(client.post("/similar", json={"title": title}), 404, "unknown-film")
    assert body["field"] == "title"
    assert f"did you mean {meant!r}" in body["detail"]


def test_the_command_says_so_in_one_line(away: Path) -> None:
    rows = [{"id": one.id, "title": one.title, "year": one.year, "description": one.text} for one in FILMS]
    (away / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert CliRunner().invoke(main, ["index", "films.jsonl", "--out", "ix"]).exit_code == 0
    told = CliRunner().invoke(main, ["similar", "--title", "Alein", "--index", "ix"])
    assert (told.exit_code, told.stdout) == (1, "")
    assert "did you mean 'Alien' or 'Aliens'?" in told.stderr
    assert told.stderr.strip().count("\n") == 0


def invented(number: int) -> list[str]:
    """Titles of three words, no two alike."""
    first, second = ("sto", "ri", "mal", "fen", "qua", "bel", "dro"), ("ne", "ver", "ta", "lix", "m", "gor")
    words = [before + behind for before in first for behind in second]
    three = product(words, repeat=3)
    return [f"{one} of {two} {last}" for one, two, last in islice(three, number)]


def damaged(title: str, how: int) -> str:
    """Without a letter, with one more, or with two of them swapped."""
    at = len(title) // 2
    swapped = title[at - 1 : at + 1][::-1]
    return (title[:at] + title[at + 1 :], f"{title[:at]}x{title[at:]}", title[: at - 1] + swapped + title[at + 1 :])[
        how
    ]


def test_it_finds_what_difflib_finds() -> None:
    titles = invented(3_000)
    for number, title in enumerate(titles[:: len(titles) // 6]):
        misspelt = damaged(title, number % 3)
        assert Titles(titles).like(misspelt, 1) == get_close_matches(misspelt, titles, 1)


def test_of_many_titles_few_are_compared_letter_by_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    class Counting(SequenceMatcher[str]):
        def set_seq1(self, a: Sequence[str]) -> None:
            compared.append(str(a))
            super().set_seq1(a)

    monkeypatch.setattr("difflib.SequenceMatcher", Counting)
    known = invented(74_000)
    assert Titles(known).like(damaged(known[50_000], 2))[0] == known[50_000]
    assert len(compared) <= 1 + 400


@pytest.mark.parametrize("title", ["", "\ud800", "a" * 10_000, "\U0010ffff"])
def test_odd_titles_do_no_harm(title: str) -> None:
    assert Titles(["alien", ""]).like(title) == []
    assert Titles([]).like(title) == []
