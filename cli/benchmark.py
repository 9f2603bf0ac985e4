"""`main.py benchmark`: systems over public benchmarks, beside the figures that others published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.arguments import PATH, collected, json_option, print_json, print_table, say
from cli.evaluate import print_costs
from cli.evaluation_runs import RunSelection, benchmark_run_options, check_answered, execute, metered
from cli.group import SectionedGroup, examples
from cli.spending import SpendOptions, spend_options
from cli.suite import family_runs

if TYPE_CHECKING:
    from eval.public_benchmark import PublicBenchmark
    from eval.run import EvaluationRun


@dataclass(frozen=True)
class BenchmarkOptions:
    """The options that say which texts of a benchmark are labelled."""

    local: Path | None
    datasets: str | None
    limit: int | None

    @property
    def names(self) -> list[str]:
        """The chosen data sets and groups; empty: all."""
        return [name.strip() for name in (self.datasets or "").split(",") if name.strip()]


@dataclass(frozen=True)
class BenchmarkEntry:
    """A benchmark of the registry: its line in the help, and what loads it."""

    about: str
    load: Callable[[], PublicBenchmark]


_data_options = collected(
    BenchmarkOptions,
    "options",
    click.option("--local", type=PATH, help="Folder of the data, as on the hub; without it, they are downloaded."),
    click.option("--datasets", help="Data sets or task groups, with commas between.  [default: all]"),
    click.option("--limit", type=click.IntRange(1), help="Maximum number of texts per data set; always the same ones."),
)


@click.group(
    cls=SectionedGroup,
    short_help="Measure systems on a public benchmark.",
    epilog=examples("benchmark btzsc --systems embedded,minilm-plain", "benchmark btzsc --help"),
)
def benchmark() -> None:
    """Measure systems on a public benchmark, and print them beside the published figures of other models."""


def _command(name: str, entry: BenchmarkEntry) -> click.Command:
    """The subcommand of a benchmark."""

    @click.command(
        name,
        short_help=entry.about,
        help=f"{entry.about}\n\n{_HELP}",
        epilog=examples(
            f"benchmark {name} --systems embedded,minilm-plain --alone 0",
            f"benchmark {name} --systems llm --limit 200 --dry-run",
            f"benchmark {name} --local {name}-data --datasets topic",
        ),
    )
    @_data_options
    @benchmark_run_options(name)
    @click.option("--overwrite", is_flag=True, help="Start over instead of continuing an earlier run.")
    @click.option("--dry-run", is_flag=True, help="Print the number of tokens and the price; send nothing.")
    @spend_options
    @json_option
    def command(
        options: BenchmarkOptions, selection: RunSelection, overwrite: bool, dry_run: bool, spending: SpendOptions,
        as_json: bool,
    ) -> None:  # fmt: skip
        public = entry.load()
        names, cap = public.chosen(options.names), spending.cap()
        runs, out, notes = _runs(public, names, options, selection)
        if cap:
            runs = metered(runs, cap, overwrite)
        if dry_run:
            return print_costs(runs, as_json, cap)
        metrics = execute(runs, overwrite)
        _print_results(public, out, names, notes, as_json)
        return check_answered(metrics)

    return command


def _runs(
    public: PublicBenchmark, names: list[str], options: BenchmarkOptions, selection: RunSelection
) -> tuple[list[EvaluationRun], Path, list[str]]:
    """The runs over all data sets, the folder of all of them, and notes about the data."""
    from prompts.files import check_output

    out = check_output(selection.out or Path("var/runs") / public.name, folder=True)
    folder = options.local or public.download(names)
    data = [public.read(folder, name) for name in names]
    runs = [run for one in data for run in family_runs(one.family, options.limit, selection, out)]
    return runs, out, [note for one in data for note in one.notes]


def _print_results(public: PublicBenchmark, out: Path, names: list[str], notes: list[str], as_json: bool) -> None:
    """Write the page of the benchmark and the report of its runs; print the table."""
    from eval.report import benchmark_results, suite, suite_results
    from eval.report.benchmark import table, write

    suite.write(suite_results.read(out))
    found = benchmark_results.read(public, out, names, notes)
    page, *_ = write(found)
    if as_json:
        return print_json({"out": out, "page": page, **benchmark_results.as_json(found)})
    print_table(*table(found))
    for line in (*found.warnings(), *notes):
        say(line)
    say(f"page: {page}")
    say(f"all metrics and every answer: {out}")
    return None


def _btzsc() -> PublicBenchmark:
    from eval.btzsc import BTZSC

    return BTZSC


_HELP = (
    "The data are downloaded from the hub, once, unless HF_HUB_OFFLINE=1 or --local is given. Runs are resumable: run "
    "the same command again after a crash; finished texts are skipped."
)
BENCHMARKS: Mapping[str, BenchmarkEntry] = {
    "btzsc": BenchmarkEntry("BTZSC: zero-shot, 22 English single-label sets.", _btzsc),
}
benchmark.add_section("Benchmarks", *(_command(name, entry) for name, entry in BENCHMARKS.items()))
