"""`main.py fit`: a classifier from a few labelled texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from cli.arguments import PATH, OutputPath, command_line, json_option, print_json, print_table, say, tracked
from cli.data import DataOptions, columns_and_labels, report_dropped
from cli.group import examples
from cli.train import DECODING, SEED


@click.command(
    short_help="Fit a classifier to a few labelled texts.",
    epilog=examples(
        "fit tickets.csv --text-field message --labels-field topic",
        "fit tickets.csv --taxonomy tickets.yaml --out var/models/tickets",
        "serve --trained var/models/few-examples-tickets",
    ),
)
@click.argument("table", type=PATH)
@columns_and_labels
@click.option("--out", type=OutputPath(folder=True), help="Folder.  [default: var/models/few-examples-TAXONOMY]")
@click.option("--folds", type=click.IntRange(2), default=5, help="Parts of the cross-validation.")
@DECODING
@SEED
@json_option
def fit(
    table: Path, options: DataOptions, out: Path | None, folds: int, as_json: bool, **how: Any
) -> None:  # fmt: skip
    """Fit a classifier to the labelled texts of TABLE: 8 to 200 per label, no split needed.

    Linear models over frozen vectors and words are fitted in seconds, and combined with the zero-shot answer of the
    embedded classifier. Both are measured by cross-validation, so no figure is of texts that were learned from.
    """
    from eval.baselines import TrainingPlan
    from eval.baselines.fitting import KIND, fit_table
    from eval.datasets import load
    from marquee.evaluation import taxonomy_for
    from marquee.fitting import without_test
    from prompts.files import check_output

    if options.split == "test":
        raise click.UsageError("the test split is for reporting; fit to others")
    name = table.name.partition(".")[0]
    taxonomy = options.taxonomy or replace(taxonomy_for(None, table, options.fields), name=name)
    folder = check_output(out or Path("var/models") / f"{KIND}-{taxonomy.name}", folder=True)
    loaded = without_test(load(table, taxonomy, options.fields, options.split, **options.as_arguments()))
    report_dropped(loaded)
    plan = TrainingPlan(KIND, {"folds": folds}, **how, data=table.name, command=command_line())
    fitted = fit_table(plan, loaded.taxonomy, loaded.examples, tracked)
    fitted.save(folder)
    for warning in fitted.warnings:
        say(f"warning: {warning}")
    manifest, (head, *rows) = fitted.classifier.manifest, fitted.rows
    if as_json:
        figures = {key: manifest[key] for key in ("cross_validation", "seconds")}
        print_json({"folder": folder, "texts": len(loaded.examples), **figures, "warnings": fitted.warnings})
    else:
        print_table(head, rows)
    size = f"{len(loaded.examples):,} texts, {len(taxonomy.names)} labels, {manifest['seconds']} s; 95% intervals"
    say(f"{size}; saved in {folder}; serve it with `main.py serve --trained {folder}`")
