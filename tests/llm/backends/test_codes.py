"""Codes as next tokens: every way in which tokenizers write them, and when they say too little."""

import math

import pytest

from llm.backends.backend import TokenLogprobs
from llm.backends.codes import code_of, from_top_tokens, probability_mass, unreadable

BEFORE = ("", " ", "\n", "\u2581", "\u0120", "\u010a", "\u010a ", '"', "**", "(")
UPPER, BOTH, ANSWERS = "ABCI0", "ABab0", ("Yes", "No")


@pytest.mark.parametrize(
    ("token", "codes", "code"),
    [
        *((f"{before}A{after}", UPPER, "A") for before in BEFORE for after in ("", ".", ")", ":", '"')),
        ("a", UPPER, "A"), ("\u0120b", UPPER, "B"), ("\uff21", UPPER, "A"), (" 0", UPPER, "0"), ("\uff10", UPPER, "0"),
        ("a", BOTH, "a"), (" B", BOTH, "B"),
        *((f"{before}{word}", ANSWERS, "Yes") for before in BEFORE for word in ("Yes", "yes", "YES", "Yes,")),
        ("\u2581NO", ANSWERS, "No"), ("no.", ANSWERS, "No"),
    ],
)  # fmt: skip
def test_the_same_code_in_many_tokens(token: str, codes: str | tuple[str, ...], code: str) -> None:
    assert code_of(token, list(codes)) == code


@pytest.mark.parametrize(
    "token", ["Okay", "The", "AB", "Action", "<think>", "", " ", "\n", "1", "Not", "Yesterday", "Y"]
)
def test_other_tokens_are_no_codes(token: str) -> None:
    assert code_of(token, list(UPPER)) is None
    assert code_of(token, ANSWERS) is None


def test_the_tokens_of_one_code_are_added_up() -> None:
    top_tokens = [("A", 0.3), (" A", 0.2), ("\u2581A", 0.1), ("B", 0.25), ("b", 0.05)]
    found = from_top_tokens([(token, math.log(share)) for token, share in top_tokens], "ABC")
    assert {code: math.exp(logprob) for code, logprob in found.logprobs.items()} == pytest.approx(
        {"A": 0.6, "B": 0.3, "C": 0.05}
    )
    assert found.bounds == {"C"}
    assert found.top_token == "A"
    assert probability_mass(found) == pytest.approx(0.9)


def test_a_missing_code_has_no_more_than_the_tokens_leave() -> None:
    found = from_top_tokens([("A", math.log(0.9)), ("B", math.log(0.09))], "ABC")
    assert math.exp(found.logprobs["C"]) == pytest.approx(0.01)
    certain = from_top_tokens([("A", 0.0)], "AB")
    assert certain.logprobs == {"A": 0.0, "B": -9999.0}


def test_a_token_given_twice_counts_once() -> None:
    assert math.exp(from_top_tokens([("A", math.log(0.4)), ("A", math.log(0.4))], "AB").logprobs["A"]) == pytest.approx(
        0.4
    )


@pytest.mark.parametrize(
    ("top_tokens", "said"),
    [
        ([("Okay", 0.9), ("The", 0.05)], "'Okay'"),
        ([("<think>", 0.999)], "'<think>'"),
        ([("Okay", 0.5), ("Let", 0.3), ("A", 0.02)], "'Okay'"),
        ([("\n\n", 0.8), ("A", 0.05), (" B", 0.04)], "'\\n\\n'"),
    ],
)
def test_codes_without_probability_are_unreadable_and_the_detail_tells_what_the_model_says_instead(
    top_tokens: list[tuple[str, float]], said: str
) -> None:
    problem = unreadable(from_top_tokens([(token, math.log(share)) for token, share in top_tokens], UPPER))
    assert problem is not None
    assert problem.kind == "unreadable"
    assert said in problem.detail


def test_bounds_are_no_probability() -> None:
    assert unreadable(TokenLogprobs(dict.fromkeys("ABCDEFGHIJ", math.log(0.1)), bounds=frozenset("ABCDEFGHIJ")))
    assert unreadable(TokenLogprobs({"A": math.log(0.05), "B": math.log(0.4)}, bounds=frozenset("B")))
    assert not unreadable(TokenLogprobs({"A": math.log(0.4), "B": math.log(0.4)}, bounds=frozenset("B")))


@pytest.mark.parametrize(
    ("top_tokens", "readable"),
    [
        ([("A", 0.7), ("B", 0.2)], True),
        ([("The", 0.5), ("A", 0.2), ("B", 0.15)], True),
        ([("Label", 0.3), ("Based", 0.28), ("The", 0.15), ("A", 0.12), ("I", 0.05)], False),
        ([("Let", 0.6), ("A", 0.25)], False),
        ([("I", 0.11), ("will", 0.8)], False),
    ],
)
def test_codes_with_a_small_part_of_the_probability_are_no_answer(
    top_tokens: list[tuple[str, float]], readable: bool
) -> None:
    weighing = from_top_tokens([(token, math.log(share)) for token, share in top_tokens], UPPER)
    assert (unreadable(weighing) is None) == readable
