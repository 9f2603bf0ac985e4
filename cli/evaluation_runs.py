"""The runs of `main.py evaluate` and `benchmark`: options, input variants, systems with their folders, execution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.arguments import OutputPath, ProgressLine, collected, command_line, say
from cli.data import DataOptions, Decorator
from cli.names import SYSTEMS_HELP, complete_systems

if TYPE_CHECKING:
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
    url: str | None
    cache: bool
    out: Path | None
    alone: int
    batch: int
    shown: str | None = None
    explain: bool = False


_SYSTEMS = click.option(
    "--systems",
    shell_complete=complete_systems,
    help=f"Systems, with commas between: {SYSTEMS_HELP}.  [default: the classifier of the settings]",
)
_URL = click.option("--url", help="Evaluate the Marquee service at this URL.")
_CACHE = click.option("--cache/--no-cache", default=True, help="Whether cached answers may be used.")
_BATCHES = (
    click.option("--alone", type=click.IntRange(0), default=50, help="Texts to send one by one, for latency."),
    click.option("--batch", type=click.IntRange(1), default=32, help="Batch size for the others."),
)


def _out(default: str) -> Decorator:
    return click.option("--out", type=OutputPath(folder=True), help=f"Folder of runs and report.  [default: {default}]")


run_options = collected(
    RunSelection,
    "selection",
    _SYSTEMS,
    click.option("--shown", help="Input variants, with commas between: title+plot, plot, masked, title; one run each."),
    _URL,
    _CACHE,
    click.option("--explain", is_flag=True, help="Find the evidence for the labels, and measure its share."),
    _out("var/runs/DATA-TAXONOMY"),
    *_BATCHES,
)


def benchmark_run_options(name: str) -> Decorator:
    """The options that say which runs a public benchmark of this name has."""
    return collected(RunSelection, "selection", _SYSTEMS, _URL, _CACHE, _out(f"var/runs/{name}"), *_BATCHES)


def data_runs(data: Path, options: DataOptions, selection: RunSelection) -> tuple[list[EvaluationRun], Path]:
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
    context = SystemContext(material.taxonomy, texts, selection.cache, excluded=texts)
    systems = systems_by_folder(selection, context, top)
    if variant is None:
        return systems
    return {
        top / f"{system.spec if folder == top else folder.name}@{variant}": replace(
            system, spec=f"{system.spec}@{variant}", setup={**system.setup, "shown": variant}
        )
        for folder, system in systems.items()
    }


def systems_by_folder(selection: RunSelection, context: SystemContext, top: Path) -> Mapping[Path, System]:
    """The systems by the folders of their runs; a single system without a name uses the top folder."""
    systems = _plain_systems(selection, context, top)
    if not selection.explain:
        return systems
    from marquee.explained import explained

    return {folder: explained(system, context.taxonomy) for folder, system in systems.items()}


def _plain_systems(selection: RunSelection, context: SystemContext, top: Path) -> Mapping[Path, System]:
    from eval.run import folder_name
    from marquee.systems import from_settings, from_spec
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


def named_runs(runs: Sequence[EvaluationRun]) -> dict[str, EvaluationRun]:
    """The runs by their systems; by data set and system where the runs have several data sets."""
    several = len({run.data.data for run in runs}) > 1
    return {f"{run.data.taxonomy.name} {run.system.spec}" if several else run.system.spec: run for run in runs}


def metered(runs: Sequence[EvaluationRun], cap: SpendCap, overwrite: bool) -> list[EvaluationRun]:
    """The runs with a common cap, of which their earlier rows have spent a part."""
    found = [replace(run, meter=run.system.meter(cap, [one.text for one in run.data.examples])) for run in runs]
    for run in [] if overwrite else found:
        run.count_spent()
    return found


def execute(runs: Sequence[EvaluationRun], overwrite: bool) -> dict[str, RunMetrics]:
    """Label the pending texts of the runs, one run after the other; their metrics by name."""
    from eval.shared_vectors import sharing

    with sharing():
        return {name: _execute(run, name, overwrite) for name, run in named_runs(runs).items()}


def check_answered(metrics: Mapping[str, RunMetrics]) -> None:
    """Raise ``ClickException`` if a run has no text with an answer."""
    if failed := [name for name, values in metrics.items() if values["invalid"] == 1]:
        raise click.ClickException(f"not one text was answered by {', '.join(failed)}; the rows say why")


def _execute(run: EvaluationRun, name: str, overwrite: bool) -> RunMetrics:
    if overwrite:
        run.reset()
    pending, total = len(run.pending()), len(run.data.examples)
    if pending < total:
        say(f"{name}: {total - pending} of {total} texts are answered there")
    return run.execute(ProgressLine(f"{name}:", pending).advance)
