"""`main.py compare`: two runs over the same texts, which is better, and whether the difference is significant."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from eval.compare import Comparison, Difference


@click.command(short_help="Compare two evaluation runs.")
@click.argument("run_a", type=click.Path(path_type=Path))
@click.argument("run_b", type=click.Path(path_type=Path))
@click.option("--common", is_flag=True, help="Compare over the texts that both runs have, where they differ.")
@click.option(
    "--gate", "margin", type=float, help="Exit with 1 where B is worse than A by more than this, beyond chance."
)
@click.option("--json", "as_json", is_flag=True, help="The outcome as one JSON object.")
def compare(run_a: Path, run_b: Path, common: bool, margin: float | None, as_json: bool) -> None:
    """Compare two runs of evaluate: RUN_A, the old or first, and RUN_B, the new or second, are their folders."""
    from eval.compare import compare as compare_runs
    from eval.compare import gate
    from eval.results import RunResults

    gated = None if margin is None else gate(run_a, run_b, margin, common)
    found = compare_runs(RunResults.read(run_a), RunResults.read(run_b), common)
    if as_json:
        click.echo(json.dumps(found.as_json() | ({"gate": asdict(gated)} if gated else {}), indent=2))
    else:
        _print(found)
        if gated:
            click.echo(gated.summary)
    if gated and not gated.passed:
        raise SystemExit(1)


def _print(found: Comparison) -> None:
    from eval.metrics.significance import RESAMPLES, SWAPS

    a, b = found.pair.a, found.pair.b
    click.echo(f"A  {a.system}  ({a.folder})\nB  {b.system}  ({b.folder})")
    click.echo(f"{len(a):,} texts in {len(set(a.groups)):,} groups", nl=False)
    click.echo(f"; 95% interval of {RESAMPLES:,} paired resamples; p of {SWAPS:,} swaps, Holm-corrected\n")
    for note in found.pair.notes:
        click.echo(f"note: {note}\n")
    click.echo(f"{'metric':16} {'A':>6} {'B':>6} {'B - A':>7}  {'95% interval':18}  p")
    for one in found.differences:
        click.echo(_line(one))
    click.echo(f"\n{found.verdict}")


def _line(one: Difference) -> str:
    interval = f"[{one.low:+z.3f}, {one.high:+z.3f}]"
    p = "" if one.p is None else "<0.001" if one.p < 0.001 else f"{one.p:.3f}"
    return f"{one.metric:16} {one.a:6.3f} {one.b:6.3f} {one.difference:+z7.3f}  {interval:18}  {p}".rstrip()
