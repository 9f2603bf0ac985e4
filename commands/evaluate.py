"""`main.py evaluate`: a classifier over labelled examples, and how good it was."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.data import data_options, loaded_of

if TYPE_CHECKING:
    pass


@click.command()
@data_options()
@click.option("--url", help="Ask the service running there instead of a classifier in this process.")
@click.option("--cache/--no-cache", default=True, help="Whether remembered answers will do.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for rows.jsonl and metrics.json.")
def evaluate(data: Path, taxonomy: str | None, url: str | None, cache: bool, out: Path | None, **choice: Any) -> None:
    """Label the examples of a file and measure how well."""
    from eval.run import record, summarise
    from prompts import shelf
    from service.client import Client
    from service.parts import Choice
    from service.settings import read_settings
    from service.wiring import build

    if url and choice["min_label_count"]:
        raise click.UsageError("a service knows whole vocabularies only; leave --min-label-count or --url out")
    settings = read_settings()
    vocabulary = shelf.taxonomy(taxonomy or settings.taxonomy)
    loaded = loaded_of(data, vocabulary, **choice)
    examples, vocabulary = loaded.examples, loaded.taxonomy
    classifier = Client(url, cache) if url else build(settings).classifier_for(Choice(cache=cache))
    folder = out or Path("var/runs") / f"{data.name.partition('.')[0]}-{vocabulary.name}"
    with click.progressbar(length=len(examples), label=classifier.name, file=sys.stderr) as bar:
        rows = record(classifier, examples, vocabulary, folder, told=lambda: bar.update(1))
    for name, value in summarise(rows, vocabulary, folder).items():
        click.echo(f"{name:16} {value:8.3f}" if isinstance(value, float) else f"{name:16} {value:8}")
    click.echo(f"rows and metrics: {folder}", err=True)
