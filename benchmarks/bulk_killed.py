"""Kills a bulk run several times on its way, lets it go on, and compares its output with an undisturbed one."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import zip_longest
from pathlib import Path

import click

from benchmarks.measure import table
from benchmarks.texts import SAMPLE

_LOOKS_EVERY = 0.2  # seconds


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), default=SAMPLE, help="Rows to label.  [default: the sample]")
@click.option("--kills", type=click.IntRange(1), default=3, show_default=True, help="How often it is killed.")
@click.option("--seed", default=0, show_default=True, help="Decides when.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder that keeps both outputs.  [default: none does]")
@click.argument("arguments", nargs=-1)
def main(data: Path, kills: int, seed: int, out: Path | None, arguments: Sequence[str]) -> None:
    """Label rows undisturbed, and again with kills by SIGKILL; ARGUMENTS go to `main.py bulk`.

    Tells documents a second, how many rows differ, and what a kill costs as a share of the run.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = out or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        whole, parts = place / "undisturbed.jsonl", place / "killed.jsonl"
        start = time.perf_counter()
        _command(data, whole, arguments).wait()
        straight = time.perf_counter() - start
        rows, texts = _counts(whole)
        seconds, at = killed(data, parts, arguments, kills, texts, seed)
        different = sum(one != other for one, other in zip_longest(_lines(whole), _lines(parts)))
        click.echo(report(rows, texts, straight, seconds, at, different))
    sys.exit(bool(different))


def killed(
    data: Path, out: Path, arguments: Sequence[str], kills: int, texts: int, seed: int
) -> tuple[float, list[int]]:
    """Seconds of all processes together, and how many texts were answered at each kill."""
    dice = random.Random(seed)
    marks = sorted(dice.randrange(texts // 20, max(texts // 20 + 1, texts * 19 // 20)) for _ in range(kills))
    start, at = time.perf_counter(), list[int]()
    for mark in marks:
        running = _command(data, out, arguments)
        while running.poll() is None and (done := _answered(out)) < mark:
            time.sleep(_LOOKS_EVERY)
        if running.poll() is None:
            running.send_signal(signal.SIGKILL)
            at.append(done)
        running.wait()
    _command(data, out, arguments).wait()
    return time.perf_counter() - start, at


def _command(data: Path, out: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "main.py", "bulk", data, "--out", out, *arguments])


def _answered(out: Path) -> int:
    """Texts that are answered so far."""
    path = out.with_name(f"{out.name}.parts") / "answers.sqlite"
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as store:
            return int(store.execute("SELECT coalesce(max(number), 0) FROM answers").fetchone()[0])
    except sqlite3.Error:
        return 0  # not made yet


def _counts(out: Path) -> tuple[int, int]:
    counts = json.loads(out.with_name(f"{out.name}.manifest.json").read_text(encoding="utf-8"))["counts"]
    return int(counts["rows"]), int(counts["texts"])


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as lines:
        yield from lines


def report(rows: int, texts: int, straight: float, seconds: float, at: Sequence[int], different: int) -> str:
    """All that was found, as Markdown."""
    cost = (seconds - straight) / straight / max(1, len(at))
    found = [
        ["undisturbed", f"{straight:,.0f}", f"{texts / straight:,.1f}"],
        [f"killed {len(at)} times, at {', '.join(f'{one:,}' for one in at)} texts", f"{seconds:,.0f}", ""],
    ]
    targets = [
        ["rows that differ", "0", f"{different:,} of {rows:,}"],
        ["cost of a kill, as a share of the run", "≤ 0.02", f"{cost:.3f}"],
    ]
    return "\n\n".join((table(("run", "seconds", "documents/s"), found), table(("target", "wanted", "found"), targets)))


if __name__ == "__main__":
    main()
