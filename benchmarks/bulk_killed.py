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
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import click

from benchmarks.measure import spread, table
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
        seconds, broken = killed(data, parts, arguments, kills, texts, seed)
        different = sum(one != other for one, other in zip_longest(_lines(whole), _lines(parts)))
        click.echo(report(rows, texts, straight, seconds, broken, different))
    sys.exit(bool(different))


@dataclass(frozen=True)
class Kill:
    """A kill.

    Attributes:
        at: texts that were answered by then.
        lost: seconds from the kill until the next run had answered another batch: its start, what it reads again, and
            the batch that was under way.
    """

    at: int
    lost: float


def killed(
    data: Path, out: Path, arguments: Sequence[str], kills: int, texts: int, seed: int
) -> tuple[float, list[Kill]]:
    """Seconds of all processes together, and what each kill cost."""
    dice = random.Random(seed)
    marks = sorted(dice.randrange(texts // 20, max(texts // 20 + 1, texts * 19 // 20)) for _ in range(kills))
    start, broken = time.perf_counter(), list[Kill]()
    running = _command(data, out, arguments)
    for mark in marks:
        if (done := _reached(running, out, mark)) is None:
            break
        running.send_signal(signal.SIGKILL)
        running.wait()
        ended = time.perf_counter()
        running = _command(data, out, arguments)
        _reached(running, out, done + 1)
        broken.append(Kill(done, time.perf_counter() - ended))
    running.wait()
    return time.perf_counter() - start, broken


def _reached(running: subprocess.Popen[bytes], out: Path, mark: int) -> int | None:
    """How many texts are answered, as soon as these are; None where the run ends before."""
    while running.poll() is None:
        if (done := _answered(out)) >= mark:
            return done
        time.sleep(_LOOKS_EVERY)
    return None


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


def report(rows: int, texts: int, straight: float, seconds: float, broken: Sequence[Kill], different: int) -> str:
    """All that was found, as Markdown."""
    places = ", ".join(f"{one.at:,}" for one in broken)
    found = [
        ["undisturbed", f"{straight:,.0f}", f"{texts / straight:,.1f}"],
        [f"killed {len(broken)} times, at {places} texts", f"{seconds:,.0f}", f"{texts / seconds:,.1f}"],
    ]
    lost = [one.lost for one in broken] or [0.0]
    targets = [
        ["rows that differ", "0", f"{different:,} of {rows:,}"],
        ["a kill, until another text is answered, as a share of the run", "≤ 0.02", f"{max(lost) / straight:.3f}"],
        ["the same in seconds", "", spread(lost)],
    ]
    return "\n\n".join((table(("run", "seconds", "documents/s"), found), table(("target", "wanted", "found"), targets)))


if __name__ == "__main__":
    main()
