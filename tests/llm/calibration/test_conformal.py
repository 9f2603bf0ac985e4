"""The guarantee of conformal sets by simulation: coverage within sampling error, for badly calibrated scores."""

from collections.abc import Callable

import numpy as np
import pytest

from llm.calibration.conformal import AdaptiveScore, fit_penalty, needed_texts, quantile, rank_of
from llm.calibration.prediction_sets import fit_sets
from prompts.taxonomy import Taxonomy

NAMES = tuple("abcdef")
ONE = Taxonomy.of(NAMES)
SEVERAL = Taxonomy.of(NAMES, multi=True)
TRIALS, TESTED = 200, 40
Drawn = tuple[list[dict[str, float]], list[list[str]]]


def one_of(generator: np.random.Generator, count: int) -> Drawn:
    """Shares that are far too confident, and labels drawn from the true ones."""
    logits = generator.normal(0, 1.5, (count, len(NAMES)))
    true, shown = (np.exp(factor * logits) for factor in (1, 3))
    places = [generator.choice(len(NAMES), p=row / row.sum()) for row in true]
    rows = [dict(zip(NAMES, map(float, row / row.sum()), strict=True)) for row in shown]
    return rows, [[NAMES[place]] for place in places]


def several_of(generator: np.random.Generator, count: int) -> Drawn:
    logits = generator.normal(-0.5, 1.5, (count, len(NAMES)))
    right = generator.random(logits.shape) < 1 / (1 + np.exp(-logits))
    shown = 1 / (1 + np.exp(-(3 * logits + np.arange(len(NAMES)))))
    rows = [dict(zip(NAMES, map(float, row), strict=True)) for row in shown]
    return rows, [[name for name, one in zip(NAMES, row, strict=True) if one] for row in right]


def covered(
    draw: Callable[[np.random.Generator, int], Drawn], taxonomy: Taxonomy, count: int, coverage: float, label: str = ""
) -> tuple[float, float]:
    """Mean coverage over the trials and its standard error; of one label, where it is given."""
    generator, shares = np.random.default_rng(0), []
    for _ in range(TRIALS):
        rule = fit_sets(*draw(generator, count), taxonomy, coverage)
        rows, right = draw(generator, TESTED)
        hits = [
            name in rule.labels_of(row)
            for row, names in zip(rows, right, strict=True)
            for name in names
            if label in ("", name)
        ]
        shares += [np.mean(hits)] if hits else []
    return float(np.mean(shares)), float(np.std(shares) / np.sqrt(len(shares)))


@pytest.mark.parametrize(("coverage", "count"), [(0.8, 30), (0.9, 9), (0.9, 60), (0.95, 130)])
def test_the_right_label_is_in_the_set_with_the_coverage(coverage: float, count: int) -> None:
    """130 texts choose a penalty on a fifth of them first."""
    share, error = covered(one_of, ONE, count, coverage)
    assert share > coverage - 3 * error


@pytest.mark.parametrize("label", ["a", "f"])
def test_each_of_several_labels_is_covered_by_itself(label: str) -> None:
    share, error = covered(several_of, SEVERAL, 80, 0.9, label)
    assert 0.9 - 3 * error < share < 0.9 + 1 / 20 + 3 * error


def test_the_quantile_without_the_correction_for_few_texts_covers_too_little() -> None:
    """The correction is what the tests above show: with 10 texts, the plain quantile of .9 covers about .82."""
    generator, hits = np.random.default_rng(0), []
    for _ in range(TRIALS * 5):
        rows, right = one_of(generator, 11)
        scores = [AdaptiveScore().of_text(row, names) for row, names in zip(rows, right, strict=True)]
        hits.append(scores[-1] <= np.quantile(scores[:-1], 0.9, method="inverted_cdf"))
    assert np.mean(hits) < 0.9 - 3 * np.sqrt(0.9 * 0.1 / len(hits))


@pytest.mark.parametrize(("coverage", "texts"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99), (0.999, 999)])
def test_the_least_number_of_texts_has_a_finite_quantile(coverage: float, texts: int) -> None:
    assert needed_texts(coverage) == texts
    assert rank_of(texts, coverage) == texts
    assert quantile(range(texts), coverage) == texts - 1
    assert quantile(range(texts - 1), coverage) == np.inf


def test_an_adaptive_score_is_the_share_of_the_labels_above() -> None:
    scores = {"b": 0.3, "a": 0.6, "c": 0.1}
    assert AdaptiveScore().of_labels(scores) == pytest.approx({"a": 0.0, "b": 0.6, "c": 0.9})
    assert AdaptiveScore(0.5, 1).of_labels(scores) == pytest.approx({"a": 0.0, "b": 1.1, "c": 1.9})
    assert AdaptiveScore().of_text(scores, ["c"]) == pytest.approx(0.9)
    assert AdaptiveScore().of_text(scores, ["left out"]) == np.inf
    assert AdaptiveScore().of_labels({"a": 0.0, "b": 0.0}) == {"a": 0.0, "b": 0.0}


def test_the_texts_that_choose_a_penalty_give_no_quantile() -> None:
    rows, right = one_of(np.random.default_rng(0), 200)
    score, places = fit_penalty(rows, right, 0.9)
    assert len(places) == 160
    changed = [{**row, "a": 0.0} if at in places else row for at, row in enumerate(rows)]
    assert fit_penalty(changed, right, 0.9) == (score, places)
    few = fit_penalty(rows[:60], right[:60], 0.9)
    assert few == (AdaptiveScore(), list(range(60)))


def test_a_penalty_shrinks_the_sets_of_a_long_tail() -> None:
    """Fifty labels; the right one is the best or one of the next four, also where all shares are small."""
    generator, names = np.random.default_rng(0), [str(number) for number in range(50)]
    rows, right = [], []
    for _ in range(300):
        best = generator.choice([0.9, 0.2])
        shares = generator.random(50)
        shares *= (1 - best) / shares.sum()
        shares[generator.integers(50)] += best
        place = 0 if generator.random() < 0.8 else generator.integers(1, 5)
        rows.append(dict(zip(names, map(float, shares), strict=True)))
        right.append([names[np.argsort(-shares)[place]]])
    score, places = fit_penalty(rows, right, 0.9)

    def size(one: AdaptiveScore) -> float:
        limit = quantile([one.of_text(rows[place], right[place]) for place in places], 0.9)
        return float(np.mean([sum(value <= limit for value in one.of_labels(row).values()) for row in rows]))

    assert score.penalty > 0
    assert score.free == 4
    assert size(score) < 5 < 10 < size(AdaptiveScore())
