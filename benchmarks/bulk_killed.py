"""Kills a bulk run several times, resumes it, and compares its output with that of an undisturbed run."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from statistics import median

import click

from benchmarks.measure import COMMAND, SAMPLE, cpu_path, spread, table, target, target_table

_POLL_SECONDS = 0.2


@click.command(context_settings=COMMAND)
@click.option("--data", type=click.Path(path_type=Path), default=SAMPLE, help="Rows to label.  [default: the sample]")
@click.option("--kills", type=click.IntRange(1), default=3, show_default=True, help="Number of kills.")
@click.option("--seed", default=0, show_default=True, help="Seed of the times of the kills.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for both outputs.  [default: not kept]")
@click.argument("arguments", nargs=-1)
def main(data: Path, kills: int, seed: int, out: Path | None, arguments: Sequence[str]) -> None:
    """Label rows undisturbed, and again with kills by SIGKILL; ARGUMENTS go to `main.py bulk`.

    Prints texts per second, the number of different rows, and the cost of a kill as a share of the run.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = out or Path(folder)
        outputs.mkdir(parents=True, exist_ok=True)
        expected, resumed = outputs / "undisturbed.jsonl", outputs / "killed.jsonl"
        start = time.perf_counter()
        _start(data, expected, arguments).wait()
        undisturbed = time.perf_counter() - start
        rows, texts = _counts(expected)
        seconds, killings = killed(data, resumed, arguments, kills, texts, seed)
        with expected.open("rb") as rows_expected, resumed.open("rb") as rows_resumed:
            different = sum(row != other for row, other in zip_longest(rows_expected, rows_resumed))
        click.echo(report(rows, texts, undisturbed, seconds, killings, different))
    sys.exit(bool(different))


@dataclass(frozen=True)
class Kill:
    """A kill after so many answered texts.

    ``lost`` counts the seconds until the resumed run answers another batch: start, repeated input, interrupted batch.
    """

    at: int
    lost: float


def killed(
    data: Path, out: Path, arguments: Sequence[str], kills: int, texts: int, seed: int
) -> tuple[float, list[Kill]]:
    """Return the seconds of all processes together, and the cost of each kill."""
    rng = random.Random(seed)
    marks = sorted(rng.randrange(texts // 20, max(texts // 20 + 1, texts * 19 // 20)) for _ in range(kills))
    start, killings = time.perf_counter(), list[Kill]()
    running = _start(data, out, arguments)
    for mark in marks:
        if (done := _reached(running, out, mark)) is None:
            break
        running.send_signal(signal.SIGKILL)
        running.wait()
        ended = time.perf_counter()
        running = _start(data, out, arguments)
        _reached(running, out, done + 1)
        killings.append(Kill(done, time.perf_counter() - ended))
    running.wait()
    return time.perf_counter() - start, killings


def _reached(running: subprocess.Popen[bytes], out: Path, mark: int) -> int | None:
    """Wait for ``mark`` answered texts and return their number; None if the run ends first."""
    while running.poll() is None:
        if (done := _answered(out)) >= mark:
            return done
        time.sleep(_POLL_SECONDS)
    return None


def _start(data: Path, out: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "main.py", "bulk", data, "--out", out, *arguments])


def _answered(out: Path) -> int:
    """Return the number of answered texts."""
    path = out.with_name(f"{out.name}.parts") / "answers.sqlite"
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as store:
            return int(store.execute("SELECT coalesce(max(number), 0) FROM answers").fetchone()[0])
    except sqlite3.Error:
        return 0  # not created yet


def _counts(out: Path) -> tuple[int, int]:
    counts = json.loads(out.with_name(f"{out.name}.manifest.json").read_text(encoding="utf-8"))["counts"]
    return int(counts["rows"]), int(counts["texts"])


def report(rows: int, texts: int, undisturbed: float, seconds: float, killings: Sequence[Kill], different: int) -> str:
    """Return the report as Markdown."""
    places = ", ".join(f"{kill.at:,}" for kill in killings)
    runs = [
        ["undisturbed", f"{undisturbed:,.0f}", f"{texts / undisturbed:,.1f}"],
        [f"killed {len(killings)} times, at {places} texts", f"{seconds:,.0f}", f"{texts / seconds:,.1f}"],
    ]
    lost = [kill.lost for kill in killings] or [0.0]
    targets = [
        target("different rows", different, 0, most=True, shown=f"{different:,} of {rows:,}"),
        target("cost of a kill, as a share of the run", max(lost) / undisturbed, 0.02, most=True,
               shown=f"{max(lost) / undisturbed:.3f}"),
        target("cost of a kill, seconds", median(lost), None, shown=spread(lost)),
    ]  # fmt: skip
    return "\n\n".join((table(("run", "seconds", "texts/s"), runs), target_table(targets), cpu_path()))


if __name__ == "__main__":
    main()
