"""`main.py evaluate`: label a data set with one or several systems, and measure the quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.arguments import PATH, OutputPath, ProgressLine, collected, command_line, json_option, print_json, say
from cli.data import DataOptions, data_options
from cli.group import examples
from cli.names import SYSTEMS_HELP, complete_systems
from cli.spending import SpendOptions, covered_line, covered_texts, meter_of, spend_options

if TYPE_CHECKING:
    from eval.compare import GateResult
    from eval.datasets import LoadedDataset
    from eval.manifest import EvaluationData
    from eval.run import EvaluationRun, System
    from eval.run_metrics import RunMetrics
    from llm.spending.spend_cap import SpendCap
    from marquee.systems import SystemContext


@dataclass(frozen=True)
class RunSelection:
    """The options that say which runs an evaluation has."""

    systems: str | None
    shown: str | None
    url: str | None
    cache: bool
    out: Path | None
    alone: int
    batch: int


_run_options = collected(
    RunSelection,
    "selection",
    click.option(
        "--systems",
        shell_complete=complete_systems,
        help=f"Systems, with commas between: {SYSTEMS_HELP}.  [default: the classifier of the settings]",
    ),
    click.option("--shown", help="Input variants, with commas between: title+plot, plot, masked, title; one run each."),
    click.option("--url", help="Evaluate the Marquee service at this URL."),
    click.option("--cache/--no-cache", default=True, help="Whether cached answers may be used."),
    click.option(
        "--out", type=OutputPath(folder=True), help="Folder of runs and report.  [default: var/runs/DATA-TAXONOMY]"
    ),
    click.option("--alone", type=click.IntRange(0), default=50, help="Texts to send one by one, for latency."),
    click.option("--batch", type=click.IntRange(1), default=32, help="Batch size for the others."),
)


@click.command(
    short_help="Label a data set and measure the quality.",
    epilog=examples(
        "evaluate --data reviews.csv --systems embedded --taxonomy sentiment",
        "evaluate --data films.jsonl --systems embedded,llm --out var/films",
    ),
)
@data_options(required=False)
@_run_options
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
    data: Path | None, options: DataOptions, selection: RunSelection, orders: int | None, overwrite: bool,
    dry_run: bool, spending: SpendOptions, rescore: Path | None, gate: Path | None, margin: float, as_json: bool,
) -> None:  # fmt: skip
    """Label the examples of a file, print the main metrics, and write all of them and a report to --out.

    Runs are resumable: run the same command again after a crash; finished texts are skipped.
    """
    if rescore is not None:
        return _rescore(rescore, as_json)
    if data is None:
        raise click.UsageError("give --data, or --rescore with the folder of a run")
    runs, out = _runs(data, options, selection)
    cap = spending.cap()
    if cap:
        if orders:
            raise click.UsageError("--orders is not counted by --max-cost and --max-tokens; leave it out, or them")
        runs = _metered(runs, cap, overwrite)
    if dry_run:
        return print_costs(runs, as_json, cap)
    baselines = [_baseline_run(gate, run.folder) for run in runs] if gate else []
    metrics = {run.system.spec: _execute(run, overwrite) for run in runs}
    if orders:
        _measure_order_sensitivity(runs, orders)
    gates = _gates(baselines, runs, margin)
    _print_result(metrics, out, gates, as_json)
    if failed := [spec for spec, values in metrics.items() if values["invalid"] == 1]:
        raise click.ClickException(f"not one text was answered by {', '.join(failed)}; the rows say why")
    if not all(verdict.passed for verdict in gates.values()):
        raise click.exceptions.Exit(1)
    return None


# --- the runs ---


def _runs(data: Path, options: DataOptions, selection: RunSelection) -> tuple[list[EvaluationRun], Path]:
    """The runs, and the folder of all of them; wrong options are reported before any text is sent."""
    from eval.run import EvaluationRun, RunOptions
    from prompts.files import check_output

    if options.min_label_count and (selection.url or "service:" in (selection.systems or "")):
        raise click.UsageError("a service knows whole taxonomies only; leave --min-label-count or the service out")
    default = Path("var/runs") / f"{data.name.partition('.')[0]}-{options.taxonomy.name}"
    top = check_output(selection.out or default, folder=True)
    loaded = options.load(data)
    batches = RunOptions(selection.alone, selection.batch)
    return [
        EvaluationRun(system, material, folder, batches, command_line(), say)
        for variant in _variants(selection.shown)
        for material in [_evaluation_data(data, loaded, variant, options)]
        for folder, system in _systems(variant, selection, material, top).items()
    ], top


def _variants(shown: str | None) -> list[str | None]:
    return [variant.strip() for variant in shown.split(",") if variant.strip()] if shown else [None]


def _evaluation_data(data: Path, loaded: LoadedDataset, variant: str | None, options: DataOptions) -> EvaluationData:
    from eval.input_variants import input_variant
    from eval.manifest import EvaluationData

    examples = input_variant(loaded.examples, variant) if variant else loaded.examples
    return EvaluationData(data, options.split, options.limit, loaded.taxonomy, examples)


def _systems(
    variant: str | None, selection: RunSelection, material: EvaluationData, top: Path
) -> Mapping[Path, System]:
    """The systems by the folders of their runs; the folder names contain the input variant."""
    from marquee.systems import SystemContext

    texts = [example.text for example in material.examples]
    context = SystemContext(material.taxonomy, texts, selection.cache, evaluated=True)
    systems = _systems_by_folder(selection, context, top)
    if variant is None:
        return systems
    return {
        top / f"{system.spec if folder == top else folder.name}@{variant}": replace(
            system, spec=f"{system.spec}@{variant}", setup={**system.setup, "shown": variant}
        )
        for folder, system in systems.items()
    }


def _systems_by_folder(selection: RunSelection, context: SystemContext, top: Path) -> Mapping[Path, System]:
    """The systems by the folders of their runs; a single system without a name uses the top folder."""
    from marquee.systems import folder_name, from_settings, from_spec
    from prompts.errors import InvalidSetting

    if selection.systems and selection.url:
        raise click.UsageError("--url is one system; write it as --systems service:URL beside others")
    if not selection.systems:
        return {top: from_spec(f"service:{selection.url}", context) if selection.url else from_settings(context)}
    specs = [spec.strip() for spec in selection.systems.split(",") if spec.strip()]
    systems = {top / folder_name(spec): from_spec(spec, context) for spec in specs}
    if len(systems) < len(specs):
        raise InvalidSetting(f"--systems {selection.systems}: two of them would share a folder; give each once")
    return systems


def _metered(runs: Sequence[EvaluationRun], cap: SpendCap, overwrite: bool) -> list[EvaluationRun]:
    """The runs with a common cap, of which their earlier rows have spent a part."""
    texts = [example.text for example in runs[0].data.examples]
    metered = [replace(run, meter=meter_of(cap, run.system, texts)) for run in runs]
    for run in [] if overwrite else metered:
        run.count_spent()
    return metered


def _execute(run: EvaluationRun, overwrite: bool) -> RunMetrics:
    if overwrite:
        run.reset()
    pending, total = len(run.pending()), len(run.data.examples)
    if pending < total:
        say(f"{run.system.spec}: {total - pending} of {total} texts are answered there")
    return run.execute(ProgressLine(f"{run.system.spec}:", pending).advance)


def _measure_order_sensitivity(runs: Sequence[EvaluationRun], orders: int) -> None:
    for run in runs:
        if run.system.preview is not None:  # only a language model sees the labels in an order
            share = run.measure_order_sensitivity(orders)["ever"]
            say(f"{run.system.spec}: {share:.1%} of decisions are not the same in {orders} orders")


# --- metrics, report and gate ---


def _rescore(folder: Path, as_json: bool) -> None:
    from eval.run_metrics import rescore

    _print_result(rescore(folder), folder, {}, as_json)


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
    for run in runs:
        texts = [example.text for example in run.pending()]
        costs[run.system.spec] = len(texts), run.system.preview and run.system.preview(texts)
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
