"""`main.py compare` and `main.py report`: finished evaluation runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.arguments import PATH, json_option, print_json
from cli.data import DataOptions
from cli.group import examples
from cli.names import taxonomy_option

if TYPE_CHECKING:
    from eval.compare import Comparison, Difference
    from prompts.taxonomy import Taxonomy


@click.command(
    short_help="Compare two evaluation runs.",
    epilog=examples("compare var/runs/old var/runs/new", "compare var/runs/old var/runs/new --gate 0.01 --json"),
)
@click.argument("run_a", type=PATH)
@click.argument("run_b", type=PATH)
@click.option("--common", is_flag=True, help="Compare only the texts that both runs have.")
@click.option("--gate", "margin", type=float, help="Exit with 1 if B is significantly worse than A by more than this.")
@json_option
def compare(run_a: Path, run_b: Path, common: bool, margin: float | None, as_json: bool) -> None:
    """Compare the folders of two evaluation runs: RUN_A, the baseline, and RUN_B, the candidate."""
    from eval.compare import compare as compare_runs
    from eval.compare import gate
    from eval.results import RunResults

    gated = None if margin is None else gate(run_a, run_b, margin, common)
    result = compare_runs(RunResults.read(run_a), RunResults.read(run_b), common)
    if as_json:
        print_json(result.as_json() | ({"gate": asdict(gated)} if gated else {}))
    else:
        print_comparison(result)
        if gated:
            click.echo(gated.summary)
    if gated and not gated.passed:
        raise SystemExit(1)


def print_comparison(result: Comparison) -> None:
    """Print the differences between two runs, and the verdict."""
    a, b = result.pair.a, result.pair.b
    click.echo(f"A  {a.system}  ({a.folder})\nB  {b.system}  ({b.folder})")
    print_differences(result)


def print_differences(result: Comparison) -> None:
    """Print them without the folders of the runs, which may be temporary."""
    from eval.significance import RESAMPLES, SWAPS

    a = result.pair.a
    click.echo(f"{len(a):,} texts in {len(set(a.groups)):,} groups", nl=False)
    click.echo(f"; 95% interval of {RESAMPLES:,} paired resamples; p of {SWAPS:,} swaps, Holm-corrected\n")
    for note in result.pair.notes:
        click.echo(f"note: {note}\n")
    click.echo(f"{'metric':16} {'A':>6} {'B':>6} {'B - A':>7}  {'95% interval':18}  p")
    for difference in result.differences:
        click.echo(_line(difference))
    click.echo(f"\n{result.verdict}")


def _line(row: Difference) -> str:
    interval = f"[{row.low:+z.3f}, {row.high:+z.3f}]"
    p = "" if row.p is None else "<0.001" if row.p < 0.001 else f"{row.p:.3f}"
    return f"{row.metric:16} {row.a:6.3f} {row.b:6.3f} {row.difference:+z7.3f}  {interval:18}  {p}".rstrip()


@click.command(
    short_help="Write the report of an evaluation, or of many runs.",
    epilog=examples("report var/runs/films", "report var/runs/films --data films.jsonl", "report var/runs"),
)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--data", type=PATH, help="The data set, to show excerpts of its texts.")
@taxonomy_option
@click.option("--text-field", help="Column of the text.  [default: the format's own]")
@click.option("--labels-field", help="Column of the labels.  [default: the format's own]")
@json_option
def report(
    folder: Path, data: Path | None, taxonomy: Taxonomy, text_field: str | None, labels_field: str | None, as_json: bool
) -> None:
    """Write report.html and report.md into the FOLDER of an evaluation.

    Without --data the report has no texts, so that it can be shared where the texts cannot.

    A FOLDER of several evaluations gets one page over all runs: a table of them, and the trend of each metric by data
    set. The FOLDER of a suite gets one table over its families.
    """
    from eval.report import dashboard, read, suite, suite_results, write
    from prompts.files import check_output

    check_output(folder, folder=True)
    if suite_results.is_suite(folder):
        if data:
            raise click.UsageError(f"--data is for the report of one evaluation; {folder} is a suite")
        return _print_files(suite.write(suite_results.read(folder)), as_json)
    if not dashboard.of_one_evaluation(folder):
        if data:
            raise click.UsageError(f"--data is for the report of one evaluation; {folder} has several")
        return _print_files(dashboard.write(folder), as_json)
    texts = None
    if data:
        loaded = DataOptions(taxonomy, text_field=text_field, labels_field=labels_field).load(data)
        texts = {example.id: example.text.body for example in loaded.examples}
    return _print_files(write(read(folder), texts), as_json)


def _print_files(files: Sequence[Path], as_json: bool) -> None:
    if as_json:
        return print_json({"files": files})
    for path in files:
        click.echo(path)
    return None
