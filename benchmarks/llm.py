"""Strategies against a bare loop that sends the same bodies, and against scikit-llm, on one tiny vLLM server."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import click

from benchmarks.measure import (
    COMMAND,
    DATA_OPTION,
    LabellingRun,
    Plots,
    cpu_path,
    plots,
    ratios,
    spread,
    table,
    target,
    target_table,
    tmdb_genres,
)
from llm.backends.batch_transport import BATCH_SIZE
from prompts.errors import MarqueeError

if TYPE_CHECKING:
    from benchmarks.contenders import BareLoop, Ours, ServedEndpoint
    from benchmarks.skllm import ScikitLLM

API_KEY = "sk-for-the-benchmark"
STRATEGIES = ("json_list", "label_tokens", "yes_no")
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


WAYS = tuple(Way(strategy, size) for strategy in STRATEGIES for size in SIZES)
JSON_LIST, LABEL_TOKENS = Way("json_list"), Way("label_tokens")


@dataclass(frozen=True)
class LLMPlan:
    """Size of the measurement.

    Attributes:
        texts: plots per round, by strategy; ``yes_no`` sends 20 requests per plot.
        scikit: plots per round for scikit-llm; 0 omits it.
        rounds: number of rounds.
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
        runs: the rounds of each contender.
        static: tokens that all requests of a strategy share, by strategy.
    """

    answer: float
    runs: dict[str, list[LabellingRun]] = field(default_factory=dict)
    static: dict[str, int] = field(default_factory=dict)

    def add(self, contender: str, run: LabellingRun) -> None:
        """Add a round."""
        self.runs.setdefault(contender, []).append(run)

    def rates(self, contender: str) -> list[float]:
        """Return texts per second, by round."""
        return [run.rate for run in self.runs[contender]]

    def ratios(self, contender: str, other: str) -> list[float]:
        """Return the speed-up over another contender, by round."""
        return ratios(self.rates(contender), self.rates(other))


@click.command(context_settings=COMMAND)
@DATA_OPTION
@click.option("--plots", "count", default=500, show_default=True, help="Plots per round.")
@click.option("--yes-no-plots", default=50, show_default=True, help="Plots per round for yes_no: 20 requests each.")
@click.option("--scikit-plots", default=50, show_default=True, help="Plots per round for scikit-llm; 0 omits it.")
@click.option("--rounds", default=7, show_default=True, help="Rounds; each contender runs once per round.")
@click.option("--workers", default=64, show_default=True, help="Concurrent requests.")
def main(data: Path | None, count: int, yes_no_plots: int, scikit_plots: int, rounds: int, workers: int) -> None:
    """Measure texts per second of the strategies json_list, label_tokens and yes_no on a vLLM server.

    The references are a bare loop with the same bodies, and scikit-llm. The server is vLLM's CPU build with a tiny
    Qwen2 that generates answers of the usual length. The first run creates environments in var/. Without --data, the
    plots come from the folder in BENCH_DATA, else from data/sample.
    """
    texts = {"json_list": count, "label_tokens": count, "yes_no": min(count, yes_no_plots)}
    plan = LLMPlan(texts, min(count, scikit_plots), rounds, workers)
    try:
        given = plots(data, count)
    except MarqueeError as error:
        raise click.ClickException(str(error)) from error
    with tiny_server(given, workers) as (endpoint, answer):
        results = compare(endpoint, given, plan, LLMResults(answer))
    click.echo(report(results, given, plan))


@contextmanager
def tiny_server(given: Plots, workers: int) -> Iterator[tuple[ServedEndpoint, float]]:
    """Run a vLLM server in a block; yields it and the mean tokens of a true answer."""
    from benchmarks import served
    from benchmarks.contenders import ServedEndpoint
    from tests.engines.vllm_server import MODEL_NAME, VLLMServer

    with tempfile.TemporaryDirectory() as folder:
        answer = served.write_model(Path(folder), given)
        server = VLLMServer(Path(folder), API_KEY, ("--block-size", str(BLOCK)))
        try:
            server.start()
            yield ServedEndpoint(server.base_url, API_KEY, MODEL_NAME, workers), answer
        finally:
            server.kill()
            server.log.unlink(missing_ok=True)


def compare(endpoint: ServedEndpoint, given: Plots, plan: LLMPlan, results: LLMResults) -> LLMResults:
    """Run all rounds; each contender runs once per round, on texts that are new to the server."""
    from benchmarks.contenders import BareLoop, Ours

    pairs = {size: (Ours(endpoint, size), BareLoop(endpoint, size)) for size in SIZES}
    for ours, loop in pairs.values():
        _warm_up(ours, loop, given)
    ours, _ = pairs[1]
    results.static = {strategy: ours.static_tokens(strategy, tmdb_genres()) for strategy in STRATEGIES}
    written = ours.classify("json_list", given.marked("u", 100), tmdb_genres()).completion
    scikit = _scikit(endpoint, written) if plan.scikit else None
    for number in range(plan.rounds):
        click.echo(f"round {number + 1} of {plan.rounds} ...", err=True)
        for way in WAYS:
            _turn(*pairs[way.size], way, given, plan.texts[way.strategy], number, results)
        if scikit:
            _scikit_turn(scikit, given, plan, number, results)
    return results


def _warm_up(ours: Ours, loop: BareLoop, given: Plots) -> None:
    """Make the server compile its grammars and cache the static parts."""
    taxonomy = tmdb_genres()
    for strategy in STRATEGIES:
        ours.classify(strategy, given.marked(f"w{strategy}", 32), taxonomy)
        loop.send(ours.requests(strategy, given.marked(f"v{strategy}", 32), taxonomy), 32)


def _turn(ours: Ours, loop: BareLoop, way: Way, given: Plots, count: int, number: int, results: LLMResults) -> None:
    """Run the bare loop and our strategy; the order alternates by round."""
    taxonomy = tmdb_genres()
    mark = f"{number}{way.ours}"
    requests = ours.requests(way.strategy, given.marked(f"b{mark}", count), taxonomy)
    texts = given.marked(f"a{mark}", count)
    for bare in (True, False) if number % 2 == 0 else (False, True):
        if bare:
            results.add(way.bare, loop.send(requests, count))
        else:
            results.add(way.ours, ours.classify(way.strategy, texts, taxonomy))


def _scikit(endpoint: ServedEndpoint, written: float) -> ScikitLLM:
    from benchmarks.skllm import ScikitLLM

    return ScikitLLM(endpoint.base_url, endpoint.api_key, endpoint.model, math.ceil(written))


def _scikit_turn(scikit: ScikitLLM, given: Plots, plan: LLMPlan, number: int, results: LLMResults) -> None:
    taxonomy = tmdb_genres()
    results.add(ALONE, scikit.classify(given.marked(f"s{number}", plan.scikit), taxonomy))
    results.add(THREADED, scikit.classify(given.marked(f"t{number}", plan.scikit), taxonomy, plan.workers))


# --- report ---


def report(results: LLMResults, given: Plots, plan: LLMPlan) -> str:
    """Return the report as Markdown."""
    words = (
        f"{given.origin}; 20 labels; {plan.workers} workers; {plan.rounds} rounds, contenders alternate, every text is "
        f"new to the server; medians, minimum–maximum in brackets. Tiny Qwen2 (see `served.py`), Qwen2's tokenizer, on "
        f"vLLM's CPU build, prefix cache in blocks of {BLOCK} tokens (GPUs: 16), openai {version('openai')}, "
        f"httpx2 {version('httpx2')}. Compare ratios only: one machine, one run. {cpu_path()}"
    )
    return "\n\n".join((words, _measured(results), _targets(results)))


def _measured(results: LLMResults) -> str:
    heads = (
        "contender", "plots", "texts/s", "times the bare loop", "prompt tokens", "of them cached", "generated tokens",
        "client CPU ms",
    )  # fmt: skip
    rows = [row for way in WAYS for row in _pair(results, way)]
    rows += [_row(results, name, "") for name in (ALONE, THREADED) if name in results.runs]
    return table(heads, rows)


def _pair(results: LLMResults, way: Way) -> list[list[str]]:
    ratio = spread(results.ratios(way.ours, way.bare), 2)
    return [_row(results, way.bare, "1", f"bare loop, bodies of {way}"), _row(results, way.ours, ratio, str(way))]


def _row(results: LLMResults, contender: str, ratio: str, title: str = "") -> list[str]:
    runs = results.runs[contender]
    prompt, cached = median([run.prompt for run in runs]), median([run.cached for run in runs])
    tokens = [f"{prompt:,.1f}", f"{cached:,.1f}"]
    generated = f"{median([run.completion for run in runs]):,.1f}"
    rate, cpu = spread(results.rates(contender)), spread([run.cpu_ms for run in runs], 2)
    return [title or contender, str(runs[0].texts), rate, ratio, *tokens, generated, cpu]


def _targets(results: LLMResults) -> str:
    own = results.runs[JSON_LIST.ours]
    rows = [
        *(target(f"{way} against its bare loop", median(results.ratios(way.ours, way.bare)), 0.8, "times")
          for way in WAYS),
        *_scikit_targets(results),
        target("`label_tokens`: generated tokens", _completion(results, LABEL_TOKENS), 1, most=True),
        target("`json_list`: tokens of the true labels", results.answer, 12, most=True),
        target("`json_list`: generated tokens", _completion(results, JSON_LIST), 12, most=True),
        _cached_target(results),
        target("client CPU of `json_list`", median([run.cpu_ms for run in own]), 2, "ms", most=True),
    ]  # fmt: skip
    return target_table(rows)


def _scikit_targets(results: LLMResults) -> list[list[str]]:
    if ALONE not in results.runs:
        return []
    return [
        *(target(f"{way} against scikit-llm by default", median(results.ratios(way.ours, ALONE)), 10, "times")
          for way in WAYS if way.strategy != "yes_no"),
        target("`json_list` against scikit-llm with threads",
               median(results.ratios(JSON_LIST.ours, THREADED)), None, "times"),
        target("the bare loop, bodies of `json_list`, against scikit-llm by default",
               median(results.ratios(JSON_LIST.bare, ALONE)), None, "times"),
    ]  # fmt: skip


def _cached_target(results: LLMResults) -> list[str]:
    cached, static = (
        median([run.cached_after_first for run in results.runs[JSON_LIST.ours]]),
        results.static["json_list"],
    )
    return target(
        f"`json_list`: cached share of its {static} static tokens, after the first text", cached / static, 0.9
    )


def _completion(results: LLMResults, way: Way) -> float:
    return median([run.completion for run in results.runs[way.ours]])


if __name__ == "__main__":
    main()
