"""The runs that an evaluation asks for: which systems, over which texts, shown how, in which folders."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.data import loaded_of

if TYPE_CHECKING:
    from eval.datasets import LoadedDataset
    from eval.manifest import EvaluationData
    from eval.run import EvaluationRun, System


def runs_of(
    data: Path, taxonomy: str | None, systems: str | None, url: str | None, cache: bool, out: Path | None,
    alone: int, batch: int, shown: str | None, **choice: Any,
) -> tuple[list[EvaluationRun], Path]:  # fmt: skip
    """What is to be run, and the folder of it all; what is wrong is told before anything is asked."""
    from eval.run import EvaluationRun, RunOptions
    from marquee.settings import read_settings
    from prompts import registry
    from prompts.files import check_output
    from prompts.network import without_login

    vocabulary = registry.taxonomy_at(taxonomy or read_settings().taxonomy)
    if choice["min_label_count"] and (url or "service:" in (systems or "")):
        raise click.UsageError("a service knows whole taxonomies only; leave --min-label-count or the service out")
    top = check_output(out or Path("var/runs") / f"{data.name.partition('.')[0]}-{vocabulary.name}", folder=True)
    loaded = loaded_of(data, vocabulary, **choice)
    command = without_login(shlex.join(["main.py", *sys.argv[1:]]))
    asking = RunOptions(alone, batch)
    return [
        EvaluationRun(system, material, folder, asking, command, lambda words: click.echo(words, err=True))
        for way in _ways(shown)
        for material in [_material(data, loaded, way, choice["split"], choice["limit"])]
        for folder, system in _shown_systems(way, systems, url, material, cache, top).items()
    ], top


def _ways(shown: str | None) -> list[str | None]:
    return [way.strip() for way in shown.split(",") if way.strip()] if shown else [None]


def _material(data: Path, loaded: LoadedDataset, way: str | None, split: str, limit: int | None) -> EvaluationData:
    from eval.input_variants import input_variant
    from eval.manifest import EvaluationData

    examples = input_variant(loaded.examples, way) if way else loaded.examples
    return EvaluationData(data, split, limit, loaded.taxonomy, examples)


def _shown_systems(
    way: str | None, systems: str | None, url: str | None, material: EvaluationData, cache: bool, top: Path
) -> dict[Path, System]:
    """The systems by the folders of their runs, which tell the way the texts are shown in."""
    from dataclasses import replace

    from marquee.systems import SystemContext

    setting = SystemContext(material.taxonomy, [example.text for example in material.examples], cache)
    found = _systems(systems, url, setting, top)
    if way is None:
        return dict(found)
    return {
        top / f"{system.spec if folder == top else folder.name}@{way}": replace(
            system, spec=f"{system.spec}@{way}", setup={**system.setup, "shown": way}
        )
        for folder, system in found.items()
    }


def _systems(systems: str | None, url: str | None, setting: Any, top: Path) -> Mapping[Path, System]:
    """The systems by the folders of their runs; a single one that has no name here has the whole folder."""
    from marquee.systems import configured, folder_name, named
    from prompts.errors import InvalidSetting

    if systems and url:
        raise click.UsageError("--url is one system; write it as --systems service:URL beside others")
    if not systems:
        return {top: named(f"service:{url}", setting) if url else configured(setting)}
    specs = [spec.strip() for spec in systems.split(",") if spec.strip()]
    found = {top / folder_name(spec): named(spec, setting) for spec in specs}
    if len(found) < len(specs):
        raise InvalidSetting(f"--systems {systems}: two of them would share a folder; give each once")
    return found
