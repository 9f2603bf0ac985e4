"""The embedded classifier against MiniLM as sentence-transformers runs it: many texts, one text, the first answer."""

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

from benchmarks.measure import spread, table
from benchmarks.texts import plots, vocabulary
from prompts import registry

if TYPE_CHECKING:
    from llm.embedded.matcher import Matcher

_BATCH = 32
_SINGLES = 20  # texts of a round that are asked one by one
_SQUARE = 2048  # width of the matrices that show what the machine can multiply
_OURS = {
    "encode": "our encode",
    "classify": "our classify, the 18 labels of TMDB that are answered",
    "strange": "our classify, 20 labels, two of them strange to it: texts are read twice",
}
_FIRST_ANSWER = """
from llm.embedded.matcher import matcher
from prompts import registry
matcher().classify(["Cowboys hold up a train."], registry.taxonomy("tmdb"))
"""


@dataclass
class Rounds:
    """Seconds of every contender, by round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def time(self, name: str, job: Callable[[], object]) -> None:
        """Do a job and note how long it took."""
        start = time.perf_counter()
        job()
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)

    def times_as_fast(self, name: str, other: str) -> list[float]:
        """Ratio by round: both met the same weather there."""
        return [two / one for one, two in zip(self.seconds[name], self.seconds[other], strict=True)]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), help="Plots: .jsonl, .jsonl.gz or a folder with TMDB's.")
@click.option("--plots", "count", default=256, show_default=True, help="Plots of a round.")
@click.option("--rounds", default=5, show_default=True, help="Rounds; each contender has one turn in each.")
def main(data: Path | None, count: int, rounds: int) -> None:
    """Measure documents a second of the embedded classifier against sentence-transformers' default encode."""
    given = plots(data, count)
    embedded, stock = _contenders()
    found = measure(embedded, stock, given.texts, rounds)
    click.echo(report(found, embedded, given.texts, given.origin))


def _contenders() -> tuple[Matcher, Any]:
    from sentence_transformers import SentenceTransformer

    from llm.embedded.matcher import matcher
    from similarity.encoders.tokens import weights_folder

    return matcher(), SentenceTransformer(weights_folder(), local_files_only=True)


def measure(embedded: Matcher, stock: Any, texts: Sequence[str], rounds: int) -> Rounds:
    """All rounds: in each, every contender has one turn."""
    import torch

    from similarity.encoders.precision import torch_dtype

    found, taxonomy, strange, given = Rounds(), registry.taxonomy("tmdb"), vocabulary(), list(texts)
    square = torch.ones(_SQUARE, _SQUARE, dtype=torch_dtype())
    jobs: dict[str, Callable[[], object]] = {
        "stock": lambda: stock.encode(given, batch_size=_BATCH, show_progress_bar=False),
        "encode": lambda: embedded.tuned.encode(given),
        "classify": lambda: embedded.classify(given, taxonomy),
        "strange": lambda: embedded.classify(given, strange),
        "matmul": lambda: square @ square,
    }
    for job in jobs.values():
        job()  # the first time loads models and warms threads up
    for _ in range(rounds):
        for name, job in jobs.items():
            found.time(name, job)
        for text in given[:_SINGLES]:
            found.time("one", lambda text=text: embedded.classify([text], taxonomy))  # type: ignore[misc]
        found.time("first", _first_answer)
    return found


def _first_answer() -> None:
    subprocess.run([sys.executable, "-c", _FIRST_ANSWER], check=True, capture_output=True)


def operations(embedded: Matcher, texts: Sequence[str]) -> float:
    """Multiplications and additions of the layers' matrices over all tokens; attention's own are left out."""
    from similarity.encoders.tokens import ENDS, cut

    tokens = sum(len(text.pieces) + len(ENDS) for text in cut(texts))
    width, inner, layers = 384, 1536, 6
    return 2.0 * tokens * layers * (4 * width * width + 2 * width * inner)


def report(found: Rounds, embedded: Matcher, texts: Sequence[str], origin: str) -> str:
    """All that was found, as Markdown."""
    rate = {name: [len(texts) / taken for taken in found.seconds[name]] for name in ("stock", *_OURS)}
    rows = [
        ["sentence-transformers, as it comes (float32)", spread(rate["stock"]), "1"],
        *([title, spread(rate[name]), spread(found.times_as_fast(name, "stock"), 2)] for name, title in _OURS.items()),
    ]
    name, share, ceiling = _ceiling(found, operations(embedded, texts))
    targets = [
        ["`classify`, times sentence-transformers", "≥ 4", f"{median(found.times_as_fast('classify', 'stock')):.2f}"],
        ["one text, p50", "≤ 8 ms", f"{1000 * median(found.seconds['one']):.1f} ms"],
        ["first answer of a fresh process", "≤ 5 s", f"{median(found.seconds['first']):.1f} s"],
        [f"share of torch's {name} matmul{_beyond()}", "", f"{share:.2f} of {ceiling / 1e9:,.1f} GFLOP/s"],
    ]
    words = f"{origin}; {len(found.seconds['stock'])} rounds, medians, least–most in brackets; {embedded.name}."
    words += f" Computed in {machine()}."
    heads = ("who", "documents/s", "times sentence-transformers")
    return "\n\n".join((words, table(heads, rows), table(("target", "wanted", "found"), targets)))


def _ceiling(found: Rounds, operations: float) -> tuple[str, float, float]:
    """Number format of the square matrices, share of their rate that ``encode`` reached, operations/s."""
    from similarity.encoders.precision import number_format

    ceiling = 2.0 * _SQUARE**3 / min(found.seconds["matmul"])
    return number_format(), operations / min(found.seconds["encode"]) / ceiling, ceiling


def _beyond() -> str:
    """Why the share may be above 1."""
    from similarity.encoders.minilm import gains_from_eight_bits

    return " (the encoder multiplies in eight bits)" if gains_from_eight_bits() else ""


def machine() -> str:
    """Number formats and instruction sets that the measurements ran on."""
    from similarity.encoders.minilm import gains_from_eight_bits
    from similarity.encoders.precision import described

    return described() + (", tuned encoder in eight bits" if gains_from_eight_bits() else "")


if __name__ == "__main__":
    main()
