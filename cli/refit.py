"""`main.py refit`: a finished training learnt again, its validation texts with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.data import data_options, loaded_of, with_more_texts
from cli.output import OutputPath
from cli.train import COLUMNS, refuse_test, tracked, typed


@click.command(short_help="Train again on training and validation texts.")
@click.argument("folder", type=click.Path(path_type=Path))
@data_options(split="train")
@click.option("--more-texts", type=click.Path(path_type=Path),
              help="The other table whose texts it, or a part of it, learnt.")  # fmt: skip
@click.option("--validation-split", default="validation", show_default=True, help="Rows that it was chosen by.")
@click.option("--out", required=True, type=OutputPath(folder=True), help="Folder to write to.")
def refit(
    folder: Path, data: Path, out: Path, taxonomy: str | None, split: str, validation_split: str,
    more_texts: Path | None, **rest: Any,
) -> None:  # fmt: skip
    """Retrain the model in FOLDER on its training and validation texts together.

    Choices made on the validation texts (settings, epochs, thresholds, ensemble weights) are kept. Give the data as it
    was given to `train`.
    """
    from eval.baselines.data import Split
    from eval.baselines.training import Refit
    from marquee.settings import read_settings
    from prompts import registry

    refuse_test(split, validation_split)
    vocabulary = registry.taxonomy_at(taxonomy or read_settings().taxonomy)
    columns = {key: rest.pop(key) for key in COLUMNS}
    training, validation = (loaded_of(data, vocabulary, split=one, **columns) for one in (split, validation_split))
    trainings = [training]
    if more_texts:
        trainings.append(with_more_texts(training, data, more_texts, vocabulary, **columns))
    sides = [Split.of(one.examples, training.taxonomy) for one in (*trainings, validation)]
    made = Refit(training.taxonomy, sides[:-1], sides[-1], typed(), track=tracked).run(folder, out).manifest
    click.echo(f"learnt from {made['data']['train']['rows']:,} texts; saved in {out}", err=True)
