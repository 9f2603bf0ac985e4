"""Bulk labelling against the classifier alone, on a Ray cluster against one process, and by the number of rows.

Absolute numbers depend on the machine and its load; ratios between contenders that alternate in one run are comparable.
``benchmarks.bulk_killed`` measures the cost of a kill.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import click

from benchmarks import measure
from bulk.answer_store import LocalRunner, Runner
from bulk.inputs import TextColumns, input_files
from bulk.job import ClassifierSpec, Job
from bulk.progress import Progress
from bulk.run import run
from eval.manifest import peak_megabytes
from llm.classifier import AnswerSource, Classifier, Prediction
from prompts.taxonomy import Taxonomy
from prompts.text import Text

_PARTS = ("embedded", "rows", "ray")
_SIZES = (10_000, 100_000, 1_000_000)


class Free:
    """A classifier without cost: the measurement is the cost of all other work."""

    name = "free"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        source, names = AnswerSource(self.name, taxonomy.versioned_name), taxonomy.names
        scores = {name: round(1 / (2 + place), 4) for place, name in enumerate(names)}
        return [Prediction(names[:2], source, scores)] * len(texts)


@dataclass
class AnswerTimes:
    """Times at which batches were answered; the rate counts from the first batch, when all is loaded."""

    start: float = field(default_factory=time.perf_counter)
    marks: list[tuple[float, int]] = field(default_factory=list)

    def __call__(self, progress: Progress) -> None:
        """Record the progress of a run."""
        if progress.texts > (self.marks[-1][1] if self.marks else 0):
            self.marks.append((time.perf_counter(), progress.texts))

    @property
    def steady(self) -> float:
        """Texts per second between the first batch and the last."""
        (start, first), (end, last) = self.marks[0], self.marks[-1]
        return (last - first) / max(1e-9, end - start)

    @property
    def waited(self) -> float:
        """Seconds to the first answered batch."""
        return self.marks[0][0] - self.start


@click.command(context_settings=measure.COMMAND)
@measure.DATA_OPTION
@click.option("--plots", "count", default=4_096, show_default=True, help="Plots per round.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; each contender runs once per round.")
@click.option("--parts", default=",".join(_PARTS), show_default=True, help="Parts, separated by commas.")
@click.option("--smoke", is_flag=True, help="Few rows and one round, to test that the code runs.")
@click.option("--measure-rows", type=int, hidden=True)
def main(data: Path | None, count: int, rounds: int, parts: str, smoke: bool, measure_rows: int | None) -> None:
    """Measure texts per second of bulk labelling against the classifier alone, by rows and on a Ray cluster."""
    if measure_rows is not None:
        return click.echo(json.dumps(_of_rows(measure_rows)))
    if smoke:
        count, rounds = 24, 1
    given = measure.plots(data, count)
    reports: dict[str, Callable[[], str]] = {
        "embedded": lambda: embedded(given, rounds),
        "rows": lambda: by_rows((1_000, 3_000) if smoke else _SIZES),
        "ray": lambda: on_ray(given, rounds),
    }
    for part in parts.split(","):
        if part not in reports:
            raise click.BadParameter(f"unknown part {part!r}; the parts are {', '.join(_PARTS)}")
        click.echo(f"{reports[part]()}\n")
    return click.echo(measure.cpu_path())


# --- against the classifier alone ---


def embedded(given: measure.Plots, rounds: int) -> str:
    """Return bulk's texts per second as a share of the classifier's own over the same texts."""
    from llm.embedded.matcher import matcher

    classifier, taxonomy, rates = matcher(), measure.tmdb_genres(), measure.Rounds()
    texts = _distinct(given.texts)
    classifier.classify(texts[:32], taxonomy)
    with tempfile.TemporaryDirectory() as folder:
        file = _written(Path(folder), texts)
        for number in range(rounds):
            rates.add("alone", len(texts) / measure.seconds(lambda: classifier.classify(texts, taxonomy)))
            label = partial(_run_here, file, Path(folder) / f"{number}.jsonl", lambda: classifier)
            rates.add("bulk", len(texts) / measure.seconds(label))
    share = rates.ratios("bulk", "alone")
    rows = [
        ["the classifier alone", measure.spread(rates.values["alone"]), "1"],
        ["bulk, from file to file", measure.spread(rates.values["bulk"]), measure.spread(share, 2)],
    ]
    return "\n\n".join(
        (
            f"Embedded classifier, {given.origin}; {rounds} rounds. {measure.cpu_path()}",
            measure.table(("contender", "texts/s", "share"), rows),
            measure.target_table([measure.target("share of the classifier's own texts/s", median(share), 0.96)]),
        )
    )


def _distinct(texts: Sequence[str]) -> list[str]:
    """Return the texts with their numbers: bulk classifies a repeated text only once."""
    return [f"{text} [{number}]" for number, text in enumerate(texts)]


def _written(folder: Path, texts: Sequence[str]) -> Path:
    path = folder / "plots.jsonl"
    lines = (json.dumps({"id": number, "description": text}) + "\n" for number, text in enumerate(texts))
    path.write_text("".join(lines), encoding="utf-8")
    return path


def _job(file: Path, out: Path, opener: Callable[[], Classifier], batch: int = 512) -> Job:
    spec = ClassifierSpec("measured", {}, opener)
    return Job(input_files(str(file)), TextColumns("description", None, "id"), measure.tmdb_genres(), spec, out, batch)


def _run_here(file: Path, out: Path, opener: Callable[[], Classifier]) -> None:
    job = _job(file, out, opener)
    run(job, LocalRunner(job.classifier.open, job.taxonomy))


# --- by the number of rows ---


def by_rows(sizes: Sequence[int]) -> str:
    """Return the cost of a row without the model, and the peak of memory, each size in a process of its own."""
    results = {size: _measured(size) for size in sizes}
    first_rate, first_peak = results[sizes[0]]
    rows = [
        [f"{size:,}", f"{rate:,.0f}", f"{first_rate / rate:.2f}", f"{peak:,.0f}", f"{peak / first_peak:.2f}"]
        for size, (rate, peak) in results.items()
    ]
    heads = ("rows", "rows/s", "time per row, relative to the first", "peak MB", "relative to the first")
    return "Without a model: read, store, write.\n\n" + measure.table(heads, rows)


def _measured(size: int) -> tuple[float, float]:
    command = [sys.executable, "-m", "benchmarks.bulk", "--measure-rows", str(size)]
    rate, peak = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return rate, peak


def _of_rows(size: int) -> tuple[float, float]:
    """Return rows per second and the peak of memory in MB of this process."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        with file.open("w", encoding="utf-8") as lines:
            for number in range(size):
                words = f"Plot {number} of a man who goes to a far town and meets his old friend. " * 5
                lines.write(json.dumps({"id": number, "description": words}) + "\n")
        elapsed = measure.seconds(lambda: _run_here(file, Path(folder) / "out.jsonl", Free))
    return size / elapsed, peak_megabytes()


# --- on a Ray cluster ---


def on_ray(given: measure.Plots, rounds: int) -> str:
    """Return the steady texts per second of one process, of one actor and of two, each on one core."""
    from bulk.ray_cluster import RayRunner
    from llm.embedded.matcher import matcher

    times: dict[str, list[AnswerTimes]] = {"one process": [], "Ray, one worker": [], "Ray, two workers": []}
    batch = max(4, min(128, len(given.texts) // 16))  # as many batches as a long run has
    one_core = patch.dict(os.environ, OMP_NUM_THREADS="1")  # as Ray sets it for an actor of one core
    with one_core, tempfile.TemporaryDirectory() as folder, _two_nodes() as cluster:
        file = _written(Path(folder), _distinct(given.texts))
        for number in range(rounds):
            for workers, runs in enumerate(times.values()):
                job = _job(file, Path(folder) / f"{number}-{workers}.jsonl", matcher, batch)
                runner: Runner = LocalRunner(job.classifier.open, job.taxonomy)
                if workers:
                    runner = RayRunner(job.classifier.open, job.taxonomy, job.folder, cluster(workers))
                runs.append(answer_times := AnswerTimes())
                run(job, runner, answer_times)
    return _ray_report(times, given, rounds)


@contextmanager
def _two_nodes() -> Iterator[Callable[[int], Any]]:
    """Run a cluster of two nodes on this machine."""
    from tests.engines.ray_nodes import Nodes

    nodes = Nodes()
    try:
        with nodes.cluster(1).connected():
            yield nodes.cluster
    finally:
        nodes.stop()


def _ray_report(times: dict[str, list[AnswerTimes]], given: measure.Plots, rounds: int) -> str:
    rates = {name: [run.steady for run in runs] for name, runs in times.items()}
    plain, one, two = rates.values()
    rows = [
        [name, measure.spread(rates[name]), measure.spread([run.waited for run in runs])]
        for name, runs in times.items()
    ]
    targets = [
        measure.target("overhead of Ray with one worker", median(measure.ratios(plain, one)) - 1, 0.25, most=True),
        measure.target("two workers against one", median(measure.ratios(two, one)), 1.6, "times"),
    ]
    return "\n\n".join(
        (
            f"Ray on two nodes of this machine, {given.origin}; {rounds} rounds; one core each.",
            measure.table(("contender", "texts/s", "seconds to the first answers"), rows),
            measure.target_table(targets),
        )
    )


if __name__ == "__main__":
    main()
