"""`main.py evaluate`: a classifier over labelled examples, and how good it was."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.data import examples_of

if TYPE_CHECKING:
    pass


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Examples: .jsonl or .jsonl.gz.")
@click.option("--taxonomy", help="Vocabulary of the labels.  [default: the settings']")
@click.option("--split", help="Rows of this split only.")
@click.option("--limit", type=click.IntRange(1), help="At most so many examples, always the same ones.")
@click.option("--text-field", default="description", show_default=True, help="Column of the text.")
@click.option("--title-field", help="Column of a title to give beside the text.")
@click.option("--labels-field", default="genres", show_default=True, help="Column of the labels: a list or one name.")
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

    settings = read_settings()
    vocabulary = shelf.taxonomy(taxonomy or settings.taxonomy)
    examples = examples_of(data, vocabulary, **choice)
    classifier = Client(url, cache) if url else build(settings).classifier_for(Choice(cache=cache))
    folder = out or Path("var/runs") / f"{data.name.partition('.')[0]}-{vocabulary.name}"
    with click.progressbar(length=len(examples), label=classifier.name, file=sys.stderr) as bar:
        rows = record(classifier, examples, vocabulary, folder, told=lambda: bar.update(1))
    for name, value in summarise(rows, vocabulary, folder).items():
        click.echo(f"{name:16} {value:8.3f}" if isinstance(value, float) else f"{name:16} {value:8}")
    click.echo(f"rows and metrics: {folder}", err=True)
