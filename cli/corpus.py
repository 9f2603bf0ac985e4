"""`main.py corpus`: from raw files to an annotated corpus, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from corpus.pipeline import Ran


@click.command("corpus", short_help="Build a corpus from raw film files.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--only", metavar="STEP", help="Run this step alone: merge, clean, enrich, explore or annotate.")
@click.option("--status", is_flag=True, help="Say which steps are stale and why; run nothing.")
def corpus_command(config: Path, only: str | None, status: bool) -> None:
    """Make the corpus of CONFIG: merge, clean, enrich, explore, annotate. Only what is stale is made again."""
    from cli.enrich import progress
    from corpus.config import StepContext, read_config
    from corpus.pipeline import run, stale
    from marquee.settings import read_settings
    from prompts.files import check_output
    from service.title_lookup import lookup_of

    work = StepContext(read_config(config), lookup_of(read_settings()), progress())
    if status:
        for name, why in stale(work).items():
            click.echo(f"{name:10} {f'stale: {why}' if why else 'fresh'}")
        return
    check_output(work.config.out, folder=True)
    for step in run(work, only, lambda name, why: click.echo(f"{name}: {why} ...", err=True)):
        _tell(step)
    click.echo(f"corpus: {work.config.out}", err=True)


def _tell(step: Ran) -> None:
    click.echo(f"{step.name}: {f'{step.made.seconds:,.1f} s' if step.why else 'fresh'}")
    for what, count in step.made.counts.items():
        click.echo(f"{count:10,}  {what}")
    if step.made.unfinished:
        click.echo(f"{step.name}: {step.made.unfinished:,} rows had no answer; the same command asks again", err=True)
