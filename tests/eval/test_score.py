"""What a run took: figures from rows, worked by hand."""

from typing import Any

import pytest

from eval.score import expense

MANIFEST = {"peak_mb": 12.5, "taxonomy": {"name": "ab", "labels": ["a", "b"]}}


def row(**differing: Any) -> dict[str, Any]:
    plain = {
        "labels": ["a"],
        "problem": None,
        "dropped": [],
        "cached": False,
        "source": {"model": "gpt-4o"},
        "tokens": [1000, 0, 10],
        "seconds": 0.1,
        "alone": False,
    }
    return plain | differing


def test_latency_is_of_texts_asked_alone_and_throughput_of_batches() -> None:
    alone = [row(alone=True, seconds=seconds) for seconds in (0.3, 0.1, 0.2)]
    figures = expense([*alone, row(seconds=0.05), row(seconds=0.15), row(seconds=9, cached=True)], MANIFEST)
    assert figures["p50 ms"] == pytest.approx(200)
    assert figures["p95 ms"] == pytest.approx(290)
    assert figures["texts/s"] == pytest.approx(10)
    assert (figures["peak MB"], figures["remembered"]) == (12.5, 1)
    assert expense([row(alone=True)], MANIFEST)["texts/s"] is None


def test_tokens_and_money_are_per_thousand_texts_asked() -> None:
    figures = expense([row(), row(tokens=[3000, 2000, 30]), row(cached=True, tokens=[0, 0, 0])], MANIFEST)
    assert figures["prompt tokens per 1,000"] == pytest.approx(2_000_000)
    assert figures["cached tokens per 1,000"] == pytest.approx(1_000_000)
    assert figures["written tokens per 1,000"] == pytest.approx(20_000)
    # gpt-4o: 2.50 fresh, 1.25 cached, 10.00 written, per million
    assert figures["USD per 1,000"] == pytest.approx((2000 * 2.5 + 2000 * 1.25 + 40 * 10) / 1e6 / 2 * 1000)
    assert expense([row(source={"model": "own"})], MANIFEST)["USD per 1,000"] is None
    assert "USD per 1,000" not in expense([row(tokens=[0, 0, 0])], MANIFEST)


def test_problems_abstentions_and_dropped_words_are_told_apart() -> None:
    failed = row(labels=[], problem={"kind": "busy", "detail": ""})
    figures = expense([row(dropped=["x", "y"]), failed, row(labels=[]), row(labels=[])], MANIFEST)
    assert (figures["invalid"], figures["abstentions"], figures["dropped"]) == (0.25, 0.5, 2)


def test_several_answerers_are_counted() -> None:
    figures = expense([row(), row(source={"model": "small"}), row()], MANIFEST)
    assert (figures["by gpt-4o"], figures["by small"]) == (2, 1)
