"""Strategies against a bare loop that sends the same bodies, and against scikit-llm, on one vLLM server."""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import click

from benchmarks import measure
from llm.backends.batch_transport import BATCH_SIZE

if TYPE_CHECKING:
    from benchmarks.contenders import BareLoop, Ours, ServedEndpoint

API_KEY = "sk-for-the-benchmark"
_WARM_UP = 32  # plots
STRATEGIES = ("json_list", "label_likelihood", "label_tokens", "yes_no")
SIZES = (1, BATCH_SIZE)  # texts per request: of the service, and of `main.py bulk` with vLLM
BLOCK = 32  # tokens per block of the prefix cache: the minimum of vLLM's CPU build; a GPU has 16
ALONE, THREADED = "scikit-llm, one at a time (its default)", "scikit-llm, as many threads as our workers"


@dataclass(frozen=True)
class Way:
    """A strategy with a number of texts per request."""

    strategy: str
    size: int = 1

    def __str__(self) -> str:
        return f"`{self.strategy}`" + (f", {self.size} texts per request" if self.size > 1 else "")

    @property
    def ours(self) -> str:
        """Name of our contender in the results."""
        return f"{self.strategy} {self.size}"

    @property
    def bare(self) -> str:
        """Name of the bare loop with the same bodies."""
        return f"bare {self.strategy} {self.size}"


_ALONE = ("label_likelihood",)  # strategies that send one text per request only
WAYS = tuple(Way(strategy, size) for strategy in STRATEGIES for size in SIZES if size == 1 or strategy not in _ALONE)
JSON_LIST, LABEL_TOKENS = Way("json_list"), Way("label_tokens")


@dataclass(frozen=True)
class LLMPlan:
    """Size of the measurement.

    Attributes:
        texts: plots per round, by strategy; ``yes_no`` sends 20 requests per plot.
        scikit: plots per round for scikit-llm; 0 omits it.
        workers: concurrent requests.
    """

    texts: Mapping[str, int]
    scikit: int
    rounds: int
    workers: int


@dataclass
class LLMResults:
    """Measurements of a run.

    Attributes:
        answer: mean tokens of the true ``json_list`` answers.
        model: what the server runs, in words.
        runs: the rounds of each contender.
        static: tokens that all requests of a strategy share, by strategy.
    """

    answer: float
    model: str
    runs: dict[str, list[measure.LabellingRun]] = field(default_factory=lambda: defaultdict(list))
    static: dict[str, int] = field(default_factory=dict)

    def values(self, contender: str, name: str) -> list[float]:
        """Return a property of ``LabellingRun``, by round."""
        return [getattr(run, name) for run in self.runs[contender]]

    def median(self, contender: str, name: str) -> float:
        """Return the median of a property of ``LabellingRun``."""
        return median(self.values(contender, name))

    def speedups(self, contender: str, other: str) -> list[float]:
        """Return the speed-up over another contender, by round."""
        return measure.ratios(self.values(contender, "rate"), self.values(other, "rate"))

    def speedup(self, contender: str, other: str) -> float:
        """Return the median speed-up over another contender."""
        return median(self.speedups(contender, other))


@click.command(context_settings=measure.COMMAND)
@measure.DATA_OPTION
@click.option("--model", type=click.Path(path_type=Path), help="Folder of a real model.  [default: a tiny one]")
@click.option("--plots", "count", default=500, show_default=True, help="Plots per round.")
@click.option("--yes-no-plots", default=50, show_default=True, help="Plots per round for yes_no: 20 requests each.")
@click.option("--scikit-plots", default=50, show_default=True, help="Plots per round for scikit-llm; 0 omits it.")
@click.option("--rounds", default=7, show_default=True, help="Rounds; each contender runs once per round.")
@click.option("--workers", default=64, show_default=True, help="Concurrent requests.")
def main(
    data: Path | None, model: Path | None, count: int, yes_no_plots: int, scikit_plots: int, rounds: int, workers: int
) -> None:  # fmt: skip
    """Measure texts per second of the strategies on a vLLM server.

    The references are a bare loop with the same bodies, and scikit-llm. The server is vLLM's CPU build; without --model
    it has a tiny Qwen2 that generates answers of the usual length. The first run creates environments in var/. Without
    --data, the plots come from the folder in BENCH_DATA, else from data/sample.
    """
    texts = {**dict.fromkeys(STRATEGIES, count), "yes_no": min(count, yes_no_plots)}
    plan = LLMPlan(texts, min(count, scikit_plots), rounds, workers)
    given = measure.plots(data, count)
    with server(given, workers, model) as (endpoint, results):
        compare(endpoint, given, plan, results)
    click.echo(report(results, given, plan))


@contextmanager
def server(given: measure.Plots, workers: int, model: Path | None) -> Iterator[tuple[ServedEndpoint, LLMResults]]:
    """Run a vLLM server in a block, with a tiny model if ``model`` is None; yields it and results without rounds."""
    from benchmarks import served
    from benchmarks.contenders import ServedEndpoint
    from tests.engines.vllm_server import MODEL_NAME, VLLMServer

    with tempfile.TemporaryDirectory() as folder:
        if model:
            results = LLMResults(served.answer_tokens(model, given), model.name)
        else:
            answer = served.write_model(Path(folder), given)
            results = LLMResults(answer, "tiny Qwen2 (see `served.py`), Qwen2's tokenizer")
        server = VLLMServer(model or Path(folder), API_KEY, ("--block-size", str(BLOCK)))
        try:
            server.start()
            yield ServedEndpoint(server.base_url, API_KEY, MODEL_NAME, workers), results
        finally:
            server.kill()
            server.log.unlink(missing_ok=True)


def compare(endpoint: ServedEndpoint, given: measure.Plots, plan: LLMPlan, results: LLMResults) -> None:
    """Run all rounds; each contender runs once per round, on texts that are new to the server."""
    from benchmarks.contenders import BareLoop, Ours, ScikitLLM

    pairs = {size: (Ours(endpoint, size), BareLoop(endpoint, size)) for size in SIZES}
    for ours, loop in pairs.values():
        _warm_up(ours, loop, given, plan)
    ours, _ = pairs[1]
    results.static = {strategy: ours.static_tokens(strategy, measure.tmdb_genres()) for strategy in STRATEGIES}
    written = ours.classify("json_list", given.marked("u", 100), measure.tmdb_genres()).completion
    scikit = ScikitLLM(endpoint, math.ceil(written)) if plan.scikit else None
    for number in range(plan.rounds):
        click.echo(f"round {number + 1} of {plan.rounds} ...", err=True)
        for way in WAYS:
            _turn(*pairs[way.size], way, given, plan.texts[way.strategy], number, results)
        if scikit:
            for name, mark, workers in ((ALONE, "s", 1), (THREADED, "t", plan.workers)):
                texts = given.marked(f"{mark}{number}", plan.scikit)
                results.runs[name].append(scikit.classify(texts, measure.tmdb_genres(), workers))


def _warm_up(ours: Ours, loop: BareLoop, given: measure.Plots, plan: LLMPlan) -> None:
    """Make the server compile its grammars and cache the static parts."""
    taxonomy = measure.tmdb_genres()
    for strategy in STRATEGIES:
        count = min(_WARM_UP, plan.texts[strategy])
        ours.classify(strategy, given.marked(f"w{strategy}", count), taxonomy)
        loop.send(ours.requests(strategy, given.marked(f"v{strategy}", count), taxonomy), count)


def _turn(
    ours: Ours, loop: BareLoop, way: Way, given: measure.Plots, count: int, number: int, results: LLMResults
) -> None:
    """Run the bare loop and our strategy; the order alternates by round."""
    taxonomy, mark = measure.tmdb_genres(), f"{number}{way.ours}"
    requests = ours.requests(way.strategy, given.marked(f"b{mark}", count), taxonomy)
    texts = given.marked(f"a{mark}", count)
    for bare in (number % 2 == 0, number % 2 == 1):
        if bare:
            results.runs[way.bare].append(loop.send(requests, count))
        else:
            results.runs[way.ours].append(ours.classify(way.strategy, texts, taxonomy))


# --- report ---


def report(results: LLMResults, given: measure.Plots, plan: LLMPlan) -> str:
    """Return the report as Markdown."""
    summary = (
        f"{given.origin}; 20 labels; {plan.workers} workers; {plan.rounds} rounds, contenders alternate, every text is "
        f"new to the server; medians, minimum–maximum in brackets. Model: {results.model}, on "
        f"vLLM's CPU build, prefix cache in blocks of {BLOCK} tokens (GPUs: 16), openai {version('openai')}, "
        f"httpx2 {version('httpx2')}. Compare ratios only: one machine, one run. {measure.cpu_path()}"
    )
    heads = (
        "contender", "plots", "texts/s", "times the bare loop", "prompt tokens", "of them cached", "generated tokens",
        "client CPU ms",
    )  # fmt: skip
    rows = [row for way in WAYS for row in _pair(results, way)]
    rows += [_row(results, name, "", name) for name in (ALONE, THREADED) if name in results.runs]
    return "\n\n".join((summary, measure.table(heads, rows), measure.target_table(_targets(results))))


def _pair(results: LLMResults, way: Way) -> list[list[str]]:
    ratio = measure.spread(results.speedups(way.ours, way.bare), 2)
    return [_row(results, way.bare, "1", f"bare loop, bodies of {way}"), _row(results, way.ours, ratio, str(way))]


def _row(results: LLMResults, contender: str, ratio: str, title: str) -> list[str]:
    rate = measure.spread(results.values(contender, "rate"))
    cpu = measure.spread(results.values(contender, "cpu_ms"), 2)
    tokens = [f"{results.median(contender, name):,.1f}" for name in ("prompt", "cached", "completion")]
    return [title, str(results.runs[contender][0].texts), rate, ratio, *tokens, cpu]


def _targets(results: LLMResults) -> list[list[str]]:
    ours, static = JSON_LIST.ours, results.static["json_list"]
    cached = results.median(ours, "cached_after_first") / static
    share = f"`json_list`: cached share of its {static} static tokens, after the first text"
    return [
        *(
            measure.target(f"{way} against its bare loop", results.speedup(way.ours, way.bare), 0.85, "times")
            for way in WAYS
        ),
        *(_scikit_targets(results) if ALONE in results.runs else []),
        measure.target(
            "`label_tokens`: generated tokens", results.median(LABEL_TOKENS.ours, "completion"), 1, most=True
        ),
        measure.target("`json_list`: tokens of the true labels", results.answer, 12, most=True),
        measure.target("`json_list`: generated tokens", results.median(ours, "completion"), 12, most=True),
        measure.target(share, cached, 0.9),
        measure.target("client CPU of `json_list`", results.median(ours, "cpu_ms"), 2, "ms", most=True),
    ]


def _scikit_targets(results: LLMResults) -> list[list[str]]:
    ours, bare = JSON_LIST.ours, JSON_LIST.bare
    by_default = (way for way in WAYS if way.strategy != "yes_no")
    loop = "the bare loop, bodies of `json_list`, against scikit-llm by default"
    return [
        *(measure.target(f"{way} against scikit-llm by default", results.speedup(way.ours, ALONE), 10, "times")
          for way in by_default),
        measure.target("`json_list` against scikit-llm with threads", results.speedup(ours, THREADED), None, "times"),
        measure.target(loop, results.speedup(bare, ALONE), None, "times"),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
