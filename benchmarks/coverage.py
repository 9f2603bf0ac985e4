"""Prediction sets of the embedded classifier: calibrated on validation texts, measured on test texts.

``FOLDER`` has families of texts as ``main.py evaluate --suite`` reads them::

    python -m benchmarks.coverage --data FOLDER
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import click

from benchmarks.measure import COMMAND, table
from eval.coverage import MeasuredCoverage, calibrate_sets, measure_coverage
from eval.datasets.families import SuiteFamily, families
from llm.calibration.prediction_sets import SetRule
from llm.classifier import Classifier
from marquee.loaded_models import embedded

FAMILIES = ("agnews", "trec", "goemotions", "reuters21578")
_HEADER = (
    "family", "texts", "coverage", "lowest by chance", "labels per set", "abstains", "right", "right if not abstaining",
)  # fmt: skip


@click.command(context_settings=COMMAND)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of families.")
@click.option("--family", "names", multiple=True, default=FAMILIES, show_default=True, help="Family; repeat it.")
@click.option("--coverage", default=0.9, show_default=True, help="Probability that a right label is in the set.")
@click.option("--calibrate-on", default="validation", show_default=True, help="Split of the calibration texts.")
@click.option("--split", default="test", show_default=True, help="Split to measure on.")
def main(data: Path, names: Sequence[str], coverage: float, calibrate_on: str, split: str) -> None:
    """Calibrate sets on one split of each family and measure their coverage on another."""
    classifier = embedded()
    rows = [measured(classifier, one, coverage, calibrate_on, split) for one in families(data, names)]
    click.echo(f"{classifier.name}, coverage {coverage:g}, from split {calibrate_on} on split {split}\n")
    click.echo(table(_HEADER, rows))


def measured(
    classifier: Classifier, family: SuiteFamily, coverage: float, calibrate_on: str, split: str
) -> tuple[str, ...]:
    """The row of a family."""
    calibration, test = family.load(calibrate_on).dataset, family.load(split).dataset
    (rule,) = calibrate_sets(classifier, calibration.taxonomy, calibration.examples, coverage).rules.values()
    answers = classifier.classify([one.text for one in test.examples], calibration.taxonomy)
    found = measure_coverage([rule.added(one) for one in answers], test.examples, rule)
    kept = "" if found.kept_accuracy is None else f"{found.kept_accuracy:.3f}"
    return (
        f"{family.name}, {_kind(rule)}", f"{found.texts:,}", *_shares(found), f"{found.size:.2f}",
        f"{found.abstained:.1%}", f"{found.accuracy:.3f}", kept,
    )  # fmt: skip


def _kind(rule: SetRule) -> str:
    if not rule.multi:
        return f"one of {len(rule.labels)}"
    return f"several of {len(rule.labels)}, {len(rule.pooled)} rare"


def _shares(found: MeasuredCoverage) -> tuple[str, str]:
    """The coverage and the least that chance explains; of several labels, the mean and the labels below."""
    if not found.labels:
        return f"{found.overall.share:.3f}", f"{found.overall.lowest / found.overall.count:.3f}"
    low = sum(one.is_low for one in found.labels.values())
    return f"{mean(one.share for one in found.labels.values()):.3f}", f"{low} of {len(found.labels)} labels below"


if __name__ == "__main__":
    main()
