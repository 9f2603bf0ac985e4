"""Losses and oversampling against cases worked by hand."""

from math import log

import numpy as np
import pytest
import torch
from torch import Tensor

from eval.baselines.losses import (
    LOSSES,
    focal,
    length_weighted_cross_entropy,
    log_weights,
    oversampled,
    two_valued_weights,
    weighted_bce,
)


def odds(probability: float) -> float:
    return log(probability / (1 - probability))


LOGITS = torch.tensor([[odds(0.8), odds(0.3)]])
TRUTH = torch.tensor([[1.0, 0.0]])
ALL = torch.ones(1, 2)
COUNTS = torch.tensor([400.0, 350.0, 3.0])


def test_weights_fall_on_true_labels_alone() -> None:
    weighed = weighted_bce(LOGITS, TRUTH, ALL, torch.tensor([0.1, 0.1]))
    assert weighed.item() == pytest.approx((-0.1 * log(0.8) - log(0.7)) / 2)
    assert weighted_bce(LOGITS, TRUTH, ALL, None).item() == pytest.approx((-log(0.8) - log(0.7)) / 2)


def test_two_valued_weights_part_at_350() -> None:
    assert two_valued_weights(COUNTS).tolist() == pytest.approx([1.0, 0.1, 0.1])


def test_log_weights_have_mean_one() -> None:
    plain = [log(1000 / 401), log(1000 / 351), log(1000 / 4)]
    assert log_weights(COUNTS, 1000).tolist() == pytest.approx([one / (sum(plain) / 3) for one in plain], rel=1e-5)


def test_focal_loss_forgets_what_is_easy() -> None:
    true, false = -0.375 * 0.2**2 * log(0.8), -0.625 * 0.3**2 * log(0.7)
    assert focal(LOGITS, TRUTH, ALL).item() == pytest.approx((true + false) / 2, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_unknown_has_neither_loss_nor_gradient(name: str) -> None:
    loss = LOSSES[name](torch.tensor([400.0, 10.0]), 1000)
    logits = LOGITS.clone().requires_grad_()
    known = torch.tensor([[1.0, 0.0]])
    found = loss(logits, TRUTH, known)
    found.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    assert logits.grad[0, 0] < 0
    assert found.item() == pytest.approx(loss(LOGITS, torch.tensor([[1.0, 1.0]]), known).item())


def test_long_texts_count_more_and_the_batch_keeps_its_scale() -> None:
    logits, truth = torch.tensor([[odds(0.8), 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    lengths = torch.tensor([2000.0, 128.0])

    def weighed(weight: float) -> Tensor:
        return length_weighted_cross_entropy(logits, truth, lengths, weight)

    factors = 1 + 2 * 512 / 512, 1 + 2 * 128 / 512
    mean = sum(factors) / 2
    assert weighed(2.0).item() == pytest.approx((-log(0.8) * factors[0] + log(2) * factors[1]) / mean / 2, rel=1e-5)
    assert weighed(0.0).item() == pytest.approx((-log(0.8) + log(2)) / 2, rel=1e-5)


def test_rare_labels_are_cloned_until_they_are_rare_no_more() -> None:
    truth = np.zeros((100, 3), dtype=bool)
    truth[:90, 0], truth[85:95, 1], truth[95:, 2] = True, True, True  # 90, 10 and 5 texts; imbalance 1, 9, 18; mean 9.3
    rows = oversampled(truth, seed=1)
    clones = rows[100:]
    assert rows[:100].tolist() == list(range(100))
    assert set(clones) <= set(range(95, 100))
    assert len(clones) == 5  # 90 / 10 = 9 is the first imbalance below the mean
    assert rows.tolist() == oversampled(truth, seed=1).tolist()


def test_clones_have_a_limit() -> None:
    truth = np.zeros((100, 3), dtype=bool)
    truth[:90, 0], truth[85:95, 1], truth[95:, 2] = True, True, True
    assert len(oversampled(truth, seed=1, share=0.03)) == 103
