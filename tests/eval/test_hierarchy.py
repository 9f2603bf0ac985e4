"""Hierarchical metrics: worked examples."""

import pytest

from eval.hierarchy import hierarchical_metrics
from eval.metrics import indicator

LABELS = ("A > 1", "A > 2", "B > 1 > x", "B > 1 > y", "C")


@pytest.mark.parametrize(
    ("true", "predicted", "metrics"),
    [
        (["A > 1"], ["A > 1"], (1, 1, 1, 1, 1, 1)),
        (["A > 1"], ["A > 2"], (0.5, 0.5, 0.5, 1, 0, 0)),  # A is right, one of two on either side
        (["A > 1"], ["C"], (0, 0, 0, 0, 0, 0)),
        (["B > 1 > x"], ["B > 1 > y"], (2 / 3, 2 / 3, 2 / 3, 1, 1, 0)),
        (["B > 1 > x"], ["A > 1"], (0, 0, 0, 0, 0, 0)),
        (["A > 1", "C"], ["A > 1"], (1, 2 / 3, 0.8, 0, 0, 0)),
        (["C"], [], (0, 0, 0, 0, 0, 0)),
    ],
)
def test_worked_examples(true: list[str], predicted: list[str], metrics: tuple[float, ...]) -> None:
    matrices = indicator([true], LABELS), indicator([predicted], LABELS)
    found = {name: metric(*matrices) for name, metric in hierarchical_metrics(LABELS).items()}
    names = [f"hierarchical {name}" for name in ("precision", "recall", "F1")] + [
        f"level {n} accuracy" for n in (1, 2, 3)
    ]
    assert list(found) == names
    assert tuple(found.values()) == pytest.approx(metrics)


def test_flat_labels_have_none() -> None:
    assert hierarchical_metrics(("a", "b")) == {}
