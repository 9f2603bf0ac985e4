"""Metrics of label sets: against cases worked by hand, against scikit-learn, and as laws over all inputs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from eval.metrics import METRICS, Labels, indicator, single
from prompts.taxonomy import Label, Taxonomy

FEW = settings(deadline=None, max_examples=30)
FEWER = settings(deadline=None, max_examples=10)  # scikit-learn is asked twenty times each
LABEL_TOKENS = Taxonomy("abc", (Label("a"), Label("b"), Label("c")))
TRUE = indicator([["a", "b"], ["b"], ["c"], ["a", "c"]], LABEL_TOKENS)
FOUND = indicator([["a"], ["b"], [], ["a", "b", "c"]], LABEL_TOKENS)
AVERAGES = ("micro", "macro", "weighted", "samples")
RATIOS: dict[str, Callable[..., Any]] = {
    "F1": sklearn.f1_score,
    "precision": sklearn.precision_score,
    "recall": sklearn.recall_score,
}
THEIRS: dict[str, Callable[..., Any]] = {
    **{
        f"{average}-{name}": partial(theirs, average=average, zero_division=0)
        for name, theirs in RATIOS.items()
        for average in AVERAGES
    },
    "Jaccard": partial(sklearn.jaccard_score, average="samples", zero_division=0),
    "macro-Jaccard": partial(sklearn.jaccard_score, average="macro", zero_division=0),
    "weighted-Jaccard": partial(sklearn.jaccard_score, average="weighted", zero_division=0),
    "subset accuracy": sklearn.accuracy_score,
    "Hamming": sklearn.hamming_loss,
}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Labels, Labels]:
    """True and predicted labels of up to eight texts over two to five labels; empty sets and unseen labels included."""
    texts, labels = draw(st.integers(1, 8)), draw(st.integers(2, 5))
    cells = st.lists(st.booleans(), min_size=texts * labels, max_size=texts * labels)
    true, predicted = (np.array(draw(cells), dtype=bool).reshape(texts, labels) for _ in range(2))
    return true, predicted


def test_an_indicator_has_a_column_per_label_in_taxonomy_order() -> None:
    assert TRUE.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("micro-F1", 2 * 4 / (6 + 5)),  # a: 2 of 2 found; b: 1 of 2 and one false; c: 1 of 2
        ("macro-F1", (1 + 1 / 2 + 2 / 3) / 3),
        ("samples-F1", (2 / 3 + 1 + 0 + 4 / 5) / 4),
        ("Jaccard", (1 / 2 + 1 + 0 + 2 / 3) / 4),
        ("weighted-Jaccard", (2 * 1 + 2 * 1 / 3 + 2 * 1 / 2) / 6),
        ("Hamming", 3 / 12),
        ("subset accuracy", 1 / 4),
        ("AL-1", 3 / 4),
        ("AL-2", 1 / 4),
        ("AL-3", 0),
        ("AL-1 of 1+", 3 / 4),
        ("AL-2 of 2+", 1 / 2),
        ("AL-3 of 3+", 0),  # no text has three
    ],
)
def test_each_metric_is_what_the_hand_gets(name: str, value: float) -> None:
    assert METRICS[name](TRUE, FOUND) == pytest.approx(value)


@FEWER
@given(pairs())
def test_each_metric_is_scikit_learns_where_that_has_it(pair: tuple[Labels, Labels]) -> None:
    for name, theirs in THEIRS.items():
        assert METRICS[name](*pair) == pytest.approx(theirs(*pair)), name


def test_only_at_least_k_is_without_a_counterpart_in_scikit_learn() -> None:
    assert {name for name in METRICS if not name.startswith("AL-")} == THEIRS.keys()


@FEW
@given(pairs())
def test_figures_lie_between_0_and_1(pair: tuple[Labels, Labels]) -> None:
    for name, metric in METRICS.items():
        assert 0 <= metric(*pair) <= 1, name


@FEW
@given(pairs(), st.randoms(use_true_random=False))
def test_neither_the_order_of_texts_nor_that_of_labels_matters(pair: tuple[Labels, Labels], random: Any) -> None:
    texts, labels = (random.sample(range(size), size) for size in pair[0].shape)
    shuffled = [matrix[texts][:, labels] for matrix in pair]
    for name, metric in METRICS.items():
        assert metric(*shuffled) == pytest.approx(metric(*pair)), name


@FEW
@given(pairs())
def test_texts_that_stand_twice_change_nothing(pair: tuple[Labels, Labels]) -> None:
    for name, metric in METRICS.items():
        assert metric(*(np.vstack([matrix, matrix]) for matrix in pair)) == pytest.approx(metric(*pair)), name


def test_a_perfect_answer_is_perfect_and_none_at_all_is_nothing() -> None:
    everything = np.array([[True, True, True], [True, True, True]])
    for name, metric in METRICS.items():
        best = float(name != "Hamming")  # a distance: lower is better
        assert metric(everything, everything) == best, name
        assert metric(everything, ~everything) == 1 - best, name


def test_one_label_alone_is_counted_by_its_bearers_and_not_as_two_classes() -> None:
    true, found = np.array([[True], [False], [True]]), np.array([[True], [False], [False]])
    assert METRICS["micro-F1"](true, found) == METRICS["macro-F1"](true, found) == pytest.approx(2 / 3)


def test_work_is_single_label_when_every_text_has_one_and_none_got_two() -> None:
    one, two = np.eye(3, dtype=bool), np.ones((3, 3), dtype=bool)
    assert single(one, one)
    assert single(one, np.zeros_like(one))
    assert not single(two, one)
    assert not single(one, two)
