"""The embedded classifier against sentence-transformers' MiniLM: many texts, one text, the first answer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from benchmarks import measure
from prompts import registry

if TYPE_CHECKING:
    from llm.embedded.matcher import Matcher

_BATCH = 32
_SINGLES = 20  # texts per round that are classified one by one
_SQUARE = 2048  # width of the matrices that measure the machine's matmul rate
_OURS = {
    "encode": "our encode",
    "classify": "our classify, the 18 predictable labels of TMDB",
    "distant": "our classify, labels of another field (intents): the general branch",
    "unseen": "our classify, 20 labels of films, two of them not in the training data: both branches",
}
_FIRST_ANSWER = """
from llm.embedded.matcher import matcher
from prompts import registry
matcher().classify(["Cowboys hold up a train."], registry.taxonomy("tmdb"))
"""


@click.command(context_settings=measure.COMMAND)
@measure.DATA_OPTION
@click.option("--plots", "count", default=256, show_default=True, help="Plots per round.")
@click.option("--rounds", default=5, show_default=True, help="Rounds; each contender runs once per round.")
def main(data: Path | None, count: int, rounds: int) -> None:
    """Measure texts per second of the embedded classifier against sentence-transformers' default encode."""
    from llm.embedded.matcher import matcher

    given = measure.plots(data, count)
    embedded = matcher()
    results = run_rounds(embedded, measure.stock_encoder(), given.texts, rounds)
    click.echo(report(results, embedded, given.texts, given.origin))


def run_rounds(embedded: Matcher, stock: Any, texts: Sequence[str], rounds: int) -> measure.Rounds:
    """Run all rounds; each contender runs once per round."""
    import torch

    from similarity.encoders.precision import torch_dtype

    result, taxonomy, batch = measure.Rounds(), registry.taxonomy("tmdb"), list(texts)
    square = torch.ones(_SQUARE, _SQUARE, dtype=torch_dtype())
    jobs: dict[str, Callable[[], object]] = {
        "stock": lambda: stock.encode(batch, batch_size=_BATCH, show_progress_bar=False),
        "encode": lambda: embedded.tuned.encode(batch),
        "classify": lambda: embedded.classify(batch, taxonomy),
        "distant": lambda: embedded.classify(batch, registry.taxonomy("intents")),
        "unseen": lambda: embedded.classify(batch, measure.tmdb_genres()),
        "matmul": lambda: square @ square,
    }
    for job in jobs.values():
        job()  # the first call loads models and warms up threads
    for _ in range(rounds):
        for name, job in jobs.items():
            result.add(name, measure.seconds(job))
        for text in batch[:_SINGLES]:
            result.add("one", measure.seconds(lambda text=text: embedded.classify([text], taxonomy)))  # type: ignore[misc]
        result.add("first", measure.seconds(_first_answer))
    return result


def _first_answer() -> None:
    subprocess.run([sys.executable, "-c", _FIRST_ANSWER], check=True, capture_output=True)


def operations(embedded: Matcher, texts: Sequence[str]) -> float:
    """Return the operations of the layers' matrix products over all tokens, without those of attention."""
    from similarity.encoders.tokens import ENDS, cut

    tokens = sum(len(text.pieces) + len(ENDS) for text in cut(texts))
    width, inner, layers = 384, 1536, 6
    return 2.0 * tokens * layers * (4 * width * width + 2 * width * inner)


def report(rounds: measure.Rounds, embedded: Matcher, texts: Sequence[str], origin: str) -> str:
    """Return the report as Markdown."""
    from similarity.encoders.precision import gains_from_eight_bits, number_format

    values = rounds.values
    rate = {name: [len(texts) / value for value in values[name]] for name in ("stock", *_OURS)}
    rows = [
        ["sentence-transformers, by default (float32)", measure.spread(rate["stock"]), "1"],
        *(
            [title, measure.spread(rate[name]), measure.spread(rounds.ratios("stock", name), 2)]
            for name, title in _OURS.items()
        ),
    ]
    ceiling = 2.0 * _SQUARE**3 / min(values["matmul"])  # operations per second
    share = operations(embedded, texts) / min(values["encode"]) / ceiling
    beyond = " (the encoder multiplies in eight bits)" if gains_from_eight_bits() else ""  # the share can exceed 1
    targets = [
        measure.target("`classify` against sentence-transformers", rounds.ratio("stock", "classify"), 4, "times"),
        measure.target("the same, labels of another field", rounds.ratio("stock", "distant"), 4, "times"),
        measure.target("one text, p50", 1000 * median(values["one"]), 8, "ms", most=True),
        measure.target("first answer of a fresh process", median(values["first"]), 5, "s", most=True),
        measure.target(f"share of torch's {number_format()} matmul{beyond}", share, None,
               shown=f"{share:.2f} of {ceiling / 1e9:,.1f} GFLOP/s"),
    ]  # fmt: skip
    summary = f"{origin}; {len(values['stock'])} rounds, medians, minimum–maximum in brackets; {embedded.name}."
    heads = ("contender", "texts/s", "times sentence-transformers")
    return "\n\n".join((f"{summary} {measure.cpu_path()}", measure.table(heads, rows), measure.target_table(targets)))


if __name__ == "__main__":
    main()
