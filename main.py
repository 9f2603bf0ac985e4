"""The entry point: the command line. The commands are in ``cli/``; ``marquee/factory.py`` builds classifiers.

Heavy imports are inside the commands, so that ``--help`` is fast.
"""

from __future__ import annotations

import click

from cli import (
    benchmark,
    bulk,
    cascade,
    classify,
    compare,
    distil,
    drift,
    evaluate,
    evaluate_similar,
    feedback,
    fit,
    inventory,
    keys,
    learn,
    mcp,
    prepare,
    review,
    serve,
    similar,
    taxonomies,
    train,
    tune,
)
from cli.group import CommandGroup, examples
from marquee import __version__


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    epilog=examples(
        'classify "A smith forges a magic sword."',
        "serve",
        "evaluate --data reviews.csv --taxonomy sentiment",
        "COMMAND --help",
    ),
)
@click.version_option(__version__, prog_name="marquee", message="%(prog)s %(version)s")
def main() -> None:
    """Marquee labels texts by your own labels, without training.

    The embedded classifier answers on a CPU, offline. A language model answers where an endpoint is set.
    """


main.add_section(
    "Use", classify.classify, bulk.bulk, similar.similar, taxonomies.taxonomies_group, inventory.prompts_group
)
main.add_section(
    "Evaluate",
    evaluate.evaluate,
    compare.compare,
    compare.report,
    benchmark.benchmark,
    evaluate_similar.evaluate_similar,
)
main.add_section(
    "Train",
    train.train,
    fit.fit,
    tune.refit,
    distil.distil,
    tune.calibrate,
    cascade.cascade,
    tune.fusion,
    review.review_group,
    learn.learn,
)
main.add_section(
    "Operate",
    serve.serve,
    mcp.mcp_command,
    keys.keys_group,
    feedback.feedback_group,
    drift.drift,
    inventory.probe,
    inventory.reference,
)
main.add_section(
    "Data", prepare.data, prepare.split, prepare.enrich, prepare.corpus_command, similar.index, similar.film_map
)


if __name__ == "__main__":
    main()
