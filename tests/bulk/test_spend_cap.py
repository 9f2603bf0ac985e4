"""A spend cap stops a run before a batch that it does not pay for; the finished output is the same to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm.spending.costs import Preview
from llm.spending.spend_cap import SpendCap, SpendMeter
from prompts.errors import Interrupted, InvalidSetting
from tests.bulk.words import ByWords, label, rows, write_lines

ROWS = 40
BATCH = 8


def meter(usd: float | None = None, tokens: int | None = None, model: str = "gpt-4o", estimate: int = 25) -> SpendMeter:
    """A meter that expects so many tokens of a text before one is measured."""
    preview = Preview(1, estimate, 0, 0, False, None, None)
    return SpendCap(usd, tokens).meter("llm", model, lambda: (preview, 1))


def texts_of(classifier: ByWords) -> int:
    return sum(map(len, classifier.requests))


@pytest.mark.parametrize("cap", [{"tokens": 600}, {"usd": 0.001}])
def test_a_capped_run_stops_between_batches_and_its_continuation_writes_the_same_bytes(
    tmp_path: Path, cap: dict[str, Any]
) -> None:
    given = write_lines(tmp_path / "i.jsonl", rows(ROWS))
    label(given, tmp_path / "whole.jsonl", batch=BATCH)
    first, rest, limit = ByWords(), ByWords(), meter(**cap)
    with pytest.raises(Interrupted, match=r"stopped at --max-.* are spent, and the next 8 texts may take") as stop:
        label(given, tmp_path / "capped.jsonl", first, batch=BATCH, meter=limit)
    assert "resumes here" in str(stop.value)
    assert 0 < texts_of(first) < ROWS
    assert texts_of(first) % BATCH == 0
    assert limit.cap.spent_tokens <= cap.get("tokens", 1_000_000)
    assert limit.cap.spent_usd <= cap.get("usd", 1.0)
    assert not (tmp_path / "capped.jsonl").exists()
    label(given, tmp_path / "capped.jsonl", rest, batch=BATCH)
    assert texts_of(first) + texts_of(rest) == ROWS, "no text is classified twice"
    assert (tmp_path / "capped.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_what_earlier_processes_spent_counts(tmp_path: Path) -> None:
    given, out = write_lines(tmp_path / "i.jsonl", rows(ROWS)), tmp_path / "o.jsonl"
    processed = []
    for allowed in (600, 600, 900):
        classifier = ByWords()
        limit = meter(tokens=allowed)
        with pytest.raises(Interrupted):
            label(given, out, classifier, batch=BATCH, meter=limit)
        assert limit.cap.spent_tokens <= allowed
        processed.append(texts_of(classifier))
    assert processed[0] > 0
    assert processed[1] == 0, "the same cap pays for no further batch"
    assert processed[2] > 0
    summary = label(given, out, batch=BATCH, meter=meter(tokens=100_000))
    assert summary is not None
    assert summary.rows == ROWS


def test_a_cap_below_the_estimate_of_a_batch_sends_nothing(tmp_path: Path) -> None:
    given, classifier = write_lines(tmp_path / "i.jsonl", rows(ROWS)), ByWords()
    with pytest.raises(Interrupted, match="0 tokens are spent, and the next 8 texts may take 220 tokens"):
        label(given, tmp_path / "o.jsonl", classifier, batch=BATCH, meter=meter(tokens=219))
    assert classifier.requests == []


def test_a_run_that_the_cap_pays_for_is_not_stopped(tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", rows(ROWS))
    summary = label(given, tmp_path / "o.jsonl", batch=BATCH, meter=meter(usd=1.0, tokens=100_000))
    assert summary is not None
    assert summary.rows == ROWS


def test_a_cost_needs_a_price() -> None:
    with pytest.raises(InvalidSetting, match=r"--max-cost 1: llm has no price .*\(my-model\); give --max-tokens alone"):
        meter(usd=1.0, model="my-model")
    assert meter(tokens=1, model="my-model")
