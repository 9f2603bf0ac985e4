"""What a cell means: a text, labels, a flag."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest

from tabular.cells import NotText, flag_in, labels_in, split_labels, text_in, word_in


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (" A sword.\n", "A sword."),
        (b"A sword.", "A sword."),
        ("caf\xe9".encode(), "caf\xe9"),
        (1917, "1917"),
        (8.5, "8.5"),
        (Decimal("1.10"), "1.10"),
        ("None of them knew.", "None of them knew."),
        ("nullity", "nullity"),
        ("0", "0"),
    ],
)
def test_a_text_is_a_string_bytes_of_utf8_or_a_number(cell: Any, text: str) -> None:
    assert text_in(cell) == text


@pytest.mark.parametrize(
    "cell",
    [
        None, float("nan"), "", "  \n", "NaN", "nan", "None", "NULL", "null", "\\N", "#N/A", "N/A", "n/a", "NA", "<NA>",
        "NaT", " NULL ", b"None", b"", "\u200b", "\ufeff", "(null)",
    ],
)  # fmt: skip
def test_words_for_a_missing_value_are_no_text(cell: Any) -> None:
    assert text_in(cell) == ""


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (["a", "b"], "a list"),
        ((), "a list"),
        ({"a": 1}, "an object"),
        (True, "true or false"),
        (False, "true or false"),
        (datetime.date(2020, 1, 1), "type date"),
        (b"\xff", "bytes that are not UTF-8"),
    ],
)
def test_what_is_no_text_is_said(cell: Any, said: str) -> None:
    with pytest.raises(NotText, match=said):
        text_in(cell)


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("['Animation' 'Comedy']", ("Animation", "Comedy")),
        ("['Animation' 'Comedy'\n 'Drama']", ("Animation", "Comedy", "Drama")),
        ("['Animation']", ("Animation",)),
        ("[\"Children's\" 'Comedy']", ("Children's", "Comedy")),
        ("['Sci-Fi, new' 'Comedy']", ("Sci-Fi, new", "Comedy")),
        ("array(['Animation', 'Comedy'], dtype=object)", ("Animation", "Comedy")),
        ("np.array(['Animation' 'Comedy'])", ("Animation", "Comedy")),
        ("[0 1]", ("0", "1")),
        ("[]", ()),
        ("('Animation', 'Comedy')", ("Animation", "Comedy")),
        ("{'Comedy', 'Animation'}", ("Comedy", "Animation")),
        ('["War", "Drama"]', ("War", "Drama")),
        ("['War', 'Drama']", ("War", "Drama")),
        ("[{'id': 18, 'name': 'Drama'}]", ("Drama",)),
        ([b"War", "Drama"], ("War", "Drama")),
        ([0, 1], ("0", "1")),
        (1, ("1",)),
        (1.0, ("1",)),
        (b"War", "War"),
        ("(no genres listed)", "(no genres listed)"),
        ("War|Drama", "War|Drama"),
        (None, ()),
        (float("nan"), ()),
    ],
)
def test_lists_of_labels_are_read_however_they_are_written(cell: Any, labels: Any) -> None:
    assert labels_in(cell) == labels


@pytest.mark.parametrize(
    "cell",
    ["['a' 'b', 'c']", "['a' 'b' ... 'z']", "[War", "[Animation, Comedy]", "['a', None]", {"a": 1}, [["a"]], True],
)
def test_half_a_list_of_labels_is_an_error(cell: Any) -> None:
    with pytest.raises(ValueError, match="not a l"):
        labels_in(cell)


def test_a_taxonomy_is_asked_before_a_word_counts_as_missing_or_is_split() -> None:
    def known(name: str) -> str | None:
        return name if name in ("None", "Bread, fresh") else None

    assert split_labels("None", known) == ("None",)
    assert split_labels("Bread, fresh", known) == ("Bread, fresh",)
    assert split_labels("NaN", known) == ()
    assert split_labels("War; Drama;", known) == ("War", "Drama")


def test_words_and_flags() -> None:
    assert [word_in(cell) for cell in (None, float("nan"), 7, " NA ", b"x")] == ["", "", "7", "NA", "x"]
    assert [flag_in(cell, True) for cell in (None, "", "no", "1.0", True)] == [True, True, False, True, True]
    with pytest.raises(ValueError, match="neither true nor false"):
        flag_in("perhaps", True)
