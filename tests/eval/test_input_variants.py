"""Texts shown without their names, without their plots: what is left out is left out, and nothing else."""

import pytest

from eval.datasets import Example
from eval.input_variants import ProperNames, input_variant
from prompts.errors import InvalidDataset, UnknownName
from prompts.text import Text

OTHERS = "The hunter sleeps. We hope that the will to live is strong. A rose grows in spring."


def masked(body: str, title: str = "", others: str = OTHERS) -> str:
    return ProperNames.of([body, others]).masked(Text(body, title)).body


def test_names_are_masked_and_keep_their_numbers() -> None:
    told = masked("Ellen Ripley wakes. Later Ripley meets a robot called Bishop, and Ellen trusts Bishop.")
    assert told == "[name 1] wakes. Later [name 1] meets a robot called [name 2], and [name 1] trusts [name 2]."


def test_words_that_merely_begin_a_sentence_stay() -> None:
    told = masked(
        'Hunter and wolf meet. "The will of a king is law," they say. Sleeping helps.',
        others=f"{OTHERS} a hunter sleeping",
    )
    assert told == 'Hunter and wolf meet. "The will of a king is law," they say. Sleeping helps.'


def test_a_word_that_is_mostly_written_small_is_no_name() -> None:
    assert masked("She calls it Hope.", others="hope and hope and hope") == "She calls it Hope."
    assert masked("She calls it Hope.", others="nothing of the kind") == "She calls it [name 1]."


def test_possessives_and_initials_belong_to_their_names() -> None:
    assert masked("On the road to Ann's house she met J. R. Smith of Ohio.") == (
        "On the road to [name 1]'s house she met [name 2] of [name 3]."
    )


def test_acronyms_say_nothing_of_a_film_and_stay() -> None:
    assert masked("An agent of the FBI follows him.") == "An agent of the FBI follows him."


def test_the_title_is_masked_where_the_plot_says_it() -> None:
    assert masked("They board the last train home at noon.", "The Last Train Home") == (
        "They board the last train home at noon."
    )
    assert masked("He writes a book called Last Train.", "Last Train") == "He writes a book called [title]."


def test_every_way_shows_what_it_says() -> None:
    examples = [Example("1", Text("A robot called Bishop walks.", "Metal"), ("Drama",))]
    found = {way: input_variant(examples, way)[0].text for way in ("title+plot", "plot", "masked", "title")}
    assert found == {
        "title+plot": Text("A robot called Bishop walks.", "Metal"),
        "plot": Text("A robot called Bishop walks."),
        "masked": Text("A robot called [name 1] walks."),
        "title": Text("", "Metal"),
    }


def test_what_cannot_be_shown_is_refused() -> None:
    examples = [Example("7", Text("A plot."), ("Drama",))]
    with pytest.raises(InvalidDataset, match=r"'7' has no text as 'title'.*--title-field"):
        input_variant(examples, "title")
    with pytest.raises(UnknownName, match="did you mean 'masked'"):
        input_variant(examples, "maskd")
