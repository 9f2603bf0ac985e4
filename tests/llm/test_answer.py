"""The answer reader: every reply that models are known to give, and mangled ones."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm.answer import read_answer
from prompts import shelf
from prompts.taxonomy import Label, Taxonomy

TMDB = shelf.taxonomy("tmdb")
SENTIMENT = shelf.taxonomy("sentiment")
MAY_BE_NONE = TMDB.shaped(allow_none=True)
COMMAS = Taxonomy("own", (Label("Arts, Crafts and Hobbies"), Label("Food & Drink"), Label("Crafts"), Label("None")))


@pytest.mark.parametrize(
    "reply",
    [
        '{"labels": ["Comedy", "Drama"]}',
        '["Drama", "Comedy"]',
        '{"genres": ["comedy", "DRAMA"]}',
        '{"labels": ["Comedy", "Drama", "Comedy"]}',
        '{"labels": "Comedy, Drama"}',
        '{"result": {"labels": ["Comedy", "Drama"]}}',
        '{"film_genres": ["Comedy", "Drama"]}',
        '{"Comedy": true, "Drama": true, "Horror": false}',
        '{"Comedy": "true", "Drama": "Yes", "Horror": "false", "War": null}',
        '{"labels": {"Comedy": 1, "Drama": 1, "War": 0}}',
        '[{"label": "Comedy", "score": 0.9}, {"label": "Drama"}]',
        '{"labels": [{"name": "Comedy", "applies": true}, {"name": "Drama"}, {"name": "War", "applies": false}]}',
        '```json\n{"labels": ["Comedy", "Drama"]}\n```',
        '```\n["Comedy", "Drama"]```',
        'Sure! Here is the answer:\n{"labels": ["Comedy", "Drama"]}\nLet me know if [you] need more.',
        'The set {of braces} is odd. {"labels": ["Comedy", "Drama"]}',
        '<think>It could be ["Horror"].</think>{"labels": ["Comedy", "Drama"]}',
        "Comedy, Drama",
        "comedy; drama.",
        "Comedy and Drama",
        "Genres: Comedy, Drama",
        "**Comedy**, **Drama**",
        "- Comedy\n- Drama",
        "1. Comedy\n2. Drama\n",
        "[Comedy, Drama]",
        "Comedy: yes\nDrama: yes\nHorror: no",
        "Here are the labels:\nComedy\nDrama",
        '"Comedy, Drama"',
    ],
)
def test_the_same_answer_in_many_dresses(reply: str) -> None:
    answer = read_answer(reply, TMDB)
    assert (answer.labels, answer.dropped, answer.problem) == (("Comedy", "Drama"), (), None)


@pytest.mark.parametrize(
    ("reply", "labels"),
    [
        ('{"labels": ["Comedy", "Dra', ("Comedy",)),
        ('{"labels": ["Comedy", "Drama"', ("Comedy", "Drama")),
        ('["Comedy", "Drama", ', ("Comedy", "Drama")),
        ('{"Comedy": true, "Drama": true, "Horror": fa', ("Comedy", "Drama")),
        ('{"labels": ["Comedy", "quo\\"te", "Dra', ("Comedy",)),
        ('{"note": "a, b [c", "labels": ["War", "Com', ("War",)),
    ],
)
def test_a_reply_cut_off_keeps_its_whole_labels(reply: str, labels: tuple[str, ...]) -> None:
    answer = read_answer(reply, TMDB)
    assert (answer.labels, answer.problem) == (labels, None)


@pytest.mark.parametrize(
    "reply",
    [
        None,
        "",
        " \n\t",
        "null",
        "{}",
        '{"labels": null}',
        "I'm sorry, but I can't help with that request about Drama, Horror and Comedy.",
        "This film is not a Comedy.",
        "Not: Drama, Comedy",
        "not a comedy, drama",
        "As a language model I do not watch films; Drama",
        "<think>Drama, Comedy",
        '{"error": {"message": "overloaded", "code": 500}}',
        "<html><body>502 Bad Gateway</body></html>",
        '{"labels": [[["Drama"]]]}',
        '{"labels": [null, true]}',
        "[{}]",
        '[""]',
        '{"labels": " "}',
        "[" * 5_000,
        '{"a":' * 5_000,
        "9" * 5_000,
        '{"labels": ["Dra',
        '{"excluded": ["Drama"], "reason": "none"}',
    ],
)
def test_what_holds_no_labels_is_a_problem_and_never_a_guess(reply: str | None) -> None:
    for taxonomy in (TMDB, MAY_BE_NONE):
        answer = read_answer(reply, taxonomy)
        assert answer.labels == ()
        assert answer.problem is not None
        assert answer.problem.kind == "unreadable"


def test_words_outside_the_vocabulary_are_dropped_and_counted() -> None:
    answer = read_answer('{"labels": ["Cooking", "Drama", "Foreign", 7]}', TMDB)
    assert (answer.labels, answer.dropped, answer.problem) == (("Drama",), ("Cooking", "Foreign", "7"), None)


def test_an_answer_wholly_outside_the_vocabulary_is_a_problem_that_names_it() -> None:
    answer = read_answer('["Cooking"]', MAY_BE_NONE)
    assert answer.problem is not None
    assert "Cooking" in answer.problem.detail


@pytest.mark.parametrize("reply", ["[]", '{"labels": []}', '{"labels": ["none"]}', "None", "None of the above", "N/A"])
def test_none_applies_only_where_the_vocabulary_allows_it(reply: str) -> None:
    allowed, forbidden = read_answer(reply, MAY_BE_NONE), read_answer(reply, TMDB)
    assert (allowed.labels, allowed.problem) == ((), None)
    assert forbidden.problem is not None


def test_a_label_called_none_is_a_label() -> None:
    assert read_answer("None", COMMAS).labels == ("None",)


def test_a_label_with_commas_in_it_stays_whole() -> None:
    assert read_answer("Arts, Crafts and Hobbies, Food & Drink", COMMAS).labels == COMMAS.names[:2]
    assert read_answer('["Arts, Crafts and Hobbies"]', COMMAS).labels == COMMAS.names[:1]


def test_labels_beyond_the_limit_are_dropped_from_the_end_of_what_was_said() -> None:
    answer = read_answer('["War", "Drama", "Action"]', TMDB.shaped(max_labels=2))
    assert (answer.labels, answer.dropped) == (("Drama", "War"), ("Action",))


def test_two_labels_where_one_was_asked_for_are_a_problem() -> None:
    assert read_answer('["positive", "negative"]', SENTIMENT).problem is not None
    assert read_answer('["positive", "pos"]', SENTIMENT).labels == ("positive",)


# --- properties ---

WORDS = [
    *TMDB.names,
    "Cooking",
    "Sci-Fi",
    "none",
    "not",
    "labels",
    "true",
    "false",
    "null",
    "sorry",
    "\u2028",
    "é",
    "\x00",
]
keys = st.sampled_from(WORDS) | st.text(max_size=4)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(WORDS) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=20,
)


@st.composite
def mangled(draw: st.DrawFn) -> str:
    """A reply as it might have been, then cut, repeated, dressed and overwritten in places."""
    plain = draw(
        json_values.map(json.dumps)
        | st.lists(st.sampled_from(WORDS), max_size=8).map(", ".join)
        | st.text(alphabet=st.sampled_from('[]{}",:\\ \nDramatrue'), max_size=60)
    )
    start, end = draw(st.integers(0, 5)), draw(st.integers(0, 12))
    cut = plain[start : len(plain) - end]
    dress = draw(st.sampled_from(["{}", "```json\n{}\n```", "Sure: {}", "<think>{}", "{} {}", '"{}"', "[{}", "{}]"]))
    reply = dress.replace("{}", cut)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(reply)))
        reply = reply[:place] + draw(st.sampled_from(list('[]{}",:\\\n') + WORDS)) + reply[place + 1 :]
    return reply


@settings(max_examples=1_500, deadline=None, suppress_health_check=list(HealthCheck))
@given(mangled(), st.sampled_from([TMDB, MAY_BE_NONE, SENTIMENT, COMMAS, TMDB.shaped(max_labels=1)]))
def test_mangled_replies_give_nothing_outside_the_vocabulary(reply: str, taxonomy: Taxonomy) -> None:
    answer = read_answer(reply, taxonomy)
    assert set(answer.labels) <= set(taxonomy.names)
    assert len(set(answer.labels)) == len(answer.labels) <= taxonomy.max_labels
    assert answer.labels == taxonomy.in_order(answer.labels)
    assert (answer.problem is None) or not answer.labels
    assert answer.labels or answer.problem or taxonomy.allow_none


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(TMDB.names), min_size=1, max_size=5, unique=True), st.integers(0, 3))
def test_a_well_formed_answer_is_read_as_written(names: list[str], indent: int) -> None:
    written: Any = {"labels": names}
    answer = read_answer(json.dumps(written, indent=indent or None), TMDB)
    assert (answer.labels, answer.dropped, answer.problem) == (TMDB.in_order(names), (), None)
