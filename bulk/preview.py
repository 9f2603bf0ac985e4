"""What a run would take, told before anything is written or paid for."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from bulk.answer_store import JobStore
from bulk.job import Job
from bulk.progress import duration
from bulk.reader import read
from llm.costs import Preview
from prompts.text import Text

_SAMPLE = 400  # texts from which tokens are estimated
_TIMED = 64  # texts whose answering is timed, where that costs nothing

Previewed = Callable[[Sequence[Text]], Preview]


@dataclass
class Forecast:
    """What there is to do.

    Attributes:
        rows: of the input.
        texts: different ones to ask about.
        problems: rows that will not be asked about, by the kind of their problem.
        preview: tokens and money of all texts, from a sample of them; None where asking costs nothing.
        seconds: that answering would take here; None where nobody was asked to find out.
    """

    rows: int = 0
    texts: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    preview: Preview | None = None
    seconds: float | None = None


def forecast(job: Job, previewed: Previewed | None, timed: bool) -> Forecast:
    """Read all rows and estimate; nothing is written.

    Args:
        job: what would be done.
        previewed: what asking about texts would cost, where asking costs.
        timed: whether some texts may be asked about, to see how long that takes.
    """
    found, sample = _counted(job)
    if previewed and sample:
        found.preview = _scaled(previewed(sample), found.texts / len(sample))
    if timed and sample:
        found.seconds = _seconds_of_one(job, sample[:_TIMED]) * found.texts
    return found


def _counted(job: Job) -> tuple[Forecast, list[Text]]:
    """Counts, and different texts drawn evenly from all of them, the same ones every time."""
    found, sample, dice = Forecast(), list[Text](), random.Random(0)
    store = JobStore("", job.taxonomy)
    for window in read(job):
        found.rows += len(window)
        said = [one.answer.problem or "" for one in window if one.answer]
        found.problems.update(words.partition(":")[0] for words in said)
        texts = {one.key: one.text for one in window if one.key is not None}
        fresh = store.plan(list(texts))
        for key, text in texts.items():
            if key in fresh:
                found.texts += 1
                _drawn(sample, text, found.texts, dice)
    store.close()
    return found, sample


def _drawn(sample: list[Text], text: Text, number: int, dice: random.Random) -> None:
    """Vitter's algorithm R: every text has the same chance, however many come."""
    if len(sample) < _SAMPLE:
        sample.append(text)
    elif (place := dice.randrange(number)) < _SAMPLE:
        sample[place] = text


def _scaled(one: Preview, times: float) -> Preview:
    return replace(
        one,
        requests=round(one.requests * times),
        prompt_tokens=round(one.prompt_tokens * times),
        shared_tokens=round(one.shared_tokens * times),
        written_tokens=round(one.written_tokens * times),
        usd=None if one.usd is None else one.usd * times,
        usd_cached=None if one.usd_cached is None else one.usd_cached * times,
    )


def _seconds_of_one(job: Job, texts: Sequence[Text]) -> float:
    classifier = job.asked.open()
    classifier.classify(texts[:8], job.taxonomy)  # loads what is loaded at first use
    start = time.perf_counter()
    classifier.classify(texts, job.taxonomy)
    return (time.perf_counter() - start) / len(texts)


def forecast_lines(found: Forecast) -> list[str]:
    """A forecast in words."""
    problems = ", ".join(f"{count:,} {kind}" for kind, count in found.problems.most_common())
    lines = [f"{found.rows:,} rows, {found.texts:,} different texts to ask about"]
    lines += [f"rows that will have a problem: {problems}"] if problems else []
    if one := found.preview:
        how = "counted by the endpoint for a sample" if one.counted else "estimated, a token in 4 characters"
        lines += [
            f"requests       {one.requests:16,}",
            f"prompt tokens  {one.prompt_tokens:16,}  {how}",
            f"  of them shared {one.shared_tokens:14,}  at the front of an earlier prompt too: cacheable",
            f"written tokens {one.written_tokens:16,}  at most, estimated",
            f"USD            {_price(one)}",
        ]
    if found.seconds is not None:
        lines.append(f"time           {duration(found.seconds):>16}  on this machine as it is now")
    else:
        lines.append("time           unknown: nobody was asked; a run tells it from its second batch on")
    return lines


def _price(one: Preview) -> str:
    if one.usd is None or one.usd_cached is None:
        return "unknown: the model has no price in llm/prices.yaml"
    return f"{one.usd:16,.4f}  ({one.usd_cached:,.4f} if all that is shared is found cached)"
