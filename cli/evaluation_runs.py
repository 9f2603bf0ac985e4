"""The runs of `main.py evaluate`: options, input variants, and the systems with their folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.arguments import OutputPath, collected, command_line, say
from cli.data import DataOptions
from cli.names import SYSTEMS_HELP, complete_systems

if TYPE_CHECKING:
    from eval.datasets import LoadedDataset
    from eval.manifest import EvaluationData
    from eval.run import EvaluationRun, System
    from marquee.systems import SystemContext


@dataclass(frozen=True)
class RunSelection:
    """The options that say which runs an evaluation has."""

    systems: str | None
    shown: str | None
    url: str | None
    cache: bool
    explain: bool
    out: Path | None
    alone: int
    batch: int


run_options = collected(
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
    click.option("--explain", is_flag=True, help="Find the evidence for the labels, and measure its share."),
    click.option(
        "--out", type=OutputPath(folder=True), help="Folder of runs and report.  [default: var/runs/DATA-TAXONOMY]"
    ),
    click.option("--alone", type=click.IntRange(0), default=50, help="Texts to send one by one, for latency."),
    click.option("--batch", type=click.IntRange(1), default=32, help="Batch size for the others."),
)


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


def named_runs(runs: Sequence[EvaluationRun]) -> dict[str, EvaluationRun]:
    """The runs by their systems; by data set and system where the runs have several data sets."""
    several = len({run.data.data for run in runs}) > 1
    return {f"{run.data.taxonomy.name} {run.system.spec}" if several else run.system.spec: run for run in runs}
