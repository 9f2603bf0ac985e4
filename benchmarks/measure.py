"""What a run took: seconds, our processor time and tokens."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from llm.classifier import Usage


@dataclass
class Clock:
    """Seconds on the wall, and seconds of processor time of this process with all its threads."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def clock() -> Iterator[Clock]:
    """Measure a block; server processes are not counted."""
    taken, wall, cpu = Clock(), time.perf_counter(), _cpu()
    yield taken
    taken.wall, taken.cpu = time.perf_counter() - wall, _cpu() - cpu


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class LabellingRun:
    """One way of labelling, once over its texts.

    Attributes:
        texts: how many texts.
        wall: seconds.
        cpu: seconds of processor time of the asking process.
        usages: tokens of each text, in the order of the texts.
        hits: prompt tokens that the server counted as cached itself, where its replies do not tell them.
    """

    texts: int
    wall: float
    cpu: float
    usages: tuple[Usage, ...]
    hits: int | None = None

    @property
    def rate(self) -> float:
        """Texts a second."""
        return self.texts / self.wall

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of processor time a text."""
        return 1_000 * self.cpu / self.texts

    @property
    def prompt(self) -> float:
        """Prompt tokens a text."""
        return sum(usage.prompt_tokens for usage in self.usages) / self.texts

    @property
    def cached(self) -> float:
        """Prompt tokens a text that the server had in its prefix cache."""
        told = sum(usage.cached_tokens for usage in self.usages) if self.hits is None else self.hits
        return told / self.texts

    @property
    def cached_after_first(self) -> float:
        """The same, without the first text, which may find the cache empty."""
        rest = self.usages[1:]
        return sum(usage.cached_tokens for usage in rest) / max(1, len(rest))

    @property
    def completion(self) -> float:
        """Written tokens a text."""
        return sum(usage.completion_tokens for usage in self.usages) / self.texts


def spread(figures: Sequence[float], digits: int = 1) -> str:
    """The median of some rounds, with the least and the most."""
    low, high = min(figures), max(figures)
    return f"{median(figures):,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; figures stand right."""
    ruler = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, ruler, *rows))
