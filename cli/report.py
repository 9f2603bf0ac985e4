"""`main.py report`: the folders of an evaluation as one HTML file and its Markdown twin."""

from __future__ import annotations

from pathlib import Path

import click

from cli.data import examples_of


@click.command(short_help="Write the report of an evaluation run.")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--data", type=click.Path(path_type=Path), help="Examples: shows excerpts of their texts.")
@click.option("--taxonomy", help="Vocabulary of the labels of --data.  [default: the settings']")
@click.option("--text-field", help="Column of the text.  [default: the format's own]")
@click.option("--labels-field", help="Column of the labels.  [default: the format's own]")
def report(
    folder: Path, data: Path | None, taxonomy: str | None, text_field: str | None, labels_field: str | None
) -> None:
    """Write report.html and report.md into the FOLDER of an evaluation.

    Without --data no text enters the files, so that they may be shared where the texts may not.
    """
    from eval.report import read, write
    from prompts.files import check_output

    check_output(folder, folder=True)
    texts = _texts(data, taxonomy, text_field, labels_field) if data else None
    evaluation = read(folder)
    for path in write(evaluation, texts, evaluation.intervals()):
        click.echo(path)


def _texts(data: Path, taxonomy: str | None, text_field: str | None, labels_field: str | None) -> dict[str, str]:
    """Texts by the id of their example."""
    from marquee.settings import read_settings
    from prompts import registry

    vocabulary = registry.taxonomy_at(taxonomy or read_settings().taxonomy)
    examples = examples_of(data, vocabulary, text_field=text_field, labels_field=labels_field)
    return {example.id: example.text.body for example in examples}
