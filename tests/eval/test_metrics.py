"""Metrics against cases worked by hand."""

import numpy as np
import pytest

from eval.metrics import METRICS, indicator
from prompts.taxonomy import Label, Taxonomy

ABC = Taxonomy("abc", (Label("a"), Label("b"), Label("c")))
TRUE = indicator([["a", "b"], ["b"], ["c"], ["a", "c"]], ABC)
FOUND = indicator([["a"], ["b"], [], ["a", "b", "c"]], ABC)


def test_an_indicator_has_a_column_per_label_in_vocabulary_order() -> None:
    assert TRUE.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("micro-F1", 2 * 4 / (6 + 5)),  # a: 2 of 2 found; b: 1 of 2 and one false; c: 1 of 2
        ("macro-F1", (1 + 1 / 2 + 2 / 3) / 3),
        ("samples-F1", (2 / 3 + 1 + 0 + 4 / 5) / 4),
        ("Jaccard", (1 / 2 + 1 + 0 + 2 / 3) / 4),
        ("Hamming", 3 / 12),
        ("subset accuracy", 1 / 4),
        ("AL-1", 3 / 4),
        ("AL-2", 1 / 4),
    ],
)
def test_each_metric_is_what_the_hand_gets(name: str, value: float) -> None:
    assert METRICS[name](TRUE, FOUND) == pytest.approx(value)


def test_a_perfect_answer_is_perfect_and_none_at_all_is_nothing() -> None:
    nothing = np.zeros_like(TRUE)
    for name, metric in METRICS.items():
        best = 0.0 if name == "Hamming" else 0.5 if name == "AL-2" else 1.0
        assert metric(TRUE, TRUE) == pytest.approx(best)
        if name != "Hamming":
            assert metric(TRUE, nothing) == 0
