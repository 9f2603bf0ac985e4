"""The answer parser: every reply that models are known to give, and ten thousand mangled ones."""

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm.strategies.json_list import read_answer
from prompts import registry
from prompts.taxonomy import Label, Taxonomy

TMDB = registry.taxonomy("tmdb")
SENTIMENT = registry.taxonomy("sentiment")
MAY_BE_NONE = TMDB.shaped(allow_none=True)
COMMAS = Taxonomy("own", (Label("Arts, Crafts and Hobbies"), Label("Food & Drink"), Label("Crafts"), Label("None")))


TAXONOMIES = [TMDB, MAY_BE_NONE, SENTIMENT, COMMAS, TMDB.shaped(max_labels=1)]


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


def test_words_outside_the_taxonomy_are_dropped_and_counted() -> None:
    answer = read_answer('{"labels": ["Cooking", "Drama", "Foreign", 7]}', TMDB)
    assert (answer.labels, answer.dropped, answer.problem) == (("Drama",), ("Cooking", "Foreign", "7"), None)


def test_an_answer_wholly_outside_the_taxonomy_is_a_problem_that_names_it() -> None:
    answer = read_answer('["Cooking"]', MAY_BE_NONE)
    assert answer.problem is not None
    assert "Cooking" in answer.problem.detail


@pytest.mark.parametrize("reply", ["[]", '{"labels": []}', '{"labels": ["none"]}', "None", "None of the above", "N/A"])
def test_none_applies_only_where_the_taxonomy_allows_it(reply: str) -> None:
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
DRESSES = [
    "{}",
    "```json\n{}\n```",
    "Sure: {}",
    "<think>{}",
    "{} {}",
    '"{}"',
    "[{}",
    "{}]",
    "{}</think>{}",
    "- {}\n- {}",
]
MARKS = list("[]{}\",:\\\n'#/`") + WORDS


def json_value(chance: random.Random, depth: int = 0) -> Any:
    """Any JSON value, with labels and words near them in it."""
    kind = chance.randrange(9 if depth < 3 else 6)
    if kind == 8:
        return {chance.choice(WORDS): json_value(chance, depth + 1) for _ in range(chance.randrange(5))}
    if kind >= 6:
        return [json_value(chance, depth + 1) for _ in range(chance.randrange(5))]
    return chance.choice([None, True, False, chance.random(), chance.randrange(9), *(WORDS[:18] if kind else WORDS)])


def mangled(chance: random.Random) -> str:
    """A reply as it might have been, then cut, repeated, dressed and overwritten in places."""
    plain = (
        json.dumps(json_value(chance)),
        repr(json_value(chance)),
        ", ".join(chance.choices(WORDS, k=chance.randrange(8))),
        "".join(chance.choices('[]{}",:\\ \nDramatrue', k=chance.randrange(60))),
    )[chance.randrange(4)]
    cut = plain[chance.randrange(6) : len(plain) - chance.randrange(13)]
    reply = chance.choice(DRESSES).replace("{}", cut)
    for _ in range(chance.randrange(4)):
        place = chance.randrange(len(reply) + 1)
        reply = reply[:place] + chance.choice(MARKS) + reply[place + 1 :]
    return reply


def assert_inside_the_taxonomy(reply: str, taxonomy: Taxonomy) -> None:
    answer = read_answer(reply, taxonomy)
    assert set(answer.labels) <= set(taxonomy.names), reply
    assert len(set(answer.labels)) == len(answer.labels) <= taxonomy.max_labels, reply
    assert answer.labels == taxonomy.in_order(answer.labels), reply
    assert (answer.problem is None) or not answer.labels, reply
    assert answer.labels or answer.problem or taxonomy.allow_none, reply


@pytest.mark.parametrize("seed", range(10))
def test_ten_thousand_mangled_replies_give_nothing_outside_the_taxonomy(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(1_000):
        assert_inside_the_taxonomy(mangled(chance), chance.choice(TAXONOMIES))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text() | st.text(alphabet="[]{}\"',:\\\n Dramtue<>/hink"), st.sampled_from(TAXONOMIES))
def test_any_text_gives_nothing_outside_the_taxonomy(reply: str, taxonomy: Taxonomy) -> None:
    assert_inside_the_taxonomy(reply, taxonomy)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(TMDB.names), min_size=1, max_size=5, unique=True), st.integers(0, 3))
def test_a_well_formed_answer_is_read_as_written(names: list[str], indent: int) -> None:
    written: Any = {"labels": names}
    answer = read_answer(json.dumps(written, indent=indent or None), TMDB)
    assert (answer.labels, answer.dropped, answer.problem) == (TMDB.in_order(names), (), None)


@pytest.mark.parametrize("number", ["\u0663", "9" * 5_000])
def test_a_number_that_python_cannot_read_is_a_word(number: str) -> None:
    assert read_answer(f"[{number}]", TMDB).problem is not None
    assert read_answer(f'[{number}, "Drama"]', TMDB).labels == ("Drama",)
