"""The strategies against the limit: a bare loop that sends the same bodies, and scikit-llm, at one tiny vLLM server."""

from __future__ import annotations

import math
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import click

from benchmarks.measure import LabellingRun, spread, table
from benchmarks.texts import Plots, plots, vocabulary
from llm.backends.batch_transport import BATCH_SIZE
from prompts.errors import MarqueeError

if TYPE_CHECKING:
    from benchmarks.contenders import Bare, Ours, ServedEndpoint
    from benchmarks.skllm import ScikitLLM

API_KEY = "sk-for-the-benchmark"
STRATEGIES = ("json_list", "label_tokens", "yes_no")
SIZES = (1, BATCH_SIZE)  # texts a request: what the service sends, and what `main.py bulk` sends to vLLM
BLOCK = 32  # tokens that the server caches at once: the least that vLLM's CPU build takes; a GPU takes 16
ALONE, THREADED = "scikit-llm, one at a time (its default)", "scikit-llm, as many threads as we have workers"


@dataclass(frozen=True)
class Way:
    """A strategy, and how many texts a request carries."""

    strategy: str
    size: int = 1

    def __str__(self) -> str:
        return f"`{self.strategy}`" + (f", {self.size} texts a request" if self.size > 1 else "")

    @property
    def ours(self) -> str:
        """Under which name its rounds are noted."""
        return f"{self.strategy} {self.size}"

    @property
    def bare(self) -> str:
        """The same for the bare loop with its bodies."""
        return f"bare {self.strategy} {self.size}"


WAYS = tuple(Way(strategy, size) for strategy in STRATEGIES for size in SIZES)
LIST, LABEL_TOKENS = Way("json_list"), Way("label_tokens")


@dataclass(frozen=True)
class LLMPlan:
    """How much is measured.

    Attributes:
        texts: plots of a round, by strategy; ``yes_no`` sends 20 requests a plot.
        scikit: plots of a round for scikit-llm; 0 leaves it out.
        rounds: how often each contender has its turn.
        workers: how many requests may be under way at once.
    """

    texts: Mapping[str, int]
    scikit: int
    rounds: int
    workers: int


@dataclass
class LLMResults:
    """What was measured.

    Attributes:
        answer: tokens that the true answers to the plots take on average in ``json_list``.
        runs: the rounds of each contender.
        static: tokens that all requests of a strategy share, by strategy.
    """

    answer: float
    runs: dict[str, list[LabellingRun]] = field(default_factory=dict)
    static: dict[str, int] = field(default_factory=dict)

    def add(self, contender: str, run: LabellingRun) -> None:
        """Note a round."""
        self.runs.setdefault(contender, []).append(run)

    def rates(self, contender: str) -> list[float]:
        """Texts a second, by round."""
        return [run.rate for run in self.runs[contender]]

    def ratios(self, contender: str, other: str) -> list[float]:
        """How many times as fast as another, by round: both met the same weather there."""
        pairs = zip(self.rates(contender), self.rates(other), strict=True)
        return [one / two for one, two in pairs]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), help="Plots: .jsonl, .jsonl.gz or a folder with TMDB's.")
@click.option("--plots", "count", default=500, show_default=True, help="Plots of a round.")
@click.option("--yes-no-plots", default=50, show_default=True, help="Plots of a round for yes_no: 20 requests each.")
@click.option("--scikit-plots", default=50, show_default=True, help="Plots of a round for scikit-llm; 0: leave it out.")
@click.option("--rounds", default=7, show_default=True, help="Rounds; each contender has one turn in each.")
@click.option("--workers", default=64, show_default=True, help="Requests under way at once.")
def main(data: Path | None, count: int, yes_no_plots: int, scikit_plots: int, rounds: int, workers: int) -> None:
    """Measure documents a second of the strategies list, letters and yes_no against a bare loop and scikit-llm.

    Starts a vLLM server (CPU build) with a tiny Qwen2 that writes lists of the usual length. The first run makes
    environments in var/. Without --data, the plots come from the folder in BENCH_DATA, or else from data/sample.
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
    """A vLLM server of its own, ended with the block, and the tokens of a true answer in its tokenizer."""
    from benchmarks import served
    from benchmarks.contenders import ServedEndpoint
    from tests.engines.vllm_server import MODEL_NAME, VLLMServer

    with tempfile.TemporaryDirectory() as folder:
        answer = served.model(Path(folder), given)
        server = VLLMServer(Path(folder), API_KEY, ("--block-size", str(BLOCK)))
        try:
            server.start()
            yield ServedEndpoint(server.base_url, API_KEY, MODEL_NAME, workers), answer
        finally:
            server.kill()
            server.log.unlink(missing_ok=True)


def compare(endpoint: ServedEndpoint, given: Plots, plan: LLMPlan, results: LLMResults) -> LLMResults:
    """All rounds: in each, every contender has one turn, on texts that the server has not seen."""
    from benchmarks.contenders import Bare, Ours

    pairs = {size: (Ours(endpoint, size), Bare(endpoint, size)) for size in SIZES}
    for ours, loop in pairs.values():
        _warm_up(ours, loop, given)
    ours, _ = pairs[1]
    results.static = {strategy: ours.static_tokens(strategy, vocabulary()) for strategy in STRATEGIES}
    written = ours.classify("json_list", given.marked("u", 100), vocabulary()).completion
    scikit = _scikit(endpoint, written) if plan.scikit else None
    for number in range(plan.rounds):
        click.echo(f"round {number + 1} of {plan.rounds} ...", err=True)
        for way in WAYS:
            _turn(*pairs[way.size], way, given, plan.texts[way.strategy], number, results)
        if scikit:
            _scikit_turn(scikit, given, plan, number, results)
    return results


def _warm_up(ours: Ours, loop: Bare, given: Plots) -> None:
    """Let the server compile its grammars and compute the static parts."""
    taxonomy = vocabulary()
    for strategy in STRATEGIES:
        ours.classify(strategy, given.marked(f"w{strategy}", 32), taxonomy)
        loop.send(ours.requests(strategy, given.marked(f"v{strategy}", 32), taxonomy), 32)


def _turn(ours: Ours, loop: Bare, way: Way, given: Plots, count: int, number: int, results: LLMResults) -> None:
    """The bare loop and one strategy of ours; who goes first changes with the round."""
    taxonomy = vocabulary()
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
    taxonomy = vocabulary()
    results.add(ALONE, scikit.classify(given.marked(f"s{number}", plan.scikit), taxonomy))
    results.add(THREADED, scikit.classify(given.marked(f"t{number}", plan.scikit), taxonomy, plan.workers))


# --- report ---


def report(results: LLMResults, given: Plots, plan: LLMPlan) -> str:
    """All that was found, as Markdown."""
    words = (
        f"{given.origin}; 20 labels; {plan.workers} workers; {plan.rounds} rounds, contenders in turn, every text new "
        f"to the server; medians, least–most in brackets. Tiny Qwen2 (see `served.py`), Qwen2's tokenizer, on vLLM's "
        f"CPU build, prefix cache in blocks of {BLOCK} tokens (GPUs: 16), "
        f"{platform.machine()}, Python {platform.python_version()}, openai {version('openai')}, "
        f"httpx2 {version('httpx2')}. Figures of one machine and one run: compare ratios only."
    )
    return "\n\n".join((words, _measured(results), _targets(results)))


def _measured(results: LLMResults) -> str:
    heads = (
        "who", "plots", "documents/s", "times the bare loop", "prompt tokens", "of them cached", "tokens written",
        "own CPU ms",
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
    written = f"{median([run.completion for run in runs]):,.1f}"
    rate, cpu = spread(results.rates(contender)), spread([run.cpu_ms for run in runs], 2)
    return [title or contender, str(runs[0].texts), rate, ratio, *tokens, written, cpu]


def _targets(results: LLMResults) -> str:
    own = results.runs[LIST.ours]
    rows = [
        *(_target(f"{way} against its bare loop", median(results.ratios(way.ours, way.bare)), 0.8, "times")
          for way in WAYS),
        *_scikit_target(results),
        _target("`label_tokens`: tokens written", _written(results, LABEL_TOKENS), 1, "", least=False),
        _target("`json_list`: tokens of the true labels", results.answer, 12, "", least=False),
        _target("`json_list`: tokens written", _written(results, LIST), 12, "", least=False),
        _cached_target(results),
        _target("own CPU of `json_list`", median([run.cpu_ms for run in own]), 2, "ms", least=False),
    ]  # fmt: skip
    return table(("target", "wanted", "found", ""), rows)


def _scikit_target(results: LLMResults) -> list[list[str]]:
    if ALONE not in results.runs:
        return []
    threaded = results.ratios(LIST.ours, THREADED)
    return [
        *(_target(f"{way} against scikit-llm as it comes", median(results.ratios(way.ours, ALONE)), 10, "times")
          for way in WAYS if way.strategy != "yes_no"),
        _target("`json_list` against scikit-llm with threads", median(threaded), None, "times"),
        _target("the bare loop, bodies of `json_list`, against scikit-llm as it comes",
                median(results.ratios(LIST.bare, ALONE)), None, "times"),
    ]  # fmt: skip


def _cached_target(results: LLMResults) -> list[str]:
    cached, static = median([run.cached_after_first for run in results.runs[LIST.ours]]), results.static["json_list"]
    title = f"`json_list`: share of its {static} static tokens cached, after the first document"
    return _target(title, cached / static, 0.9)


def _written(results: LLMResults, way: Way) -> float:
    return median([run.completion for run in results.runs[way.ours]])


def _target(what: str, found: float, bound: float | None, unit: str = "", least: bool = True) -> list[str]:
    shown = f"{found:,.2f} {unit}".strip()
    if bound is None:
        return [what, "", shown, ""]
    reached = found >= bound if least else found <= bound
    wanted = f"{'≥' if least else '≤'} {bound:g} {unit}".strip()
    return [what, wanted, shown, "reached" if reached else "**not reached**"]


if __name__ == "__main__":
    main()
