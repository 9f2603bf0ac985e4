"""The logistic fit: slopes and intercept of known curves, soft targets, and few or equal texts."""

import numpy as np
import pytest
from scipy.special import expit, logit

from eval.calibration import fit_logistic, log_odds, platt_targets

ODDS = np.linspace(-4, 4, 400)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, -1.0), (2.5, 0.7), (-1.5, 0.2)])
def test_the_curve_that_made_the_targets_is_found(slope: float, intercept: float) -> None:
    slopes, found = fit_logistic(ODDS[:, None], expit(slope * ODDS + intercept))
    assert [slopes[0], found] == pytest.approx([slope, intercept], abs=1e-2)


@pytest.mark.parametrize("c", [1e-2, 1.0, 1e3])
def test_targets_of_0_and_1_give_the_fit_of_true_and_false(c: float) -> None:
    features = np.stack([ODDS, np.sin(ODDS)], axis=1)
    truth = np.random.default_rng(1).random(len(ODDS)) < expit(ODDS)
    hard, soft = fit_logistic(features, truth, c), fit_logistic(features, truth.astype(float), c)
    assert soft[0] == pytest.approx(hard[0], abs=1e-5)
    assert soft[1] == pytest.approx(hard[1], abs=1e-5)


@pytest.mark.parametrize("truth", [[True] * 5, [False] * 5, [True, True, True, False, False]])
def test_few_texts_give_no_certainty(truth: list[bool]) -> None:
    targets = platt_targets(np.array(truth))
    assert targets.min() > 0.1
    assert targets.max() < 0.9
    slopes, intercept = fit_logistic(np.array([[3.0], [2.0], [1.0], [-1.0], [-2.0]]), targets)
    assert np.isfinite([*slopes, intercept]).all()


def test_log_odds_are_those_of_scipy_and_finite_at_the_ends() -> None:
    assert log_odds(np.array([0.1, 0.5, 0.9])) == pytest.approx(logit([0.1, 0.5, 0.9]))
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()
