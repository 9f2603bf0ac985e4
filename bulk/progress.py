"""Progress, summary and forecast of a run, and the lines that report them."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bulk.answer_store import JobStore, RowAnswer, model_of
from bulk.job import InputRow, Job
from bulk.sources import warnings_in
from llm.classifier import Usage
from llm.spending.costs import Preview, cost
from prompts.text import Text

_EXAMPLES = 5
_SAMPLE = 400  # texts from which tokens are estimated
_TIMED = 64  # texts whose classification is timed, where it costs nothing


@dataclass(frozen=True)
class Progress:
    """How far a run is: what this process read, answered and used.

    ``failed`` texts have a problem, ``share`` is that of the input, from 0 to 1, and ``writing`` begins when all texts
    are answered.
    """

    rows: int = 0
    texts: int = 0
    failed: int = 0
    share: float = 0.0
    usage: Usage = Usage()
    writing: bool = False


@dataclass
class Summary:
    """The result of a run, with earlier processes: ``texts`` are the different ones.

    ``answered`` counts rows by the model that answered, ``problems`` by the kind of their problem, and ``warnings`` by
    their warning; ``examples`` has the ids of the first rows of each kind of problem. ``sets`` are the rows with a
    prediction set; on ``abstained`` of them the classifier abstains.
    """

    rows: int = 0
    texts: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    usage: Usage = Usage()
    models: Sequence[str] = ()
    warnings: Counter[str] = field(default_factory=Counter)
    sets: int = 0
    abstained: int = 0
    answered: Counter[str] = field(default_factory=Counter)

    def count(self, job: Job, row: InputRow, answer: RowAnswer, abstains: bool | None = None) -> None:
        """Add a row; ``abstains`` is None without a prediction set."""
        self.rows += 1
        if warning := warnings_in(answer.source or ""):
            self.warnings[warning] += 1
        if abstains is not None:
            self.sets += 1
            self.abstained += abstains
        if model := model_of(answer, job.taxonomy):
            self.answered[model] += 1
        if answer.problem:
            kind = answer.problem.partition(":")[0]
            self.problems[kind] += 1
            if len(examples := self.examples.setdefault(kind, [])) < _EXAMPLES:
                examples.append(job.columns.id_of(row.row))


class ProgressLog:
    """Passes a line to ``write``, at most every ``seconds`` of the clock ``now``; ``model`` gives the cost."""

    def __init__(
        self, write: Callable[[str], object], model: str, seconds: float = 10.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._write, self._model, self._seconds, self._now = write, model, seconds, now
        self._logged_at = now()
        self._first: tuple[float, Progress] | None = None
        self._writing = False

    def __call__(self, progress: Progress) -> None:
        """Report progress where a line is due."""
        now = self._now()
        if progress.writing:
            if not self._writing:
                self._write("all texts are answered; writing the rows")
            self._writing = True
        elif progress.texts:
            # Rates count from the first answer: rows answered before cost only their reading.
            self._first = self._first or (now, progress)
            if now - self._logged_at >= self._seconds:
                self._logged_at = now
                self._write(self._line(progress, now, *self._first))

    def _line(self, progress: Progress, now: float, since: float, first: Progress) -> str:
        parts = [f"{progress.share:.1%}: {progress.texts:,} texts classified"]
        if now > since:
            rate = (progress.texts - first.texts) / (now - since)
            left = (1 - progress.share) * (now - since) / max(1e-9, progress.share - first.share)
            parts.append(f"{rate:,.1f} texts/s, {duration(left)} left")
        if progress.failed:
            parts.append(f"{progress.failed:,} failed")
        if spent := cost(self._model, progress.usage):
            parts.append(f"{spent:,.2f} USD so far")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as ``2 h 05 min``, ``3 min`` or ``12 s``."""
    if seconds >= 3_600:
        return f"{int(seconds // 3_600):,} h {int(seconds % 3_600 // 60):02} min"
    return f"{round(seconds / 60)} min" if seconds >= 90 else f"{round(seconds)} s"


def summary_lines(summary: Summary, model: str) -> list[str]:
    """The lines of a summary."""
    failed = sum(summary.problems.values())
    lines = [f"{summary.rows:,} rows, {summary.texts:,} different texts, {failed:,} rows with a problem"]
    for kind, count in summary.problems.most_common():
        more = ", …" if count > len(summary.examples[kind]) else ""
        lines.append(f"  {count:,} {kind}: {', '.join(summary.examples[kind])}{more}")
    if summary.sets:
        share = summary.abstained / summary.sets
        lines.append(f"{summary.abstained:,} of {summary.sets:,} rows with a prediction set abstain ({share:.1%})")
    if summary.warnings:
        lines.append(f"{summary.warnings.total():,} rows with a warning")
        lines += [f"  {count:,} {warning}" for warning, count in summary.warnings.most_common()]
    if len(summary.answered) > 1:
        lines.append(", ".join(f"{count:,} rows by {name}" for name, count in summary.answered.most_common()))
    if (usage := summary.usage).prompt_tokens:
        spent = cost(model, usage)
        price = f", {spent:,.4f} USD" if spent is not None else ""
        cached = f" ({usage.cached_tokens:,} cached)" if usage.cached_tokens else ""
        lines.append(
            f"{usage.prompt_tokens:,} prompt tokens{cached}, {usage.completion_tokens:,} completion tokens{price}"
        )
    return lines


@dataclass
class Forecast:
    """What a run would take.

    Attributes:
        texts: different ones to classify.
        problems: rows without a text, by the kind of their problem.
        preview: of all texts, from a sample of them; None where classification is free.
        seconds: of the classification on this machine; None where it was not timed.
    """

    rows: int = 0
    texts: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    preview: Preview | None = None
    seconds: float | None = None


def forecast(job: Job, preview: Callable[[Sequence[Text]], Preview] | None, timed: bool) -> Forecast:
    """Read all rows and estimate; writes nothing. ``preview`` is None where classification is free."""
    result, sample = _counted(job)
    if preview and sample:
        result.preview = preview(sample).scaled(result.texts / len(sample))
    if timed and sample:
        result.seconds = _seconds_per_text(job, sample[:_TIMED]) * result.texts
    return result


def _counted(job: Job) -> tuple[Forecast, list[Text]]:
    """Counts, and a uniform sample of the different texts (Vitter's algorithm R), the same one every time."""
    result, sample, generator = Forecast(), list[Text](), random.Random(0)
    with JobStore("", job.taxonomy) as store:
        for window in job.rows():
            result.rows += len(window)
            result.problems.update(row.problem.partition(":")[0] for row in window if row.problem)
            texts = {row.key: row.text for row in window if row.key is not None}
            fresh = store.plan(list(texts))
            for text in [text for key, text in texts.items() if key in fresh]:
                result.texts += 1
                if len(sample) < _SAMPLE:
                    sample.append(text)
                elif (place := generator.randrange(result.texts)) < _SAMPLE:
                    sample[place] = text
    return result, sample


def _seconds_per_text(job: Job, texts: Sequence[Text]) -> float:
    classifier = job.classifier.open()
    classifier.classify(texts[:8], job.taxonomy)  # loads what is loaded at first use
    start = time.perf_counter()
    classifier.classify(texts, job.taxonomy)
    return (time.perf_counter() - start) / len(texts)


def forecast_lines(result: Forecast) -> list[str]:
    """The lines of a forecast."""
    problems = ", ".join(f"{count:,} {kind}" for kind, count in result.problems.most_common())
    lines = [f"{result.rows:,} rows, {result.texts:,} different texts to classify"]
    lines += [f"rows that will have a problem: {problems}"] if problems else []
    lines += preview_lines(result.preview) if result.preview else []
    measured = f"{duration(result.seconds or 0):>16}  on this machine as it is now"
    unknown = "unknown: nothing was classified; a run reports it from its second batch on"
    return [*lines, f"time              {unknown if result.seconds is None else measured}"]


def preview_lines(preview: Preview) -> list[str]:
    """The lines of a cost estimate."""
    price = "unknown: the model has no price in llm/spending/prices.yaml"
    if preview.usd is not None and preview.usd_cached is not None:
        price = f"{preview.usd:16,.4f}  ({preview.usd_cached:,.4f} if the shared prefix is cached)"
    how = "counted by the endpoint" if preview.counted else "estimated, 4 characters per token"
    return [
        f"requests          {preview.requests:16,}",
        f"prompt tokens     {preview.prompt_tokens:16,}  {how}",
        f"  shared prefix   {preview.shared_tokens:16,}  also at the start of an earlier prompt: cacheable",
        f"completion tokens {preview.written_tokens:16,}  at most, estimated",
        f"USD               {price}",
    ]
