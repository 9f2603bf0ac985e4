"""A long run tells rate, time left, failures and cost; a forecast tells them beforehand."""

from __future__ import annotations

from pathlib import Path

from bulk.progress import Progress, ProgressLog, Summary, duration, forecast, forecast_lines, summary_lines
from llm.classifier import Usage
from llm.spending.costs import Preview
from tests.bulk.words import ByWords, job_of, label, rows, write_lines


class Clock:
    """Seconds that pass when they are told to."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_rate_and_time_left_are_those_since_the_first_batch_of_this_process() -> None:
    told: list[str] = []
    clock = Clock()
    progress = ProgressLog(told.append, "gpt-4o-mini", seconds=10, now=clock)
    clock.seconds = 100  # half of the rows were answered before; going over them took its time
    progress(Progress(rows=5_000, texts=100, share=0.5))
    clock.seconds = 200
    progress(Progress(rows=6_000, texts=1_100, failed=3, share=0.6, usage=Usage(10_000_000, 0, 100_000)))
    assert told[-1] == "60.0%: 1,100 texts classified, 10.0 texts/s, 7 min left, 3 failed, 1.56 USD so far"


def test_it_is_told_now_and_then_and_not_at_every_batch() -> None:
    told: list[str] = []
    clock = Clock()
    progress = ProgressLog(told.append, "", seconds=10, now=clock)
    for second in range(100):
        clock.seconds = second
        progress(Progress(rows=second, texts=second, share=second / 100))
    assert 9 <= len(told) <= 10
    progress(Progress(writing=True))
    progress(Progress(writing=True))
    assert told[-1].startswith("all texts are answered")
    assert len(told) <= 11


def test_durations_read_well() -> None:
    assert [duration(seconds) for seconds in (0, 89, 91, 3_599, 7_500)] == [
        "0 s",
        "89 s",
        "2 min",
        "60 min",
        "2 h 05 min",
    ]


def test_the_summary_counts_problems_by_kind_and_names_some_rows() -> None:
    summary = Summary(1_000, 900, usage=Usage(2_000_000, 0, 0))
    summary.problems.update({"unreadable": 7, "empty": 1})
    summary.warnings.update({"text appears to be Korean": 3})
    summary.examples.update({"unreadable": ["a", "b", "c", "d", "e"], "empty": ["x"]})
    assert summary_lines(summary, "gpt-4o-mini") == [
        "1,000 rows, 900 different texts, 8 rows with a problem",
        "  7 unreadable: a, b, c, d, e, …",
        "  1 empty: x",
        "3 rows with a warning",
        "  3 text appears to be Korean",
        "2,000,000 prompt tokens, 0 completion tokens, 0.3000 USD",
    ]


def test_the_summary_tells_cached_tokens_where_replies_told_them() -> None:
    told = summary_lines(Summary(1, 1, usage=Usage(1_500, 1_000, 9)), "a-model")
    assert told[-1] == "1,500 prompt tokens (1,000 cached), 9 completion tokens"


def test_a_forecast_counts_all_and_scales_what_a_sample_takes(tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", [*rows(3_000, different=1_000), {"id": "none"}])
    sampled: list[int] = []

    def previewed(texts):  # type: ignore[no-untyped-def]
        sampled.append(len(texts))
        return Preview(len(texts), 100 * len(texts), 80 * len(texts), 9 * len(texts), False, 0.01 * len(texts), 0.005)

    found = forecast(job_of(given, tmp_path / "o.jsonl"), previewed, timed=False)
    assert sampled == [400]
    assert (found.rows, found.texts, found.problems) == (3_001, 1_000, {"empty": 1})
    assert found.preview is not None
    assert (found.preview.requests, found.preview.prompt_tokens) == (1_000, 100_000)
    assert round(found.preview.usd or 0, 6) == 10
    words = "\n".join(forecast_lines(found))
    assert "3,001 rows, 1,000 different texts" in words
    assert "1 empty" in words
    assert "unknown: nothing was classified" in words
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i.jsonl"]


def test_a_forecast_times_what_costs_nothing(tmp_path: Path) -> None:
    found = forecast(job_of(write_lines(tmp_path / "i.jsonl", rows(30)), tmp_path / "o.jsonl"), None, timed=True)
    assert found.seconds is not None
    assert found.seconds > 0
    assert "on this machine as it is now" in forecast_lines(found)[-1]


def test_a_run_tells_how_much_of_the_input_it_has_read(tmp_path: Path) -> None:
    given, stages = write_lines(tmp_path / "i.jsonl", rows(4_000, different=3_000)), list[Progress]()
    label(given, tmp_path / "o.jsonl", ByWords(), stages.append, batch=500)
    shares = [stage.share for stage in stages if not stage.writing]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.7
    assert shares[-1] == 1
    assert max(stage.texts for stage in stages) == 3_000
