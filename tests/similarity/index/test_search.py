"""Queries: what is answered, what is left out, and what happens when a newer index lands."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from similarity.errors import InvalidIndex, SeveralFilms, UnknownFilm, UnknownGenre
from similarity.index.builder import FilmSource, build
from similarity.index.catalog import Film, SearchFilter
from similarity.index.reloading import ReloadingIndex
from similarity.index.search import Query, SearchResult, Similar
from tests.similarity.films import film, films
from tests.similarity.words import Vectors, Words

TWINS = [
    Film("original", "The Twin", 1990, ("Drama",), "two brothers share one name in a town of mirrors"),
    Film("copy", "The Double", 1991, ("Drama",), " Two brothers share one NAME in a town of mirrors"),
    Film("other source", "the  twin", 1990, ("Drama",), "two brothers share one name in a town of mirrors somewhere"),
    Film("remake", "The Twin", 2010, ("Drama",), "two brothers share one name in a city of mirrors"),
    Film("reordered", "Reordered", 1992, ("Drama",), "brothers two share one name in a town of mirrors"),
]


def served(folder: Path, some: list[Film]) -> Similar:
    build(folder, FilmSource(some, "made"), Words())
    return Similar(ReloadingIndex(folder, Words.name, Words.dimension), Words())


@pytest.fixture(scope="module")
def similar(tmp_path_factory: pytest.TempPathFactory) -> Similar:
    return served(tmp_path_factory.mktemp("index") / "index", [*films(300), *TWINS])


def ids(found: SearchResult) -> list[str]:
    return [match.film.id for match in found.matches]


def test_films_come_best_first_and_as_many_as_wanted(similar: Similar) -> None:
    found = similar.search(Query("w1 w2 w3", k=25))
    scores = [match.score for match in found.matches]
    assert len(scores) == 25
    assert scores == sorted(scores, reverse=True)
    assert found.query_film is None


def test_a_film_finds_neither_itself_nor_its_duplicates(similar: Similar) -> None:
    found = similar.search(Query(id="original"))
    assert found.query_film is not None
    assert found.query_film.title == "The Twin"
    assert ids(found)[0] == "remake"  # another film, whatever its title
    assert not {"original", "copy", "other source", "reordered"} & set(ids(found))


def test_a_text_finds_no_film_that_is_that_text(similar: Similar) -> None:
    found = similar.search(Query(TWINS[0].text))
    assert ids(found)[0] == "remake"
    assert not {"original", "copy", "other source", "reordered"} & set(ids(found))


def test_a_title_beside_the_text_leaves_out_the_films_of_that_title(similar: Similar) -> None:
    found = similar.search(Query("brothers in a town of mirrors", "the twin"))
    assert not {"original", "other source", "remake"} & set(ids(found))


def test_no_film_is_answered_twice(similar: Similar) -> None:
    found = similar.search(Query("brothers share mirrors", k=5))
    assert len({"original", "copy", "other source"} & set(ids(found))) == 1


def test_a_title_alone_means_the_film_of_that_title(similar: Similar) -> None:
    by_title, by_id = similar.search(Query(title="film  7")), similar.search(Query(id="f7"))
    assert by_title.query_film == by_id.query_film
    assert ids(by_title) == ids(by_id)
    with pytest.raises(SeveralFilms, match=r"original \(1990\).*remake \(2010\); give the id"):
        similar.search(Query(title="The Twin"))


def test_filters_hold_genres_and_years(similar: Similar) -> None:
    found = similar.search(Query("w1 w2", k=100, filter=SearchFilter(("war", "Comedy"), 1960, 1961)))
    assert found.matches
    for match in found.matches:
        assert match.film.genres[0] in ("War", "Comedy")
        assert match.film.year in (1960, 1961)
    assert ids(similar.search(Query("w1", filter=SearchFilter((), 2200)))) == []


def test_unknown_names_say_what_is_near(similar: Similar) -> None:
    with pytest.raises(UnknownFilm, match="'f999'"):
        similar.search(Query(id="f999"))
    with pytest.raises(UnknownGenre, match="did you mean 'comedy'"):
        similar.search(Query("w1", filter=SearchFilter(("Comdy",))))


def test_the_same_text_is_encoded_once(tmp_path: Path) -> None:
    build(tmp_path, FilmSource(films(9), ""), Words())
    encoder = Words()
    answering = Similar(ReloadingIndex(tmp_path, Words.name, Words.dimension), encoder)
    first, second = (answering.search(Query(text)) for text in ("w1 w2", " W1  w2 "))
    assert (ids(first), len(encoder.calls)) == (ids(second), 1)


def test_searches_at_once_share_the_reading_of_an_exact_index_and_answer_as_each_alone(similar: Similar) -> None:
    queries = [Query(f"w{number % 50} w{number % 7}", k=1 + number % 30) for number in range(200)]
    alone = [similar.search(query) for query in queries]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(similar.search, queries))
    assert [[match.film.id for match in found.matches] for found in together] == [ids(found) for found in alone]
    assert [match.score for found in together for match in found.matches] == pytest.approx(
        [match.score for found in alone for match in found.matches], abs=1e-6
    )


class Meeting(Words):
    """An encoder two calls of which wait for each other."""

    def __init__(self) -> None:
        super().__init__()
        self.met = threading.Barrier(2)

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.met.wait(30)
        return super().encode(texts)


def test_texts_are_encoded_in_as_many_batches_at_once_as_the_encoder_takes(tmp_path: Path) -> None:
    build(tmp_path, FilmSource(films(9), ""), Words())
    answering = Similar(ReloadingIndex(tmp_path, Words.name, Words.dimension), Meeting(), passes=2)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(answering.search, [Query("w1 w2"), Query("w3")]))
    assert all(one.matches for one in found)


def test_an_answer_is_remembered_as_long_as_its_version_is_in_force(tmp_path: Path) -> None:
    answering = served(tmp_path, films(9))
    first = answering.search(Query("w1 w2"))
    assert answering.search(Query("w1 w2")) is first
    assert answering.search(Query("w1 w2", k=3)) is not first
    newer = [Film("new", "New", 2001, ("Drama",), "w1 w2 w1")]
    build(tmp_path, FilmSource(newer, "newer"), Words(), append=True)
    assert eventually(lambda: "new" in ids(answering.search(Query("w1 w2"))))


# --- a newer index ---


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return met


def test_a_newer_version_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    similar = served(tmp_path, films(20))
    assert similar.search(Query("w1")).version.name == "000001"
    build(tmp_path, FilmSource([film(77, text="w1 w1 fresh")], "more"), Words(), append=True)
    assert eventually(lambda: similar.search(Query("w1")).version.name == "000002")
    assert "f77" in ids(similar.search(Query("w1", k=100)))


def test_a_damaged_newer_version_is_left_alone_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    similar = served(tmp_path, films(20))
    similar.search(Query("w1"))
    (tmp_path / "current").write_text("000009 0000\n")
    assert eventually(lambda: bool(similar.search(Query("w1")).matches) and "cannot be used" in caplog.text)
    assert similar.search(Query("w1")).version.name == "000001"
    (tmp_path / "current").unlink()
    build(tmp_path, FilmSource(films(21), "mended"), Words())
    assert eventually(lambda: similar.search(Query("w1")).version.name == "000002")


def test_without_an_index_there_is_no_answer_until_there_is_one(tmp_path: Path) -> None:
    similar = Similar(ReloadingIndex(tmp_path, Words.name, Words.dimension), Words())
    with pytest.raises(InvalidIndex, match="has no index"):
        similar.search(Query("w1"))
    build(tmp_path, FilmSource(films(5), ""), Words())
    assert len(similar.search(Query("w1")).matches) == 5
