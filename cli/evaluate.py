"""`main.py evaluate`: systems over labelled examples, how good they are and what they take."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.data import data_options
from cli.group import examples
from cli.output import OutputPath
from cli.runs import runs_of

if TYPE_CHECKING:
    from eval.run import EvaluationRun
    from eval.run_metrics import RunMetrics


@click.command(
    short_help="Label a data set and measure the quality.",
    epilog=examples(
        "evaluate --data reviews.csv --systems embedded --taxonomy sentiment",
        "evaluate --data films.jsonl --systems embedded,llm --out var/runs/films",
    ),
)
@data_options(required=False)
@click.option(
    "--systems",
    help="Systems, separated by commas: embedded, llm[:STRATEGY][:PROMPT], service:URL, trained models NAME[:PATH]."
    "  [default: whoever answers under the settings]",
)
@click.option("--shown", help="Show each text as title+plot, plot, masked or title; commas between: a run each.")
@click.option("--orders", type=click.IntRange(2),
              help="Count, on --alone texts, how a language model's answers hang on the labels' order.")  # fmt: skip
@click.option("--url", help="Ask the service running there instead of a classifier in this process.")
@click.option("--cache/--no-cache", default=True, help="Whether remembered answers will do.")
@click.option("--out", type=OutputPath(folder=True), help="Folder for the runs; one run each in a folder of its own.")
@click.option(
    "--alone", type=click.IntRange(0), default=50, show_default=True, help="Texts to ask about one at a time."
)
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Texts of one batch after these.")
@click.option("--overwrite", is_flag=True, help="Start over instead of going on where an earlier process ended.")
@click.option("--dry-run", is_flag=True, help="Tell what asking would cost, and ask nothing.")
@click.option("--rescore", type=click.Path(path_type=Path), help="Compute the metrics of these runs again; no model.")
@click.option("--gate", type=click.Path(path_type=Path), help="Earlier run; fail where the new one is worse than it.")
@click.option("--margin", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="F1 that --gate lets go.")
def evaluate(data: Path | None, rescore: Path | None, dry_run: bool, **options: Any) -> None:
    """Label the examples of a file and measure how well; a second run goes on where the first was ended."""
    if rescore is not None:
        return _rescore(rescore)
    if data is None:
        raise click.UsageError("give --data, or --rescore with the folder of a run")
    kept = {name: options.pop(name) for name in ("overwrite", "gate", "margin", "orders")}
    runs, out = runs_of(data, **options)
    if dry_run:
        return tell_costs(runs)
    old = [_old_run(kept["gate"], run.folder) for run in runs] if kept["gate"] else []
    found = {run.system.spec: _go(run, kept["overwrite"]) for run in runs}
    if kept["orders"]:
        _count_flips(runs, kept["orders"])
    if len(runs) > 1 or options["systems"]:
        _tell_table(found)
        _report(out)
    else:
        _tell_figures(*found.values())
    click.echo(f"rows and metrics: {out}", err=True)
    if silent := [run.system.spec for run, one in zip(runs, found.values(), strict=True) if one["invalid"] == 1]:
        raise click.ClickException(f"not one text was answered by {', '.join(silent)}; the rows say why")
    return _judge(old, runs, kept["margin"])


def _go(run: EvaluationRun, overwrite: bool) -> RunMetrics:
    if overwrite:
        run.reset()
    pending = len(run.pending())
    there = len(run.data.examples) - pending
    if there:
        click.echo(f"{run.system.spec}: {there} of {len(run.data.examples)} texts are answered there", err=True)
    with bar(run.system.spec, pending) as on_progress:
        return run.execute(on_progress)


@contextmanager
def bar(spec: str, length: int) -> Iterator[Callable[[int], None]]:
    """A progress bar with the texts a second since its start and the time left; yields what moves it on."""
    start = time.monotonic()
    shown: Any = click.progressbar(
        length=length, label=f"{spec:24}", show_pos=True, item_show_func=lambda rate: rate, file=sys.stderr
    )

    def on_progress(rows: int) -> None:
        shown.update(rows, f"{(shown.pos + rows) / max(1e-9, time.monotonic() - start):.1f} texts/s")

    with shown:
        yield on_progress


def _rescore(folder: Path) -> None:
    from eval.run_metrics import rescore

    _tell_table(rescore(folder))
    _report(folder)


def _report(folder: Path) -> None:
    from eval.report import read, write

    evaluation = read(folder)
    for path in write(evaluation, intervals=evaluation.intervals()):
        click.echo(f"report: {path}", err=True)


def _count_flips(runs: Sequence[EvaluationRun], orders: int) -> None:
    for run in runs:
        if run.system.preview is not None:  # no order is shown to the others
            share = run.measure_order_sensitivity(orders)["ever"]
            click.echo(f"{run.system.spec}: {share:.1%} of decisions are not the same in {orders} orders", err=True)


def _old_run(gate: Path, folder: Path) -> Path:
    """The earlier run to hold a new one against: the one given, or the one of the same system in it.

    Raises:
        InvalidDataset: there is none.
    """
    from eval.results import run_folders

    held = run_folders(gate)
    return gate if held == [gate] else _of_name(held, folder.name, gate)


def _of_name(folders: Sequence[Path], name: str, gate: Path) -> Path:
    from prompts.errors import InvalidDataset

    if found := next((folder for folder in folders if folder.name == name), None):
        return found
    there = ", ".join(folder.name for folder in folders)
    raise InvalidDataset(f"--gate: {gate} has no run of {name!r}; it has {there}")


def _judge(old: Sequence[Path], runs: Sequence[EvaluationRun], margin: float) -> None:
    if not old:
        return
    from eval.compare import gate

    verdicts = [gate(before, run.folder, margin) for before, run in zip(old, runs, strict=True)]
    for verdict, run in zip(verdicts, runs, strict=True):
        click.echo(f"{run.system.spec}: {verdict.summary}")
    if not all(verdict.passed for verdict in verdicts):
        raise click.exceptions.Exit(1)


# --- what is printed ---


def _tell_figures(figures: RunMetrics) -> None:
    from eval.run_metrics import format_value

    for name, value in figures.items():
        click.echo(f"{name:24} {format_value(value):>9}")


def _tell_table(found: Mapping[str, RunMetrics]) -> None:
    from eval.run_metrics import ResultsTable

    click.echo(str(ResultsTable.of(found)))


def tell_costs(runs: Sequence[EvaluationRun]) -> None:
    """Print what asking about the texts of runs that are still to be asked about would take."""
    for run in runs:
        texts = [example.text for example in run.pending()]
        click.echo(f"{run.system.spec}: {len(texts)} texts to ask about")
        if run.system.preview is None:
            continue
        found = run.system.preview(texts)
        how = "counted by the endpoint" if found.counted else "estimated, a token in 4 characters"
        click.echo(f"  requests        {found.requests:12,}")
        click.echo(f"  prompt tokens   {found.prompt_tokens:12,}  {how}")
        click.echo(f"    of them shared{found.shared_tokens:12,}  at the front of an earlier prompt too: cacheable")
        click.echo(f"  written tokens  {found.written_tokens:12,}  at most, estimated")
        click.echo(f"  USD             {_price(found.usd, found.usd_cached)}")


def _price(dear: float | None, cheap: float | None) -> str:
    if dear is None or cheap is None:
        return "unknown: the model has no price in llm/prices.yaml"
    return f"{dear:12.4f}  ({cheap:.4f} if all that is shared is found cached)"
