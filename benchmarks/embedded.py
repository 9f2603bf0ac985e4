"""The embedded classifier against sentence-transformers' MiniLM: many texts, one text, the first answer."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from benchmarks.measure import (
    COMMAND,
    DATA_OPTION,
    cpu_path,
    plots,
    ratios,
    spread,
    table,
    target,
    target_table,
    tmdb_genres,
)
from prompts import registry

if TYPE_CHECKING:
    from llm.embedded.matcher import Matcher

_BATCH = 32
_SINGLES = 20  # texts per round that are classified one by one
_SQUARE = 2048  # width of the matrices that measure the machine's matmul rate
_OURS = {
    "encode": "our encode",
    "classify": "our classify, the 18 predictable labels of TMDB",
    "unseen": "our classify, 20 labels, two of them not in the training data: two encoders",
}
_FIRST_ANSWER = """
from llm.embedded.matcher import matcher
from prompts import registry
matcher().classify(["Cowboys hold up a train."], registry.taxonomy("tmdb"))
"""


@dataclass
class Rounds:
    """Seconds per contender and round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def time(self, name: str, job: Callable[[], object]) -> None:
        """Run a job and add its seconds."""
        start = time.perf_counter()
        job()
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)

    def speedups(self, name: str, other: str) -> list[float]:
        """Return the speed-up over another contender, by round."""
        return ratios(self.seconds[other], self.seconds[name])


@click.command(context_settings=COMMAND)
@DATA_OPTION
@click.option("--plots", "count", default=256, show_default=True, help="Plots per round.")
@click.option("--rounds", default=5, show_default=True, help="Rounds; each contender runs once per round.")
def main(data: Path | None, count: int, rounds: int) -> None:
    """Measure texts per second of the embedded classifier against sentence-transformers' default encode."""
    given = plots(data, count)
    embedded, stock = _contenders()
    click.echo(report(measure(embedded, stock, given.texts, rounds), embedded, given.texts, given.origin))


def _contenders() -> tuple[Matcher, Any]:
    from sentence_transformers import SentenceTransformer

    from llm.embedded.matcher import matcher
    from similarity.encoders.tokens import weights_folder

    return matcher(), SentenceTransformer(weights_folder(), local_files_only=True)


def measure(embedded: Matcher, stock: Any, texts: Sequence[str], rounds: int) -> Rounds:
    """Run all rounds; each contender runs once per round."""
    import torch

    from similarity.encoders.precision import torch_dtype

    result, taxonomy, batch = Rounds(), registry.taxonomy("tmdb"), list(texts)
    square = torch.ones(_SQUARE, _SQUARE, dtype=torch_dtype())
    jobs: dict[str, Callable[[], object]] = {
        "stock": lambda: stock.encode(batch, batch_size=_BATCH, show_progress_bar=False),
        "encode": lambda: embedded.tuned.encode(batch),
        "classify": lambda: embedded.classify(batch, taxonomy),
        "unseen": lambda: embedded.classify(batch, tmdb_genres()),
        "matmul": lambda: square @ square,
    }
    for job in jobs.values():
        job()  # the first call loads models and warms up threads
    for _ in range(rounds):
        for name, job in jobs.items():
            result.time(name, job)
        for text in batch[:_SINGLES]:
            result.time("one", lambda text=text: embedded.classify([text], taxonomy))  # type: ignore[misc]
        result.time("first", _first_answer)
    return result


def _first_answer() -> None:
    subprocess.run([sys.executable, "-c", _FIRST_ANSWER], check=True, capture_output=True)


def operations(embedded: Matcher, texts: Sequence[str]) -> float:
    """Return the operations of the layers' matrix products over all tokens, without those of attention."""
    from similarity.encoders.tokens import ENDS, cut

    tokens = sum(len(text.pieces) + len(ENDS) for text in cut(texts))
    width, inner, layers = 384, 1536, 6
    return 2.0 * tokens * layers * (4 * width * width + 2 * width * inner)


def report(rounds: Rounds, embedded: Matcher, texts: Sequence[str], origin: str) -> str:
    """Return the report as Markdown."""
    rate = {name: [len(texts) / seconds for seconds in rounds.seconds[name]] for name in ("stock", *_OURS)}
    rows = [
        ["sentence-transformers, by default (float32)", spread(rate["stock"]), "1"],
        *([title, spread(rate[name]), spread(rounds.speedups(name, "stock"), 2)] for name, title in _OURS.items()),
    ]
    name, share, ceiling = _ceiling(rounds, operations(embedded, texts))
    speedup = median(rounds.speedups("classify", "stock"))
    targets = [
        target("`classify` against sentence-transformers", speedup, 4, "times"),
        target("one text, p50", 1000 * median(rounds.seconds["one"]), 8, "ms", most=True),
        target("first answer of a fresh process", median(rounds.seconds["first"]), 5, "s", most=True),
        target(f"share of torch's {name} matmul{_beyond()}", share, None,
               shown=f"{share:.2f} of {ceiling / 1e9:,.1f} GFLOP/s"),
    ]  # fmt: skip
    summary = f"{origin}; {len(rounds.seconds['stock'])} rounds, medians, minimum–maximum in brackets; {embedded.name}."
    heads = ("contender", "texts/s", "times sentence-transformers")
    return "\n\n".join((f"{summary} {cpu_path()}", table(heads, rows), target_table(targets)))


def _ceiling(rounds: Rounds, operations: float) -> tuple[str, float, float]:
    """Return the number format of the square matrices, the share of their rate that ``encode`` reaches, and the rate.

    The rate is in operations per second.
    """
    from similarity.encoders.precision import number_format

    ceiling = 2.0 * _SQUARE**3 / min(rounds.seconds["matmul"])
    return number_format(), operations / min(rounds.seconds["encode"]) / ceiling, ceiling


def _beyond() -> str:
    """Return why the share can exceed 1."""
    from similarity.encoders.precision import gains_from_eight_bits

    return " (the encoder multiplies in eight bits)" if gains_from_eight_bits() else ""


if __name__ == "__main__":
    main()
