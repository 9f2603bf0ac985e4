"""Tells people how far a run is: rate, time left, cost so far."""

from __future__ import annotations

import time
from collections.abc import Callable

from bulk.run import Stage, Summary
from llm.costs import cost

_EVERY = 10.0  # seconds


class Progress:
    """Tells a stage in one line, at most every so often.

    Args:
        tell: is given the line.
        model: whose tokens cost something.
        every: seconds between two lines.
        now: the clock, in seconds.
    """

    def __init__(
        self,
        tell: Callable[[str], object],
        model: str,
        every: float = _EVERY,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell, self._model, self._every, self._now = tell, model, every, now
        self._told_at = now()
        self._first: tuple[float, Stage] | None = None
        self._writing = False

    def __call__(self, stage: Stage) -> None:
        """Take note of a stage."""
        now = self._now()
        if stage.writing:
            if not self._writing:
                self._tell("all texts are answered; writing the rows")
            self._writing, stage_due = True, False
        else:
            stage_due = stage.asked > 0 and now - self._told_at >= self._every
        if self._first is None and stage.asked:
            self._first = (now, stage)  # from here on: rows answered before cost only their reading
        if stage_due:
            self._told_at = now
            self._tell(self.line(stage, now))

    def line(self, stage: Stage, now: float) -> str:
        """A stage in words."""
        words = f"{stage.share:.1%}: {stage.asked:,} texts asked about"
        if self._first is not None and now > self._first[0]:
            since, first = self._first
            rate = (stage.asked - first.asked) / (now - since)
            left = (1 - stage.share) * (now - since) / max(1e-9, stage.share - first.share)
            words += f", {rate:,.1f} a second, {duration(left)} left"
        spent = cost(self._model, stage.usage)
        return (
            words
            + (f", {stage.failed:,} failed" if stage.failed else "")
            + (f", {spent:,.2f} USD so far" if spent else "")
        )


def duration(seconds: float) -> str:
    """Seconds in words: ``2 h 05 min``, ``3 min``, ``12 s``."""
    if seconds >= 3_600:
        return f"{int(seconds // 3_600):,} h {int(seconds % 3_600 // 60):02} min"
    return f"{round(seconds / 60)} min" if seconds >= 90 else f"{round(seconds)} s"


def summary_lines(summary: Summary, model: str) -> list[str]:
    """What a run came to, a line each."""
    failed = sum(summary.problems.values())
    lines = [f"{summary.rows:,} rows, {summary.texts:,} different texts, {failed:,} rows with a problem"]
    for kind, count in summary.problems.most_common():
        named = ", ".join(summary.examples[kind])
        more = ", …" if count > len(summary.examples[kind]) else ""
        lines.append(f"  {count:,} {kind}: {named}{more}")
    if summary.usage.prompt_tokens:
        spent = cost(model, summary.usage)
        price = f", {spent:,.4f} USD" if spent is not None else ""
        cached = f" ({summary.usage.cached_tokens:,} cached)" if summary.usage.cached_tokens else ""
        lines.append(
            f"{summary.usage.prompt_tokens:,} prompt tokens{cached}, {summary.usage.completion_tokens:,} written{price}"
        )
    return lines
