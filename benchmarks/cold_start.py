"""Seconds of `main.py classify` from a cold process, also against another checkout: the same command, in turns."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import click

from benchmarks.measure import COMMAND, cpu_path, ratios, spread, table, target, target_table

ROOT = Path(__file__).parent.parent
PLOT = "A young smith forges a magic sword to free her kingdom from a dragon."
_MOST_SECONDS = 1.5


@dataclass(frozen=True)
class Contender:
    """A command line of a checkout, and the times of its rounds.

    Attributes:
        name: of the row.
        root: the checkout.
        arguments: of `main.py`.
        settings: environment variables.
        wall: seconds from start to exit.
        processor: seconds of all cores, user and system.
    """

    name: str
    root: Path
    arguments: Sequence[str]
    settings: Mapping[str, str] = field(default_factory=dict)
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def run(self, folder: Path, counted: bool = True) -> None:
        """Run it once; ``folder`` keeps compiled modules and vectors of labels, as a user's own folders do."""
        own = folder / str(self.root.resolve()).strip("/").replace("/", "-")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MARQUEE_", "PYTHONDONT"))}
        environment = {
            **kept, "PYTHONPYCACHEPREFIX": str(own / "modules"), "XDG_CACHE_HOME": str(own / "cache"), **self.settings,
        }  # fmt: skip
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "main.py", *self.arguments], cwd=self.root, env=environment, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            command = " ".join(self.arguments)
            raise click.ClickException(f"{self.root}: `main.py {command}` ended with status {process.returncode}")
        if counted:
            self.wall.append(wall)
            self.processor.append(usage.ru_utime + usage.ru_stime)


@click.command(context_settings=COMMAND)
@click.option("--rounds", type=click.IntRange(1), default=9, show_default=True, help="Runs of each command.")
@click.option(
    "--other", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Another checkout to compare with."
)
def main(rounds: int, other: Path | None) -> None:
    """Time `main.py classify TEXT` as a process of its own, round by round; a first run of each is not counted."""
    contenders = commands(other)
    with tempfile.TemporaryDirectory() as folder:
        for one in contenders:
            one.run(Path(folder), counted=False)
        for _ in range(rounds):
            for one in contenders:
                one.run(Path(folder))
    click.echo(report(contenders))


def commands(other: Path | None) -> list[Contender]:
    """The commands to time: the target first, and last that of the other checkout."""
    classify = ("classify", PLOT)
    found = [
        Contender("`classify TEXT`", ROOT, classify),
        Contender("`classify TEXT`, vectors of labels not kept", ROOT, classify, {"MARQUEE_LABEL_CACHE": "false"}),
        Contender("`classify TEXT --labels …`", ROOT, (*classify, "--labels", "fairy tale,news,law")),
        Contender("`--help`", ROOT, ("--help",)),
    ]
    return [*found, Contender("`classify TEXT` of the other checkout", other, classify)] if other else found


def report(contenders: Sequence[Contender]) -> str:
    """Markdown: a row per command, then the target."""
    first = contenders[0]
    relative = [median(ratios(one.processor, first.processor)) for one in contenders]
    rows = [
        [one.name, spread(one.wall, 2), spread(one.processor, 2), f"{ratio:.2f}"]
        for one, ratio in zip(contenders, relative, strict=True)
    ]
    heads = ["command", "seconds", "processor seconds", "processor, relative to the first"]
    reached = target("`classify TEXT` from a cold process", median(first.wall), _MOST_SECONDS, "s", most=True)
    return "\n\n".join([cpu_path(), table(heads, rows), target_table([reached])])


if __name__ == "__main__":
    main()
