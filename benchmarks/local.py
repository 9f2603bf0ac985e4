"""A language model in this process: against llama.cpp on the same cores, and `yes_no` against a request per question.

The contenders alternate, each with the same plots in a round; processor seconds of client and server are counted, so
that other work on the machine changes little.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks import measure
from benchmarks.measure import Rounds, cpu_path, spread, table, target, target_table
from prompts.registry import prompt_for
from prompts.template import AnswerFormat
from prompts.text import Text

if TYPE_CHECKING:
    from llm.backends.backend import Backend, Conversation
    from llm.backends.local_backend import LocalBackend
    from prompts.taxonomy import Taxonomy

MODEL = "qwen2.5-coder-0.5b-instruct-q4"
STRATEGIES = ("label_likelihood", "json_list")
LLAMA = "llama.cpp, Q4"
ONE_CALL, CALLS, BARE = "`yes_no`, one call", "one call per question", "one forward pass per question, without prefixes"
_PARTS = ("both", "llama.cpp", "yes_no")
_LEAST_RATIO, _LEAST_SPEEDUP = 0.8, 5.0
_WARM_UP = 2  # plots
_API_KEY = "sk-for-the-benchmark"
_TIMEOUT = 600.0


@dataclass(frozen=True)
class MeasuredBackend:
    """A backend, and the processor seconds that it and this process have taken so far."""

    name: str
    backend: Backend
    processor: Callable[[], float]

    def seconds(self, strategy: str, texts: Sequence[Text], taxonomy: Taxonomy) -> float:
        """Return the processor seconds per text of a strategy.

        Raises:
            RuntimeError: a text got a problem.
        """
        from llm.language_model import LanguageModel
        from llm.strategies import STRATEGIES

        before = self.processor()
        predictions = LanguageModel(self.backend, STRATEGIES[strategy]).classify(texts, taxonomy)
        if problem := next((one.problem for one in predictions if one.problem), None):
            raise RuntimeError(f"{self.name} got no answer: {problem.detail}")
        return (self.processor() - before) / len(texts)


@click.command(context_settings=measure.COMMAND)
@measure.DATA_OPTION
@click.option("--model", type=click.Path(path_type=Path), help=f"Folder of the weights.  [default: {MODEL}]")
@click.option("--gguf", type=click.Path(path_type=Path), help="The same weights as a GGUF file.")
@click.option("--formats", default="auto", show_default=True, help="Number formats of --local, separated by commas.")
@click.option("--plots", "count", default=20, show_default=True, help="Plots per round.")
@click.option("--questions", default=20, show_default=True, help="Questions per round that yes_no sends one by one.")
@click.option("--part", type=click.Choice(_PARTS), default="both", show_default=True, help="What to measure.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; each contender runs once per round.")
def main(
    data: Path | None, model: Path | None, gguf: Path | None, formats: str, count: int, questions: int, part: str,
    rounds: int,
) -> None:  # fmt: skip
    """Measure `--local` against llama.cpp on the same cores, and all questions of `yes_no` at once against one by one.

    Limit both to the same cores by `OMP_NUM_THREADS` and `taskset`. Without --model and --gguf, the real model of the
    tests is downloaded. Without --data, the plots come from the folder in BENCH_DATA, else from data/sample.
    """
    folder, file = files(model, gguf)
    given = measure.plots(data, count)
    local = [in_process(folder, one) for one in formats.split(",")]
    if part != "yes_no":
        with served(file) as server:
            found = compare([server, *local], given, rounds)
        click.echo(report(found, local) + "\n")
    if part != "llama.cpp":
        click.echo(questions_report(compare_questions(local[0], given, questions, rounds)) + "\n")
    click.echo(f"{rounds} rounds; {given.origin}.\n\n{cpu_path()}")


def files(model: Path | None, gguf: Path | None) -> tuple[Path, Path]:
    """Return the folder and the GGUF file of the model."""
    from tests.engines.real_models import gguf_file, named, safetensors_folder

    return model or safetensors_folder(named(MODEL)), gguf or gguf_file(named(MODEL))


def in_process(folder: Path, number_format: str) -> MeasuredBackend:
    """Return a model in this process, with the name of the number format that it computes in."""
    from llm.backends.local_backend import LocalBackend

    backend = LocalBackend(str(folder), device="cpu", dtype=number_format)
    return MeasuredBackend(f"`--local`, {backend.decoding['dtype']}", backend, time.process_time)


@contextmanager
def served(file: Path) -> Iterator[MeasuredBackend]:
    """Run llama.cpp in a block, with as many threads as this process may use."""
    from llm.backends.capabilities import CapabilityProbe
    from llm.backends.openai_compatible import OpenAICompatible
    from llm.backends.transport import HTTPTransport
    from similarity.native import physical_cores
    from tests.engines.llama_server import LlamaServer
    from tests.engines.vllm_server import MODEL_NAME

    server = LlamaServer(file, _API_KEY, threads=physical_cores())
    server.start()
    try:
        process = server._process
        assert process is not None
        transport = HTTPTransport(server.base_url, _API_KEY, timeout=_TIMEOUT, retries=0, concurrency=1)
        backend = OpenAICompatible(transport, MODEL_NAME, CapabilityProbe(transport, MODEL_NAME))
        yield MeasuredBackend(LLAMA, backend, lambda: time.process_time() + _processor_seconds(process.pid))
    finally:
        server.kill()


def _processor_seconds(pid: int) -> float:
    """Processor seconds of another process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(contenders: Sequence[MeasuredBackend], given: measure.Plots, rounds: int) -> Rounds:
    """Measure processor seconds per text of each contender and strategy; texts are new in each round."""
    genres, found = measure.tmdb_genres(), Rounds()
    for strategy in STRATEGIES:
        for one in contenders:
            one.seconds(strategy, given.marked("w", _WARM_UP), genres)
        for number in range(rounds):
            for one in contenders:
                seconds = one.seconds(strategy, given.marked(f"{strategy[0]}{number}"), genres)
                found.add(f"{one.name} {strategy}", seconds)
    return found


# --- yes_no ---


def compare_questions(one: MeasuredBackend, given: measure.Plots, count: int, rounds: int) -> Rounds:
    """Measure processor seconds per question about one plot: all at once, and ``count`` of them one by one.

    ``difference`` is the greatest one between the scores of one call and of one call per question.
    """
    from llm.strategies.scored import YES_NO_CODES

    local: Any = one.backend

    def scores(conversations: Sequence[Conversation]) -> list[float]:
        return [_yes(found.logprobs) for found in local.next_token_logprobs(conversations, YES_NO_CODES)]

    scores(_questions(Text("A plot."))[:1])  # computes the static part, which is kept
    found = Rounds()
    for number in range(rounds):
        questions = _questions(given.marked(f"y{number}")[number % len(given.texts)])
        some = questions[:count]
        with measure.clock() as together:
            at_once = scores(questions)
        with measure.clock() as calls:
            by_call = [scores([each])[0] for each in some]
        with measure.clock() as passes:
            _bare(local, some)
        found.add(ONE_CALL, together.cpu / len(questions))
        found.add(CALLS, calls.cpu / len(some))
        found.add(BARE, passes.cpu / len(some))
        found.add("difference", max(abs(a - b) for a, b in zip(at_once[: len(some)], by_call, strict=True)))
    return found


def _questions(text: Text) -> list[Conversation]:
    """One question for each label."""
    genres = measure.tmdb_genres()
    prompt = prompt_for(text, genres)
    return [prompt.render(text, genres, AnswerFormat("yes_no", label)) for label in genres.predictable]


def _yes(logprobs: Any) -> float:
    from llm.strategies.scored import normalized

    return normalized(logprobs)["Yes"]


def _bare(local: LocalBackend, questions: Sequence[Conversation]) -> None:
    """One forward pass of transformers per question, over the whole conversation."""
    import torch

    causal = local._causal
    for tokens in causal.tokens(questions):
        with torch.inference_mode():
            causal.network(torch.tensor([tokens]), use_cache=False, logits_to_keep=1)


# --- report ---


def report(found: Rounds, local: Sequence[MeasuredBackend]) -> str:
    """Return the comparison with llama.cpp as Markdown."""
    targets = [
        target(
            f"{one.name}, `{strategy}`, against {LLAMA}",
            found.ratio(f"{LLAMA} {strategy}", f"{one.name} {strategy}"),
            _LEAST_RATIO,
            "times",
        )
        for one in local
        for strategy in STRATEGIES
    ]
    rates = [
        [name, *(spread([1 / seconds for seconds in found.values[f"{name} {strategy}"]], 2) for strategy in STRATEGIES)]
        for name in (LLAMA, *(one.name for one in local))
    ]
    heads = ("texts per processor second", *(f"`{strategy}`" for strategy in STRATEGIES))
    return f"{target_table(targets)}\n\n{table(heads, rates)}"


def questions_report(found: Rounds) -> str:
    """Return the comparison of all questions at once with one by one as Markdown."""
    targets = [
        target(f"{ONE_CALL}, against {BARE}", found.ratio(BARE, ONE_CALL), _LEAST_SPEEDUP, "times"),
        target(f"{ONE_CALL}, against {CALLS}", found.ratio(CALLS, ONE_CALL), None, "times"),
    ]
    rows = [[name, spread(found.values[name], 2)] for name in (ONE_CALL, CALLS, BARE)]
    heads = ("`yes_no`, 20 labels", "processor seconds per question")
    most = max(found.values["difference"])
    difference = f"Greatest difference of a score between one call and one call per question: {most:.1e}."
    return f"{target_table(targets)}\n\n{table(heads, rows)}\n\n{difference}"


if __name__ == "__main__":
    main()
