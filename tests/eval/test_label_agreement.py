"""Two sources' labels of the same texts."""

import pytest

from eval.datasets import Example
from eval.report.data_card import agreement, agreement_section
from eval.report.page import cells
from prompts.errors import InvalidDataset
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text

VOCABULARY = Taxonomy("v", tuple(Label(name) for name in ("War", "Drama", "Western", "Short")))


def labelled(**labels: str) -> list[Example]:
    return [Example(id, Text(id), tuple(names.split())) for id, names in labels.items()]


FIRST = labelled(a="War Drama", b="War", c="Drama", x="Short")
SECOND = labelled(c="Drama", b="Drama", a="Drama War", y="Western")


def test_labels_are_counted_by_who_gives_them_over_the_texts_that_both_have() -> None:
    found = agreement(FIRST, SECOND, VOCABULARY)
    assert (found.labels, found.texts) == (("War", "Drama"), 3)
    assert (found.both.tolist(), found.first.tolist(), found.second.tolist()) == ([1, 2], [1, 0], [0, 1])
    assert found.f1 == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert found.same == pytest.approx(2 / 3)


def test_which_source_is_held_to_be_true_makes_no_difference() -> None:
    one, other = agreement(FIRST, SECOND, VOCABULARY), agreement(SECOND, FIRST, VOCABULARY)
    assert (one.f1, one.same) == (other.f1, other.same)
    assert one.first.tolist() == other.second.tolist()


def test_sources_without_a_common_text_are_refused() -> None:
    with pytest.raises(InvalidDataset, match="no text in common"):
        agreement(FIRST, labelled(z="War"), VOCABULARY)


def test_the_label_that_divides_most_comes_first() -> None:
    lead, table = cells(agreement_section(agreement(FIRST, SECOND, VOCABULARY), "Ours", "Theirs"))
    assert "Ours and Theirs give the same labels to 67% of 3 texts" in str(lead)
    rows = [line for line in str(table.markdown).splitlines() if line.startswith("| ")]  # type: ignore[union-attr]
    assert [row.split("|")[1].strip() for row in rows] == ["label", "---", "War", "Drama"]
    assert rows[2] == "| War | 1 | 1 | 0 | 0.667 |"
