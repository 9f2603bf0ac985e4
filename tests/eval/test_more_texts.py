"""Other texts of the same films: whose labels they get, and which are better left alone."""

from typing import Any

from eval.datasets import Example, more_texts
from prompts.text import Text

TRAINING = Example("a", Text("a heist", "A"), ("Crime",), "g", film="heat (1995)", split="train", complete=False)
JUDGED = Example("b", Text("a war"), ("War",), film="ran (1985)", split="validation")


def other(body: str, film: str = "heat (1995)", **fields: Any) -> Example:
    return Example("x", Text(body), (), film=film, **fields)


def left_out(*others: Example, everything: tuple[Example, ...] = (TRAINING, JUDGED)) -> dict[str, int]:
    found, skipped = more_texts([TRAINING], everything, others)
    assert found == []
    return dict(skipped)


def test_a_text_of_the_same_film_is_learnt_with_the_labels_that_the_data_has() -> None:
    (found,), _ = more_texts([TRAINING], [TRAINING, JUDGED], [other("robbers meet", truncated=True)])
    assert (found.id, found.text, found.labels) == ("a+x", Text("robbers meet", "A"), ("Crime",))
    assert (found.group, found.complete, found.truncated) == ("g", False, True)


def test_other_films_are_passed_over() -> None:
    assert left_out(other("something", "alien (1979)"), other("something", ""), other("a battle", JUDGED.film)) == {}


def test_films_without_a_year_are_not_joined() -> None:
    bare = Example("a", Text("a heist"), ("Crime",), film="heat ()")
    assert more_texts([bare], [bare], [other("robbers meet", "heat ()")])[0] == []


def test_a_name_that_two_films_have_tells_neither_apart() -> None:
    why = "with a title and year of more than one film"
    assert left_out(other("robbers meet"), other("lovers meet")) == {why: 2}
    twin = Example("c", Text("another"), ("Drama",), film=TRAINING.film, split="test")
    assert left_out(other("robbers meet"), everything=(TRAINING, JUDGED, twin)) == {why: 1}


def test_a_text_that_any_side_has_is_not_learnt_again() -> None:
    why = "with a text of the data"
    assert left_out(other("A  HEIST!")) == {why: 1}
    assert left_out(other("A war.")) == {why: 1}


def test_a_film_that_stands_on_another_side_there_is_left_alone() -> None:
    assert left_out(other("robbers meet", split="test")) == {"of a film in another split of that table": 1}
    assert len(more_texts([TRAINING], [TRAINING], [other("robbers meet", split="train")])[0]) == 1
