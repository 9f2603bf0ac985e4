"""The entry point: the command line. The commands are in ``cli/``; ``marquee/factory.py`` builds classifiers.

Heavy imports are inside the commands, so that ``--help`` is fast.
"""

from __future__ import annotations

import click

from cli import bulk, classify, compare, distil, evaluate, inventory, prepare, serve, similar, train
from cli.group import CommandGroup
from marquee import __version__


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="marquee", message="%(prog)s %(version)s")
def main() -> None:
    """Marquee: zero-shot text classification with prompt templates."""


main.add_section("Label texts", classify.classify, bulk.bulk, inventory.taxonomies, inventory.prompts_group)
main.add_section("Run the service", serve.serve, serve.keys_group, inventory.probe)
main.add_section("Find similar films", similar.similar, similar.index, similar.film_map)
main.add_section("Prepare data", prepare.data, prepare.split, prepare.enrich, prepare.corpus_command)
main.add_section("Evaluate", evaluate.evaluate, similar.evaluate_similar, compare.compare, compare.report)
main.add_section("Train and tune", train.train, train.refit, distil.distil, train.calibrate, train.cascade)
main.add_section("Maintain the project", inventory.reference)


if __name__ == "__main__":
    main()
