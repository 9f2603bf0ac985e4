"""Seconds of `main.py evaluate` with several trained systems, also of another checkout: the same command, in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import click

from benchmarks.cold_start import ROOT, Contender
from benchmarks.measure import COMMAND, cpu_path, ratios, spread, table, target, target_table

_MOST_OF_OTHER = 0.5  # of the other checkout's seconds


@click.command(context_settings=COMMAND)
@click.option(
    "--data", type=click.Path(exists=True, path_type=Path), required=True, help="Labelled texts, with splits."
)
@click.option("--split", default="test", show_default=True, help="Split to label.")
@click.option("--taxonomy", default="tmdb", show_default=True, help="Taxonomy of the models.")
@click.option("--limit", type=click.IntRange(1), help="Maximum number of texts.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Runs of each checkout.")
@click.option(
    "--other", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Another checkout to compare with."
)
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(
    data: Path, split: str, taxonomy: str, limit: int | None, rounds: int, other: Path | None, models: Sequence[Path]
) -> None:
    """Time an evaluation by MODELS, the folders of `main.py train`, as one process per round."""
    systems = ",".join(f"{model.name}:{model.resolve()}" for model in models)
    settings = ("--data", str(data.resolve()), "--split", split, "--taxonomy", taxonomy, "--systems", systems)
    with tempfile.TemporaryDirectory() as folder:
        out = ("--overwrite", "--out", f"{folder}/runs", *(("--limit", str(limit)) if limit else ()))
        contenders = [
            Contender(name, root, ("evaluate", *settings, *out))
            for name, root in (("this checkout", ROOT), ("the other checkout", other))
            if root
        ]
        for number in range(rounds):
            click.echo(f"round {number + 1} of {rounds} ...", err=True)
            for one in contenders:
                one.run(Path(folder))
    click.echo(report(contenders, [model.name for model in models]))


def report(contenders: Sequence[Contender], systems: Sequence[str]) -> str:
    """Markdown: a row per checkout, then the target."""
    rows = [[one.name, spread(one.wall, 1), spread(one.processor, 1)] for one in contenders]
    parts = [
        f"`evaluate` with {', '.join(systems)}. {cpu_path()}",
        table(["checkout", "seconds", "processor seconds"], rows),
    ]
    if len(contenders) > 1:
        first, last = contenders
        share = [
            target(f"{unit} of the other checkout's", median(ratios(mine, theirs)), _MOST_OF_OTHER, most=True)
            for unit, mine, theirs in (
                ("seconds", first.wall, last.wall),
                ("processor seconds", first.processor, last.processor),
            )
        ]
        parts.append(target_table(share))
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
