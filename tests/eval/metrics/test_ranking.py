"""Metrics of scores as a ranking: against scikit-learn, ties and weights included."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from eval.metrics.classification import Labels, Numbers
from eval.metrics.ranking import RANKING, average_precision, weighted_macro_average_precision


def scored(seed: int, ties: bool) -> tuple[Labels, Numbers]:
    """Forty texts over five labels, each label true at least once."""
    random = np.random.default_rng(seed)
    true = random.random((40, 5)) < 0.3
    true[np.arange(5), np.arange(5)] = True
    scores = random.random((40, 5))
    return true, scores.round(1) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_scikit_learns(ties: bool) -> None:
    true, scores = scored(1, ties)
    assert RANKING["macro-AP"](true, scores) == pytest.approx(average_precision_score(true, scores, average="macro"))
    assert RANKING["micro-AP"](true, scores) == pytest.approx(average_precision_score(true, scores, average="micro"))


@pytest.mark.parametrize("ties", [False, True])
def test_a_weight_counts_a_text_as_often_as_it_says(ties: bool) -> None:
    true, scores = scored(2, ties)
    counts = np.random.default_rng(3).integers(0, 3, (2, 40))
    counts[:, :5] += 1
    found = weighted_macro_average_precision(true, scores, counts.astype(float))
    for one, repeats in zip(found, counts, strict=True):
        theirs = average_precision_score(true.repeat(repeats, axis=0), scores.repeat(repeats, axis=0), average="macro")
        assert one == pytest.approx(theirs)


def test_a_label_that_no_text_bears_has_an_average_precision_of_0() -> None:
    assert average_precision(np.zeros(3, dtype=bool), np.arange(3.0), np.ones((2, 3))).tolist() == [0, 0]


def test_each_is_what_the_hand_gets() -> None:
    true = np.array([[True, False, True], [False, True, False]])
    scores = np.array([[0.9, 0.5, 0.1], [0.2, 0.8, 0.3]])
    assert RANKING["LRAP"](true, scores) == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    assert RANKING["coverage error"](true, scores) == pytest.approx((3 + 1) / 2)
    assert RANKING["ranking loss"](true, scores) == pytest.approx((1 / 2 + 0) / 2)
    assert RANKING["macro-AP"](true, scores) == pytest.approx((1 + 1 + 1 / 2) / 3)


def test_a_perfect_ranking_is_perfect() -> None:
    true, _ = scored(4, ties=False)
    scores = true.astype(float)
    best = {"coverage error": true.sum(axis=1).mean(), "ranking loss": 0.0}
    for name, metric in RANKING.items():
        assert metric(true, scores) == pytest.approx(best.get(name, 1.0)), name


def test_the_scale_of_the_scores_does_not_matter() -> None:
    true, scores = scored(5, ties=True)
    for name, metric in RANKING.items():
        assert metric(true, 3 * scores - 7) == pytest.approx(metric(true, scores)), name
