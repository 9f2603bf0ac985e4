"""Parts that all benchmarks share: input plots, clocks, the CPU path, and Markdown tables."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import click

from eval.datasets import Fields, load, sample
from llm.classifier import Usage
from prompts import registry
from prompts.errors import MarqueeError
from prompts.taxonomy import Taxonomy
from prompts.text import Text

SAMPLE = Path(__file__).parent.parent / "data" / "sample" / "films.jsonl"
COMMAND = {"help_option_names": ["-h", "--help"]}
DATA_OPTION = click.option(
    "--data", type=click.Path(path_type=Path), help="Plots: .jsonl, .jsonl.gz or a folder with tmdb_genres.jsonl.gz."
)

# --- input ---


@dataclass(frozen=True)
class Plots:
    """Plots of films, the true labels of each, and a description of their source."""

    texts: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    origin: str

    def marked(self, mark: str, count: int | None = None) -> list[Text]:
        """Return the plots, each with a unique prefix, so that no server has their tokens in its prefix cache."""
        return [Text(f"{mark}.{number} {plot}") for number, plot in enumerate(self.texts[:count])]

    def answers(self) -> list[str]:
        """Return the true answers in the format of ``json_list``, with at most ``max_labels`` labels each."""
        most = tmdb_genres().max_labels
        return [json.dumps(labels[:most], ensure_ascii=False, separators=(",", ":")) for labels in self.labels]


def tmdb_genres() -> Taxonomy:
    """Return TMDB's genres with all 20 labels open to prediction."""
    genres = registry.taxonomy("tmdb")
    return replace(genres, labels=tuple(replace(label, predict=True) for label in genres.labels))


def plots(data: Path | None, count: int) -> Plots:
    """Return a fixed selection of plots; a smaller file is repeated.

    The data are a file of examples, or a folder with ``tmdb_genres.jsonl.gz``; default: the folder in ``BENCH_DATA``,
    else the packaged sample.
    """
    path = _file(data)
    fields = Fields("plot", "tmdb_genres") if path.resolve() == SAMPLE.resolve() else Fields()
    try:
        examples = sample(load(path, tmdb_genres(), fields).examples, count)
    except MarqueeError as error:
        raise click.ClickException(str(error)) from error
    rows = list(islice(cycle(examples), count))
    repeats = f"{len(examples)} plots, repeated to {count}" if len(examples) < count else f"{count} plots"
    return Plots(tuple(row.text.body for row in rows), tuple(row.labels for row in rows), f"{repeats} of {path.name}")


def stock_encoder() -> Any:
    """Return sentence-transformers' MiniLM, as it is by default."""
    from sentence_transformers import SentenceTransformer

    from similarity.encoders.tokens import weights_folder

    return SentenceTransformer(weights_folder(), local_files_only=True)


def _file(data: Path | None) -> Path:
    path = data or (Path(os.environ["BENCH_DATA"]) if os.environ.get("BENCH_DATA") else SAMPLE)
    return path / "tmdb_genres.jsonl.gz" if path.is_dir() else path


# --- clocks ---


@dataclass
class Clock:
    """Wall-clock seconds, and CPU seconds of all threads of this process."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def clock() -> Iterator[Clock]:
    """Measure a block; server processes are not counted."""
    result, wall, cpu = Clock(), time.perf_counter(), time.process_time()
    yield result
    result.wall, result.cpu = time.perf_counter() - wall, time.process_time() - cpu


def seconds(function: Callable[[], object]) -> float:
    """Return the seconds of a call."""
    with clock() as result:
        function()
    return result.wall


@dataclass
class Rounds:
    """Measurements by name, one value per round."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def ratios(self, name: str, other: str) -> list[float]:
        """Return the ratio of two measurements, by round."""
        return ratios(self.values[name], self.values[other])

    def ratio(self, name: str, other: str) -> float:
        """Return the median ratio of two measurements."""
        return median(self.ratios(name, other))


@dataclass(frozen=True)
class LabellingRun:
    """One pass of one contender over its texts.

    Attributes:
        cpu: CPU seconds of the client process.
        usages: tokens per text, in the order of the texts.
        hits: cached prompt tokens by the server's own count, where its replies do not report them.
    """

    texts: int
    wall: float
    cpu: float
    usages: tuple[Usage, ...]
    hits: int | None = None

    @property
    def rate(self) -> float:
        """Texts per second."""
        return self.texts / self.wall

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per text."""
        return 1_000 * self.cpu / self.texts

    @property
    def prompt(self) -> float:
        """Prompt tokens per text."""
        return sum(usage.prompt_tokens for usage in self.usages) / self.texts

    @property
    def cached(self) -> float:
        """Prompt tokens per text that the server's prefix cache supplied."""
        total = sum(usage.cached_tokens for usage in self.usages) if self.hits is None else self.hits
        return total / self.texts

    @property
    def cached_after_first(self) -> float:
        """``cached`` without the first text, which may find the cache empty."""
        rest = self.usages[1:]
        return sum(usage.cached_tokens for usage in rest) / max(1, len(rest))

    @property
    def completion(self) -> float:
        """Generated tokens per text."""
        return sum(usage.completion_tokens for usage in self.usages) / self.texts


# --- reports ---


def cpu_path() -> str:
    """Return the number format, the instruction sets and the core count that the measurements ran on."""
    from similarity.encoders.precision import described, gains_from_eight_bits

    eight_bits = ", embedded classifier in eight bits" if gains_from_eight_bits() else ""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"CPU path: {described()}{eight_bits}; {machine}."


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Return the median of the rounds, with minimum and maximum in brackets."""
    low, high = min(values), max(values)
    return f"{median(values):,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return the ratio of two contenders per round; both ran under the same load then."""
    return [value / other for value, other in zip(values, others, strict=True)]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are aligned right."""
    ruler = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, ruler, *rows))


def target_table(rows: Sequence[Sequence[str]]) -> str:
    """Return the table of targets, of rows that ``target`` made."""
    return table(("what", "measured", "target", "reached"), rows)


def target(
    what: str, value: float, bound: float | None, unit: str = "", *, most: bool = False, shown: str = ""
) -> list[str]:
    """Return a row: quantity, measured value, target, and whether the target is reached.

    Args:
        what: the quantity.
        value: the measured value.
        bound: the target; None for a value without a target.
        unit: of both.
        most: whether the target is an upper bound.
        shown: the measured value as text; by default, two decimals and the unit.
    """
    measured = shown or f"{value:,.2f} {unit}".strip()
    if bound is None:
        return [what, measured, "", ""]
    reached = value <= bound if most else value >= bound
    limit = f"{'≤' if most else '≥'} {bound:g} {unit}".strip()
    return [what, measured, limit, "yes" if reached else "**no**"]
