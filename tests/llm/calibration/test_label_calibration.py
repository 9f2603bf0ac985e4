"""A line per label: what is learned from many and from few labelled texts, and how it is applied."""

from dataclasses import replace

import numpy as np
import pytest

from llm.calibration.label_calibration import fit_lines
from llm.calibration.thresholds import NONE, LabelThreshold
from prompts.taxonomy import Label, Taxonomy

SEVERAL = Taxonomy("abcd", tuple(map(Label, "abcd")), max_labels=4, allow_none=True)
ONE = replace(SEVERAL, multi=False, allow_none=False)
SLOPES, SHIFTS = np.array([0.5, 2.0, 1.0, 1.0]), np.array([2.0, -1.0, 0.0, -2.0])  # of the distortion
Rows = list[dict[str, float]]


def texts(taxonomy: Taxonomy, number: int, seed: int = 0) -> tuple[Rows, list[list[str]], np.ndarray]:
    """Distorted scores, the labels, and the probabilities that the labels were drawn with."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (number, 4))
    if taxonomy.multi:
        right = 1 / (1 + np.exp(-logits))
        true = generator.random(right.shape) < right
        shown = 1 / (1 + np.exp(-(logits - SHIFTS) / SLOPES))
    else:
        right = softmax(logits)
        true = np.eye(4, dtype=bool)[[generator.choice(4, p=row) for row in right]]
        shown = softmax((logits - SHIFTS) / SLOPES)
    rows = [dict(zip("abcd", map(float, row), strict=True)) for row in shown]
    return rows, [["abcd"[place] for place in np.flatnonzero(row)] for row in true], right


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def adjusted(line: LabelThreshold, rows: Rows, exclusive: bool) -> np.ndarray:
    return np.array([[found[name] for name in "abcd"] for found in (line.adjusted(row, exclusive) for row in rows)])


@pytest.mark.parametrize("taxonomy", [SEVERAL, ONE], ids=["several", "one"])
def test_the_probabilities_behind_distorted_scores_are_found(taxonomy: Taxonomy) -> None:
    rows, truth, right = texts(taxonomy, 400)
    line = fit_lines(rows, truth, taxonomy, mutually_exclusive=not taxonomy.multi)
    unseen, _, right = texts(taxonomy, 400, seed=1)
    before, after = (
        np.abs(adjusted(one, unseen, not taxonomy.multi) - right).mean() for one in (LabelThreshold(0.0), line)
    )
    assert after < (0.25 if taxonomy.multi else 0.45) * before, "the shares of a text depend on each other"
    if not taxonomy.multi:
        assert adjusted(line, unseen, exclusive=True).sum(axis=1) == pytest.approx(1)


def test_shares_of_several_labels_become_a_probability_each() -> None:
    rows, truth, _ = texts(ONE, 300)
    line = fit_lines(rows, truth, SEVERAL, mutually_exclusive=True)
    found = adjusted(line, rows, exclusive=True)
    assert line.separate
    assert found.mean(axis=0) == pytest.approx(
        [np.mean([name in names for names in truth]) for name in "abcd"], abs=0.02
    )
    assert "none where" not in line.rule(SEVERAL, mutually_exclusive=True)
    low = dict.fromkeys("abcd", line.threshold / 2)
    assert line.choose(low, SEVERAL, mutually_exclusive=True) == (), "the threshold alone decides"


def test_few_texts_leave_the_labels_on_a_common_line() -> None:
    rows, truth, _ = texts(SEVERAL, 6)
    line = fit_lines(rows, truth, SEVERAL)
    slopes, offsets = (np.array(list(one.values())) for one in (line.slopes, line.logit_offsets))
    assert np.ptp(slopes) < 0.2 * slopes.mean()
    assert np.ptp(offsets) < 1


@pytest.mark.parametrize("truth", [[[]] * 12, [["a"]] * 12, [["a", "b", "c", "d"]] * 12], ids=["no", "one", "all"])
def test_labels_that_are_always_or_never_true_leave_finite_numbers(truth: list[list[str]]) -> None:
    rows, _, _ = texts(SEVERAL, 12)
    line = fit_lines(rows, truth, SEVERAL)
    assert np.isfinite([*line.slopes.values(), *line.logit_offsets.values(), line.threshold]).all()
    assert min(line.slopes.values()) >= 0
    found = adjusted(line, [dict.fromkeys("abcd", 0.0), dict.fromkeys("abcd", 1.0)], exclusive=False)
    assert ((found >= 0) & (found <= 1)).all()


def test_no_score_counts_against_its_label() -> None:
    rows, truth, _ = texts(SEVERAL, 200)
    line = fit_lines(rows, [[name for name in "abcd" if name not in names] for names in truth], SEVERAL)
    assert max(line.slopes.values()) < 0.1
    assert min(line.slopes.values()) >= 0


def test_none_of_these_has_a_line_of_its_own() -> None:
    allowed = ONE.shaped(allow_none=True)
    rows = [{"a": 0.7, "b": 0.1, "c": 0.05, "d": 0.05}, {"a": 0.4, "b": 0.1, "c": 0.05, "d": 0.05}] * 30
    line = fit_lines(rows, [["a"], []] * 30, allowed, mutually_exclusive=True)
    chosen = [line.choose(line.adjusted(row, True), allowed, mutually_exclusive=True) for row in rows[:2]]
    assert (NONE in line.slopes, chosen) == (True, [("a",), ()])


def test_a_label_that_no_shortlist_offered_has_the_common_line() -> None:
    rows, truth, _ = texts(ONE, 200)
    offered = [{name: row[name] / (1 - row["d"]) for name in "abc"} for row in rows]
    line = fit_lines(offered, truth, ONE, mutually_exclusive=True)
    assert min(line.slopes[name] for name in "abc") < line.slopes["d"] < max(line.slopes[name] for name in "abc")
    assert line.adjusted({"a": 0.2, "d": 0.8}, mutually_exclusive=True).keys() == {"a", "d"}


def test_known_offsets_are_where_the_fit_starts() -> None:
    rows, truth, _ = texts(ONE, 8)
    first = fit_lines(rows, truth, ONE, mutually_exclusive=True, offsets={"a": 4.0})
    without = fit_lines(rows, truth, ONE, mutually_exclusive=True)
    assert first.logit_offsets["a"] - without.logit_offsets["a"] > 2
