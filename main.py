"""The entry point: one command line; each command is a file under ``cli/``.

Heavy imports wait inside the commands, so that ``--help`` answers at once. ``marquee/factory.py`` builds classifiers.
"""

from __future__ import annotations

import click

from cli import (
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
    registry,
    report,
    serve,
    similar,
    split,
    train,
    tune,
)
from cli.group import CommandGroup
from marquee.version import __version__


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="marquee", message="%(prog)s %(version)s")
def main() -> None:
    """Marquee: zero-shot text classification with prompt templates."""


main.add_section("Label texts", classify.classify, bulk.bulk, registry.taxonomies, registry.prompts_group)
main.add_section("Run the service", serve.serve, keys.keys_group, probe.probe)
main.add_section("Find similar films", similar.similar, index.index, film_map.film_map)
main.add_section("Prepare data", card.data, split.split, enrich.enrich, corpus.corpus_command)
main.add_section("Evaluate", evaluate.evaluate, evaluate_similar.evaluate_similar, compare.compare, report.report)
main.add_section("Train and tune", train.train, refit.refit, distil.distil, tune.calibrate, tune.cascade)
main.add_section("Maintain the project", reference.reference)


if __name__ == "__main__":
    main()
