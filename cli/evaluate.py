"""`main.py evaluate`: label a data set with one or several systems, and measure the quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.arguments import PATH, json_option, print_json, say
from cli.data import DataOptions, data_options
from cli.evaluation_runs import RunSelection, check_answered, data_runs, execute, metered, named_runs, run_options
from cli.group import examples
from cli.spending import SpendOptions, covered_line, covered_texts, spend_options
from cli.suite import SuiteOptions, print_suite, suite_options, suite_runs

if TYPE_CHECKING:
    from eval.compare import GateResult
    from eval.run import EvaluationRun
    from eval.run_metrics import RunMetrics
    from llm.spending.spend_cap import SpendCap


@click.command(
    short_help="Label a data set and measure the quality.",
    epilog=examples(
        "evaluate --data reviews.csv --systems embedded --taxonomy sentiment",
        "evaluate --data films.jsonl --systems embedded,llm --out var/films",
        "evaluate --suite families/ --systems embedded,llm --limit 300",
    ),
)
@data_options(required=False)
@suite_options
@run_options
@click.option(
    "--orders", type=click.IntRange(2), help="Measure order sensitivity over so many label permutations (LLM only)."
)
@click.option("--overwrite", is_flag=True, help="Start over instead of continuing an earlier run.")
@click.option("--dry-run", is_flag=True, help="Print the number of tokens and the price; send nothing.")
@spend_options
@click.option("--rescore", type=PATH, help="Compute the metrics of these runs again; no model.")
@click.option("--gate", type=PATH, help="Baseline run; exit with 1 if the new run is worse.")
@click.option("--margin", type=click.FloatRange(0, 1), default=0.01, help="Loss of F1 that --gate accepts.")
@json_option
def evaluate(
    data: Path | None, options: DataOptions, of_suite: SuiteOptions, selection: RunSelection, orders: int | None,
    overwrite: bool, dry_run: bool, spending: SpendOptions, rescore: Path | None, gate: Path | None, margin: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Label the examples of a file, or of every family of a folder, print the main metrics, and write a report.

    Runs are resumable: run the same command again after a crash; finished texts are skipped.
    """
    if rescore is not None:
        return _rescore(rescore, as_json)
    of_suite.check()
    if of_suite.suite is not None:
        runs, out = suite_runs(of_suite.suite, of_suite.names, options.split, options.limit, selection)
    elif data is not None:
        runs, out = data_runs(data, options, selection)
    else:
        raise click.UsageError("give --data or --suite, or --rescore with the folder of a run")
    if orders and selection.explain:
        raise click.UsageError("--orders labels without evidence; leave --explain out, and give another --out")
    cap = spending.cap()
    if cap:
        if orders:
            raise click.UsageError("--orders is not counted by --max-cost and --max-tokens; leave it out, or them")
        runs = metered(runs, cap, overwrite)
    if dry_run:
        return print_costs(runs, as_json, cap)
    baselines = [_baseline_run(gate, run.folder) for run in runs] if gate else []
    metrics = execute(runs, overwrite)
    if orders:
        _measure_order_sensitivity(runs, orders)
    gates = _gates(baselines, runs, margin)
    if of_suite.suite is not None:
        print_suite(out, as_json)
    else:
        _print_result(metrics, out, gates, as_json)
    check_answered(metrics)
    if not all(verdict.passed for verdict in gates.values()):
        raise click.exceptions.Exit(1)
    return None


# --- the runs ---


def _measure_order_sensitivity(runs: Sequence[EvaluationRun], orders: int) -> None:
    for run in runs:
        if run.system.preview is not None:  # only a language model sees the labels in an order
            share = run.measure_order_sensitivity(orders)["ever"]
            say(f"{run.system.spec}: {share:.1%} of decisions are not the same in {orders} orders")


# --- metrics, report and gate ---


def _rescore(folder: Path, as_json: bool) -> None:
    from eval.report.suite_results import family_folders, is_suite
    from eval.run_metrics import rescore

    if is_suite(folder):
        for family in family_folders(folder):
            rescore(family)
        return print_suite(folder, as_json)
    return _print_result(rescore(folder), folder, {}, as_json)


def _print_result(metrics: Mapping[str, RunMetrics], out: Path, gates: Mapping[str, GateResult], as_json: bool) -> None:
    """Print the main metrics of the runs, write the report, and say where all of them are."""
    from eval.report import read, write
    from eval.run_metrics import ResultsTable, main_columns

    report, *_ = write(read(out))
    if as_json:
        verdicts = {spec: asdict(verdict) for spec, verdict in gates.items()}
        return print_json({"out": out, "report": report, "metrics": metrics} | ({"gate": verdicts} if gates else {}))
    click.echo(str(ResultsTable.of(metrics, main_columns(metrics))))
    for spec, verdict in gates.items():
        click.echo(f"{spec}: {verdict.summary}")
    for spec, values in metrics.items():
        if values["invalid"]:
            say(f"{spec}: {values['invalid']:.1%} of the texts have a problem instead of labels; rows.jsonl has it")
    say(f"all metrics and every answer: {out}")
    say(f"report: {report}")
    return None


def _baseline_run(gate: Path, folder: Path) -> Path:
    """The baseline of a new run: the folder itself, or the run of the same system in it.

    Raises:
        InvalidDataset: the folder has no such run.
    """
    from eval.results import run_folders
    from prompts.errors import InvalidDataset

    folders = run_folders(gate)
    if folders == [gate]:
        return gate
    if found := next((one for one in folders if one.name == folder.name), None):
        return found
    names = ", ".join(one.name for one in folders)
    raise InvalidDataset(f"--gate: {gate} has no run of {folder.name!r}; it has {names}")


def _gates(baselines: Sequence[Path], runs: Sequence[EvaluationRun], margin: float) -> dict[str, GateResult]:
    """The verdicts of --gate, by the systems' specs; empty without it."""
    from eval.compare import gate

    return {run.system.spec: gate(path, run.folder, margin) for path, run in zip(baselines, runs, strict=False)}


def print_costs(runs: Sequence[EvaluationRun], as_json: bool, cap: SpendCap | None = None) -> None:
    """Print how many requests and tokens the pending texts of the runs take, and how far a cap reaches."""
    from bulk.progress import preview_lines

    costs = {}
    for name, run in named_runs(runs).items():
        texts = [example.text for example in run.pending()]
        costs[name] = len(texts), run.system.preview and run.system.preview(texts)
    if as_json:
        return print_json(
            {
                spec: {"texts": count, **(vars(cost) if cost else {})}
                | ({"covered": covered_texts(cap, cost, count)} if cap else {})
                for spec, (count, cost) in costs.items()
            }
        )
    for spec, (count, cost) in costs.items():
        click.echo(f"{spec}: {count} texts to label")
        for line in preview_lines(cost) if cost else ():
            click.echo(f"  {line}")
        if cap:
            click.echo(f"  {covered_line(cap, cost, count)}")
    return None
