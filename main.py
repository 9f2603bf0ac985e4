"""Marquee's front door: one command line; every command stands in a file of its own under ``commands/``.

Heavy imports wait inside the commands, so that ``--help`` answers at once. Who answers is put together in
``service/wiring.py``.
"""

from __future__ import annotations

from typing import Any

import click

from commands import (
    bulk,
    card,
    classify,
    compare,
    corpus,
    distil,
    enrich,
    evaluate,
    evaluate_similar,
    film_map,
    index,
    keys,
    probe,
    reference,
    refit,
    report,
    serve,
    shelf,
    similar,
    split,
    train,
    tune,
)
from prompts.errors import MarqueeError
from similarity.errors import SimilarityError


class FrontDoor(click.Group):
    """A command group that tells expected errors in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (MarqueeError, SimilarityError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=FrontDoor, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Marquee: zero-shot text classification with prompt templates."""


COMMANDS = (
    serve.serve,
    classify.classify,
    keys.keys_group,
    shelf.taxonomies,
    shelf.prompts_group,
    probe.probe,
    tune.calibrate,
    tune.cascade,
    bulk.bulk,
    evaluate.evaluate,
    compare.compare,
    card.data,
    split.split,
    report.report,
    train.train,
    refit.refit,
    enrich.enrich,
    corpus.corpus_command,
    distil.distil,
    index.index,
    similar.similar,
    evaluate_similar.evaluate_similar,
    film_map.film_map,
    reference.reference,
)
for command in COMMANDS:
    main.add_command(command)


if __name__ == "__main__":
    main()
