"""Which film is meant by a title: exactly that one, or none."""

import pytest

from lookup.film import Candidate, FilmQuery, LookupFailure, best_match, normalized_title
from prompts.text import placeholder, tells_nothing

OLD = Candidate("1", ("The Paper Lantern",), 1984, 900)
NEW = Candidate("2", ("The Paper Lantern", "Papierlaterne"), 2011, 40)
OTHER = Candidate("3", ("Paper Lanterns",), 2003, 5_000)


def picked(title: str, year: int | None = None, *films: Candidate) -> str | int:
    found = best_match(films or (OLD, NEW, OTHER), FilmQuery(title, year))
    return found.kind if isinstance(found, LookupFailure) else found[0].id + "/" + str(found[1])


@pytest.mark.parametrize(
    ("title", "year", "expected"),
    [
        ("the paper LANTERN", 1984, "1/1"),
        ("The Paper Lantern!", 2011, "2/1"),
        ("The Paper Lantern", None, "1/2"),
        ("The Paper Lantern", 1985, "1/1"),
        ("The Paper Lantern", 1990, "not_found"),
        ("Papierlaterne", None, "2/1"),
        ("Paper Lantern", None, "not_found"),
        ("The Paper Lanterns", 2003, "not_found"),
        ("Lantern", None, "not_found"),
    ],
)
def test_a_film_is_meant_by_its_exact_title_and_year(title: str, year: int | None, expected: str) -> None:
    assert picked(title, year) == expected


def test_a_year_off_by_one_counts_for_a_single_film_only() -> None:
    before, after = Candidate("1", ("A",), 1990, 1), Candidate("2", ("A",), 1992, 2)
    assert picked("A", 1991, before) == "1/1"
    assert picked("A", 1991, before, after) == "not_found"
    assert picked("A", 1991, Candidate("3", ("A",), None, 9)) == "not_found"


def test_the_same_film_twice_is_one_film() -> None:
    assert picked("The Paper Lantern", None, OLD, OLD) == "1/1"


def test_what_is_missing_is_told_with_the_years_that_there_are() -> None:
    found = best_match((OLD, NEW), FilmQuery("The Paper Lantern", 1990))
    assert isinstance(found, LookupFailure)
    assert "1984, 2011" in found.detail


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Amélie", "amelie", True),
        ("Salt & Mule", "Salt and Mule", True),
        ("Ocean's Eleven", "Oceans Eleven", True),
        ("WALL·E", "wall e", True),
        ("鬼", "魂", False),
        ("दिल", "दल", False),
        ("!!!", "???", False),
        ("Seven", "Se7en", False),
    ],
)
def test_spellings_differ_in_case_accents_and_punctuation_alone(one: str, other: str, same: bool) -> None:
    assert (normalized_title(one) == normalized_title(other)) is same


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Alien (1979)", FilmQuery("Alien", 1979)),
        (" Alien \n (1979) ", FilmQuery("Alien", 1979)),
        ("2012", FilmQuery("2012")),
        ("(1979)", FilmQuery("(1979)")),
        ("Alien (3)", FilmQuery("Alien (3)")),
        ("", FilmQuery("")),
    ],
)
def test_a_year_behind_a_title_is_its_year(title: str, expected: FilmQuery) -> None:
    assert FilmQuery.of(title) == expected
    assert FilmQuery.of("Alien (1979)", 2003) == FilmQuery("Alien (1979)", 2003)


@pytest.mark.parametrize(
    "text", ["Add a Plot", "add a plot »", "Plot kept under wraps.", "No overview found.", "N/A", " ", "...", "nan"]
)
def test_placeholders_tell_nothing(text: str) -> None:
    assert tells_nothing(text)


@pytest.mark.parametrize(
    "text", ["Add a plot to a garden and it grows.", "None shall pass a bridge.", "No plot is safe."]
)
def test_what_only_looks_like_a_placeholder_is_a_text(text: str) -> None:
    assert placeholder(text) is None
