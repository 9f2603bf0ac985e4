"""What a run took: figures from rows, worked by hand."""

from dataclasses import replace
from typing import Any

import pytest

from eval.rows import RunRow
from eval.score import expense
from llm.classifier import AnswerSource, Problem, Usage

MANIFEST = {"peak_mb": 12.5, "taxonomy": {"name": "ab", "labels": ["a", "b"]}}


def row(**differing: Any) -> RunRow:
    plain = RunRow("1", "1", (), ("a",), source=AnswerSource("gpt-4o", "t@1"), usage=Usage(1000, 0, 10), seconds=0.1)
    return replace(plain, **differing)


def test_latency_is_of_texts_asked_alone_and_throughput_of_batches() -> None:
    alone = [row(alone=True, seconds=seconds) for seconds in (0.3, 0.1, 0.2)]
    figures = expense([*alone, row(seconds=0.05), row(seconds=0.15), row(seconds=9, cached=True)], MANIFEST)
    assert figures["p50 ms"] == pytest.approx(200)
    assert figures["p95 ms"] == pytest.approx(290)
    assert figures["texts/s"] == pytest.approx(10)
    assert (figures["peak MB"], figures["remembered"]) == (12.5, 1)
    assert expense([row(alone=True)], MANIFEST)["texts/s"] is None


def test_tokens_and_money_are_per_thousand_texts_asked() -> None:
    figures = expense([row(), row(usage=Usage(3000, 2000, 30)), row(cached=True, usage=Usage())], MANIFEST)
    assert figures["prompt tokens per 1,000"] == pytest.approx(2_000_000)
    assert figures["cached tokens per 1,000"] == pytest.approx(1_000_000)
    assert figures["written tokens per 1,000"] == pytest.approx(20_000)
    # gpt-4o: 2.50 fresh, 1.25 cached, 10.00 written, per million
    assert figures["USD per 1,000"] == pytest.approx((2000 * 2.5 + 2000 * 1.25 + 40 * 10) / 1e6 / 2 * 1000)
    assert expense([row(source=AnswerSource("own", "t@1"))], MANIFEST)["USD per 1,000"] is None
    assert "USD per 1,000" not in expense([row(usage=Usage())], MANIFEST)


def test_problems_abstentions_and_dropped_words_are_told_apart() -> None:
    failed = row(labels=(), problem=Problem("busy", ""))
    figures = expense([row(dropped=("x", "y")), failed, row(labels=()), row(labels=())], MANIFEST)
    assert (figures["invalid"], figures["abstentions"], figures["dropped"]) == (0.25, 0.5, 2)


def test_several_answerers_are_counted() -> None:
    figures = expense([row(), row(source=AnswerSource("small", "t@1")), row()], MANIFEST)
    assert (figures["by gpt-4o"], figures["by small"]) == (2, 1)
